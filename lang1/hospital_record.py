"""A hospital's record as columns of encounters, diagnoses and claims, and what the label rules answer for them.

All times are datetime64[s] on the hospital's own clock, so that a day is a calendar day and a midnight is the ward's
midnight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

NO_LABEL = -1
Flags = NDArray[np.bool_]
Labels = NDArray[np.int8]
Rows = NDArray[np.int64]
Times = NDArray[np.datetime64]


class Missing(StrEnum):
    """Why a stay, or a note, has no label."""

    NO_RULE = "no rule or column gives this task's label"
    NOT_INPATIENT = "not an inpatient stay"
    LEFT_OUT_SERVICE = "rehabilitation, dialysis or palliative stay"
    NEWBORN = "newborn stay"
    BAD_TIMES = "discharge before admission"
    NOT_OVER = "stay not over"
    DIED = "died in hospital"
    NO_DISPOSITION = "no discharge disposition"
    CENSORED = "censored: the days after discharge are not over"
    NO_CODES = "no usable diagnosis code"
    NO_CLAIM = "no claim"
    CLAIM_OPEN = "claim not final"
    STATUS_UNKNOWN = "claim status not in the map"
    NO_VALUE = "no value in the label column"
    NO_TIME = "note without a time"
    BEFORE_ADMISSION = "written too long before admission"
    LATE_AFTER_ADMISSION = "written too long after admission"
    AFTER_END = "written at or after the end of the stay"
    BEFORE_DISCHARGE = "written too long before discharge"
    LATE_AFTER_DISCHARGE = "written too long after discharge"
    AFTER_OUTCOME = "written at or after the outcome"
    OTHER_NOTE = "another note of the stay was taken"

    @property
    def code(self) -> str:
        """In an interface or a metric: `not-inpatient`."""
        return self.name.lower().replace("_", "-")


REASONS = tuple(Missing)
EXCLUDING = frozenset(
    {
        Missing.NOT_INPATIENT, Missing.LEFT_OUT_SERVICE, Missing.NEWBORN, Missing.BAD_TIMES, Missing.DIED,
        Missing.NO_VALUE,
    }
)  # fmt: skip
"""Reasons of a stay that the task asks nothing of. With any other, a label may still come."""


class ClaimStatus(StrEnum):
    """What a payer's status means. The map from a hospital's own words to these is configuration."""

    PAID = "paid"
    """Final; never denied, unless the claim's history says so."""
    FINAL_ADVERSE = "final-adverse"
    """Denied, and denied again on appeal or never appealed."""
    FINAL_FAVOURABLE = "final-favourable"
    """Denied first, then won on appeal. Positive too (paper, 5.2.2)."""
    DENIED = "denied"
    """Denied, not final: an appeal may follow."""
    PENDING = "pending"
    VOID = "void"
    """Cancelled or replaced by another claim; does not count."""
    UNKNOWN = "unknown"


CLAIM_STATUSES = tuple(ClaimStatus)


class LabelPolicy(BaseModel):
    """What a hospital may decide about its labels. The defaults are the paper's, or the stricter choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    observed_until: datetime | None = None
    """End of the record, excluded, hospital's clock. None: nobody is censored (shifted dates have no common end)."""
    count_planned: bool = True
    """Planned stays count as readmissions: the paper's label is for any cause."""
    leave_out_newborns: bool = False
    """The paper's sets hold children, so births are kept."""
    in_hospital_deaths: Literal["leave-out", "negative"] = "leave-out"
    """Of the readmission label. A death after discharge without a return is negative, as in the paper."""
    same_stay_gap_hours: Annotated[float, Field(ge=0, le=24)] = 4.0
    """A stay that starts this soon after a discharge goes on with the same illness, also across a midnight."""
    stay_length: Literal["midnights", "elapsed"] = "midnights"
    """`elapsed` bins the exact duration by the same upper bounds (the paper's MIMIC-III sets)."""
    admission_note_hours_before: Annotated[float, Field(ge=0)] = 720.0
    """A history and physical may be up to 30 days old at admission (42 CFR 482.22(c)(5))."""
    admission_note_hours_after: Annotated[float, Field(ge=0)] = 24.0
    """Due within 24 hours by the same rule; a later one knows the course of the stay. MIMIC-III in the paper: 120."""
    discharge_note_hours_before: Annotated[float, Field(ge=0)] = 24.0
    discharge_note_hours_after: Annotated[float, Field(ge=0)] = 168.0
    """The same bound for both classes, so that a late note does not tell that nobody came back."""
    one_note_a_stay: bool = True
    """Of several usable notes the first admission note, the last discharge summary."""


@dataclass(frozen=True, slots=True)
class Encounters:
    """N stays, a row each. `died` is 1, 0, or -1 for no disposition. `discharged` is NaT while the patient is in."""

    patient: Rows
    admitted: Times
    discharged: Times
    died: Labels
    inpatient: Flags
    left_out: Flags
    planned: Flags
    transferred_in: Flags
    newborn: Flags

    def __len__(self) -> int:
        return len(self.patient)


@dataclass(frozen=True, slots=True)
class Diagnoses:
    """D codes. `encounter` is the row of the stay; `version` 9 or 10."""

    encounter: Rows
    code: Sequence[str]
    version: Labels


@dataclass(frozen=True, slots=True)
class Claims:
    """C states of claims, several a claim where the payer's answers are kept. `decided` NaT: the order of rows."""

    encounter: Rows
    claim: Rows
    status: Labels
    """Index into CLAIM_STATUSES."""
    decided: Times


@dataclass(frozen=True, slots=True)
class StayLabels:
    """(N,) each: option index or -1, code of the reason (index into REASONS, -1 with a label), and when the outcome
    was there to be read (NaT: never, or not known)."""

    label: Labels
    reason: Labels
    known_at: Times


@dataclass(frozen=True, slots=True)
class HospitalRecord:
    """What labels are made from. `given` holds labels that the hospital made itself, by task name."""

    encounters: Encounters
    diagnoses: Diagnoses | None = None
    claims: Claims | None = None
    given: Mapping[str, StayLabels] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoteTimes:
    """M notes. A note that carries a date alone was written between that day's first and last second."""

    encounter: Rows
    note_type: NDArray[np.str_]
    earliest: Times
    latest: Times


@dataclass(frozen=True, slots=True)
class NoteLabels:
    """(M,) each: option index or -1; code of the reason, -1 with a label or for a note type that is not the task's."""

    label: Labels
    reason: Labels

    def missing(self) -> dict[str, int]:
        """Notes without a label by reason, the most frequent first."""
        return count_reasons(self.reason)


def count_reasons(reason: Labels) -> dict[str, int]:
    """How many rows lack a label, by reason, the most frequent first."""
    counts = np.bincount(reason[reason >= 0], minlength=len(REASONS))
    order = np.argsort(-counts, kind="stable")
    return {REASONS[code].value: int(counts[code]) for code in order.tolist() if counts[code]}
