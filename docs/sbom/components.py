"""What is installed with the service: the closure of its requirements, without the extras `train` and `dev`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "lang1"


@dataclass(frozen=True, slots=True)
class Component:
    """One installed distribution. `licence` is as its own metadata has it; "" where there is none."""

    name: str
    version: str
    licence: str
    summary: str
    homepage: str | None
    requires: tuple[str, ...]
    """Canonical names of what it needs here."""


def runtime_components(root: str = ROOT) -> dict[str, Component]:
    """By canonical name, the root among them. What is required and not installed is left out: see `absent`."""
    found: dict[str, Component] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(root, frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        needed = list(_needed(distribution, extras))
        waiting += [(canonicalize_name(each.name), frozenset(each.extras)) for each in needed]
        known = found[name].requires if name in found else ()
        names = sorted({*known, *(canonicalize_name(each.name) for each in needed)})
        found[name] = _component(distribution, tuple(names))
    return found


def absent(components: dict[str, Component]) -> list[str]:
    """What is required and not installed."""
    return sorted({each for component in components.values() for each in component.requires} - components.keys())


def _needed(distribution: importlib.metadata.Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in distribution.requires or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield requirement


def _component(distribution: importlib.metadata.Distribution, requires: tuple[str, ...]) -> Component:
    metadata = distribution.metadata
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL") or [] if ", " in url)
    homepage = _field(metadata, "Home-page") or next(
        (url for label, url in urls.items() if label.lower() in ("homepage", "source", "repository")), None
    )
    return Component(
        canonicalize_name(metadata["Name"]),
        distribution.version,
        _licence(metadata),
        _field(metadata, "Summary"),
        homepage,
        requires,
    )


def _licence(metadata: importlib.metadata.PackageMetadata) -> str:
    classifiers = [each.rpartition("::")[2].strip() for each in metadata.get_all("Classifier") or []
                   if each.startswith("License ::") and each != "License :: OSI Approved"]  # fmt: skip
    written = _field(metadata, "License").strip()
    # Some put the whole text there.
    named = written if written and "\n" not in written and len(written) < 80 else ""
    return _field(metadata, "License-Expression") or " / ".join(classifiers) or named


def _field(metadata: importlib.metadata.PackageMetadata, name: str) -> str:
    return metadata[name] if name in metadata else ""  # noqa: SIM401  # typed without `get`
