"""Searching the test EHR: the few parameters that clients of this service send."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from tests.ehr.messages import Refused
from tests.ehr.store import Resource

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "lt": operator.lt, "ge": operator.ge, "le": operator.le,
}  # fmt: skip
CONTROLS = frozenset({"_sort", "_count", "_format", "_total", "_elements", "_summary"})


def search(resources: Iterable[Resource], params: Iterable[tuple[str, str]], *, strict: bool) -> list[Resource]:
    """Those that match every parameter. An unknown one is passed over, or 400 where handling is strict."""
    found = list(resources)
    for name, value in params:
        if name in CONTROLS:
            continue
        test = _TESTS.get(name)
        if test is None:
            if strict:
                raise Refused(400, "not-supported")
            continue
        found = [each for each in found if test(each, value)]
    return found


def sort(resources: list[Resource], key: str | None) -> list[Resource]:
    if key is None:
        return resources
    name, backwards = key.removeprefix("-"), key.startswith("-")
    if name not in {"_lastUpdated", "_id"}:
        raise Refused(400, "not-supported")
    return sorted(
        resources,
        key=lambda each: each["id"] if name == "_id" else instant(each["meta"]["lastUpdated"]),
        reverse=backwards,
    )


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def alternatives(value: str) -> list[str]:
    """A parameter's values: commas separate them, unless they are escaped. They are still escaped."""
    return re.split(r"(?<!\\),", value)


def _by_id(resource: Resource, value: str) -> bool:
    return resource["id"] in value.split(",")


def _by_identifier(resource: Resource, value: str) -> bool:
    given = resource.get("identifier", [])
    return any(
        _token(each.get("system"), each.get("value"), value) for each in (given if isinstance(given, list) else [given])
    )


def _token(system: str | None, code: str | None, value: str) -> bool:
    for wanted in alternatives(value):
        parts = [re.sub(r"\\([\\,$|])", r"\1", part) for part in re.split(r"(?<!\\)\|", wanted)]
        named, bar, text = ("", False, parts[0]) if len(parts) == 1 else (parts[0], True, parts[1])
        if text == code and (not bar or named == (system or "")):
            return True
    return False


def _reference(*paths: str) -> Callable[[Resource, str], bool]:
    def test(resource: Resource, value: str) -> bool:
        for path in paths:
            for element in _at(resource, path.split(".")):
                held = element.get("reference", "") if isinstance(element, dict) else ""
                if any(held == each or held.endswith("/" + each) for each in value.split(",")):
                    return True
        return False

    return test


def _at(value: Any, path: list[str]) -> list[Any]:
    if isinstance(value, list):
        return [found for each in value for found in _at(each, path)]
    if not path:
        return [value]
    return _at(value[path[0]], path[1:]) if isinstance(value, dict) and path[0] in value else []


def _concept(name: str) -> Callable[[Resource, str], bool]:
    def test(resource: Resource, value: str) -> bool:
        codings = _at(resource, [name, "coding"])
        return any(_token(each.get("system"), each.get("code"), value) for each in codings)

    return test


def _by_last_updated(resource: Resource, value: str) -> bool:
    found = re.fullmatch(r"(eq|ne|gt|lt|ge|le)?(.+)", value)
    try:
        assert found is not None
        wanted = datetime.fromisoformat(found[2])
        if wanted.tzinfo is None:
            raise ValueError
    except (ValueError, AssertionError):
        raise Refused(400, "value") from None
    return _COMPARE[found[1] or "eq"](instant(resource["meta"]["lastUpdated"]), wanted)


_TESTS: dict[str, Callable[[Resource, str], bool]] = {
    "_id": _by_id,
    "identifier": _by_identifier,
    "patient": _reference("subject", "patient"),
    "subject": _reference("subject"),
    "encounter": _reference("encounter", "context.encounter"),
    "_lastUpdated": _by_last_updated,
    "type": _concept("type"),
    "code": _concept("code"),
    "category": _concept("category"),
    "status": lambda resource, value: resource.get("status") in value.split(","),
}
