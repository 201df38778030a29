"""The protocol of a sink, and what all share: identifier, id, and how a score that no longer stands is shown."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from fhir_adapters.assessment_record import AssessmentRecord
from fhir_adapters.risk_assessment import ProbabilityScale
from lang1.tasks import Task

SinkName = Literal["risk-assessment", "observation", "document-report"]

# Any fixed UUID does; changing it would change every id, and a score would be written a second time.
_NAMESPACE: Final = uuid.UUID("0d9f2b1c-6a3e-5c52-8c1d-2f4b9f6f7a10")
_STRENGTH: Final = {
    "final": 0, "amended": 0, "corrected": 0, "current": 0,
    "cancelled": 1, "superseded": 1,
    "entered-in-error": 2,
}  # fmt: skip
_WITHDRAWN: Final = {
    "cancelled": "WITHDRAWN: the note was replaced by a later version.",
    "entered-in-error": "ENTERED IN ERROR: the note was recorded in error; disregard this result.",
    "duplicate": "ENTERED IN ERROR: a second copy of the same result; disregard this one.",
}


@dataclass(frozen=True, slots=True)
class WriteBack:
    """A resource as the EHR should have it. It carries no id and nothing that the server sets itself.

    `token` is its deterministic identifier, `system|value`; `resource_id` the UUIDv5 under which it is put where the
    server lets clients choose ids. `reinstated`: it was withdrawn before and stands again.
    """

    resource: dict[str, Any]
    token: str
    resource_id: str
    reinstated: bool = False

    @property
    def resource_type(self) -> str:
        return str(self.resource["resourceType"])


class Sink(Protocol):
    """One form of write-back. Pure: the same records give the same resource, always."""

    @property
    def name(self) -> SinkName: ...

    @property
    def resource_type(self) -> str: ...

    @property
    def per_note(self) -> bool:
        """Whether one resource holds all scores of a note by one model; else there is one a score."""
        ...

    def write_back(
        self,
        records: Sequence[AssessmentRecord],
        note_key: str,
        registry: Mapping[str, Task],
        *,
        probability_scale: ProbabilityScale = 1,
    ) -> WriteBack:
        """The resource of these records (exactly one unless `per_note`), all of one note and model.

        `note_key` names the note. Raises KeyError for a task that is not in the registry.
        """
        ...

    def changed(self, current: Mapping[str, Any], wanted: WriteBack) -> dict[str, Any] | None:
        """The EHR's copy as it must become; None when it is right. Elements that others added stay."""
        ...


def resource_id(token: str) -> str:
    """The UUIDv5 of an identifier token."""
    return str(uuid.uuid5(_NAMESPACE, token))


def strength(status: object) -> int:
    """How much a status withdraws: 0 stands, 1 replaced, 2 in error; whoever set it."""
    return _STRENGTH.get(status, 0) if isinstance(status, str) else 0


def withdrawal(status: str) -> str | None:
    """What a reader must be told of a record with this status; None while it stands."""
    return _WITHDRAWN.get(status)


def with_withdrawal(narrative: dict[str, Any], status: str) -> dict[str, Any]:
    """A generated narrative that begins with the withdrawal: many charts show the narrative and not the status."""
    words = withdrawal(status)
    if words is None:
        return narrative
    opening, rest = narrative["div"].split(">", 1)
    return {**narrative, "div": f"{opening}><p><b>{words}</b></p>{rest}"}


def stands_again(records: Sequence[AssessmentRecord]) -> bool:
    """Whether any of them was withdrawn before and is not now."""
    return any(record.status == "final" and record.version > 1 for record in records)


def may_set(current: object, wanted: WriteBack) -> bool:
    """Whether the EHR's status may become the wanted one. What anybody marked as an error stays one."""
    now, then = strength(current), strength(wanted.resource["status"])
    return then >= now or (wanted.reinstated and now == strength("cancelled"))


def changed_standing(current: Mapping[str, Any], wanted: WriteBack) -> dict[str, Any] | None:
    """`current` with the status and the narrative that are wanted; None where it has the status or must keep its own.

    A score that stands leaves a copy alone that people at the EHR cancelled, unless it was cancelled here before.
    """
    status = wanted.resource["status"]
    if strength(current.get("status")) == strength(status) or not may_set(current.get("status"), wanted):
        return None
    return {**current, "status": status, "text": wanted.resource["text"]}
