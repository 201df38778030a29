"""Gate reports: what a challenger was found to be worth against a champion. Their hashes stand in the log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lang1.bundle import Sha256
from lang1.registry.errors import RegistryError
from lang1.registry.files import make_folder, read_bytes, replace_bytes
from lang1.registry.log import LogEntry

FOLDER: Final = "gates"
ACTIONS: Final = frozenset({"gate-pass", "gate-fail", "gate-hold"})
_MAX_REASON_CHARS: Final = 2000


class _Report(BaseModel):
    """What is read of a report; the rest is the gate's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    verdict: Literal["pass", "fail", "hold"]
    reasons: tuple[str, ...]
    champion: Sha256


@dataclass(frozen=True, slots=True)
class Kept:
    """A report that was written, as the log tells of it."""

    verdict: str
    reason: str
    evidence: dict[str, Any]


def keep(root: Path, sha256: str, report: Mapping[str, Any]) -> Kept:
    """Write a report as the bundle's next one, under the registry's lock. Raises RegistryError for another shape."""
    try:
        checked = _Report.model_validate(dict(report))
        data = json.dumps(dict(report), indent=1, allow_nan=False).encode() + b"\n"
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RegistryError(
            f"gate report: {where}: {first['msg']}; the gate writes verdict, reasons and champion"
        ) from None
    except (TypeError, ValueError):
        raise RegistryError("gate report: must be JSON, with finite numbers; correct the gate") from None
    make_folder(root / FOLDER / sha256, root)
    numbers = [int(each.stem) for each in (root / FOLDER / sha256).glob("*.json") if each.stem.isdecimal()]
    number = max(numbers, default=0) + 1
    replace_bytes(root / FOLDER / sha256 / f"{number}.json", data, root)
    reason = "; ".join(checked.reasons) or f"the gate says {checked.verdict}"
    evidence = {"gate": number, "report_sha256": hashlib.sha256(data).hexdigest(), "champion": checked.champion}
    return Kept(checked.verdict, reason[:_MAX_REASON_CHARS], evidence)


def latest(root: Path, log: Sequence[LogEntry], sha256: str, champion: str | None) -> Mapping[str, Any] | None:
    """The newest logged report of a bundle against `champion`. Raises RegistryError when the file is not as logged."""
    for entry in reversed(log):
        if entry.action in ACTIONS and entry.bundle == sha256 and entry.evidence.get("champion") == champion:
            name = f"{FOLDER}/{sha256}/{entry.evidence.get('gate')}.json"
            try:
                data = read_bytes(root / name)
            except OSError as error:
                raise RegistryError(f"{name} cannot be read ({type(error).__name__}); run the gate again") from None
            if hashlib.sha256(data).hexdigest() != entry.evidence.get("report_sha256"):
                raise RegistryError(f"{name} was changed after the gate wrote it; run the gate again")
            report: dict[str, Any] = json.loads(data)
            return report
    return None
