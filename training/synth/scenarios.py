"""What changes in the hospital from some day on: drift of the kinds that a monitor must find, several at once.

One rule says whom a scenario concerns: the day on which the note is written. An admission H&P is written on the day of
admission, a discharge summary on the day of discharge, and an outcome belongs to the note that it is predicted from. So
mortality, length of stay and denial change with the day of admission (payers, too, go by dates of service), readmission
with the day of discharge. True probabilities follow.

Every scenario draws from a random stream of its own, by its place in the list: without scenarios nothing changes, and
a hospital with one has the same patients and the same notes up to its first day. (A shift of readmission or mortality
changes who comes back, and with that all later stays of the same chunk of patients.)
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lang1.tasks import BUILT_IN

Section = Literal[
    "history", "family", "social", "review", "drugs", "exam", "data", "assessment", "background", "coverage",
    "course", "leaving",
]  # fmt: skip
"""Sections of a note that may be moved or left out. The story, which says who the patient is, may not."""
Share = Annotated[float, Field(gt=0, le=1)]
Days = npt.NDArray[np.int64]
_EPOCH = date(1970, 1, 1)


class _Scenario(BaseModel):
    """From `first_day` to `last_day`, both included; without a last day for good."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    first_day: date
    last_day: date | None = None

    @model_validator(mode="after")
    def _check(self) -> _Scenario:
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError(f"last_day {self.last_day} is before first_day {self.first_day}")
        return self

    def holds(self, days: Days) -> npt.NDArray[np.bool_]:
        """(n,): which of these days, counted since 1970-01-01, are the scenario's."""
        found = days >= (self.first_day - _EPOCH).days
        if self.last_day is not None:
            found &= days <= (self.last_day - _EPOCH).days
        return np.asarray(found)


class NoteTemplate(_Scenario):
    """A new template: other headings, another order of sections, other sentences and pasted text; the same facts."""

    kind: Literal["note_template"] = "note_template"
    size: Share = 1.0
    """Share of the notes that use it."""
    late: tuple[Section, ...] = ("coverage",)
    """Sections moved to the end of the note, in this order."""


class NewVocabulary(_Scenario):
    """New terms for old things: diseases, payers, treatments and states get names that no earlier note has."""

    kind: Literal["new_vocabulary"] = "new_vocabulary"
    size: Share = 0.7
    """Share of the statements that use the new terms."""


class PrevalenceShift(_Scenario):
    """One task's outcome becomes more or less frequent for everybody alike."""

    kind: Literal["prevalence_shift"] = "prevalence_shift"
    task: str
    """A task whose outcome is a matter of chance; length of stay shifts towards longer stays."""
    size: Annotated[float, Field(ge=-5, le=5)] = 0.7
    """Added to the logit of the outcome; of length of stay, to the logit of every step to a longer class."""

    @field_validator("task")
    @classmethod
    def _of_chance(cls, name: str) -> str:
        chance = [task.name for task in BUILT_IN.values() if task.label_rule in SHIFTED_RULES]
        if name not in chance:
            raise ValueError(f"the tasks whose outcome can be shifted are {', '.join(chance)}")
        return name


class PayerPolicy(_Scenario):
    """Payers deny by other rules while notes stay as they are: concept drift, on denial only."""

    kind: Literal["payer_policy"] = "payer_policy"
    size: Share = 0.5
    """Share of the claims that are judged by the new rules. At 0.5 the AUROC of a perfect model of the old rules falls
    from 0.89 to 0.70 and denials rise from 14 to 19%."""


class MissingSections(_Scenario):
    """Sections that some notes lack altogether, as when an interface drops them."""

    kind: Literal["missing_sections"] = "missing_sections"
    sections: Annotated[tuple[Section, ...], Field(min_length=1)]
    size: Share = 0.5
    """Share of the notes without them."""


Scenario = Annotated[
    NoteTemplate | NewVocabulary | PrevalenceShift | PayerPolicy | MissingSections, Field(discriminator="kind")
]
SHIFTED_RULES = ("readmission", "in_hospital_mortality", "length_of_stay", "insurance_denial")
