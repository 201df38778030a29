"""Where a note tells a factor, and how reliably: the noisy channel between a value and what is written.

A slot is one place in one note type. What it tells (a value, or nothing) depends on its factor's value alone, so the
likelihood of a note is a product over slots and the posterior of a factor is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from training.synth import phrases as say
from training.synth.conditions import CONDITIONS
from training.synth.factors import all_factors, column
from training.synth.hospitals import HOSPITALS
from training.synth.phrases import Wording

UNTOLD = -1
MOST_TOLD = 0.97


@dataclass(frozen=True, slots=True)
class Slot:
    """One place for one factor. `told` is P(something is written), `error` P(another value is written | written).

    `told_absent` replaces `told` for value 0. `wording` is None for conditions, which are written as lists.
    """

    factor: str
    section: str
    told: float
    error: float = 0.0
    told_absent: float | None = None
    wording: Wording | None = None

    @property
    def column(self) -> int:
        return column(self.factor)

    def channel(self, more: float = 1.0) -> npt.NDArray[np.float64]:
        """P(told value | value), float64 (V, V + 1); the last column is "nothing written". `more` multiplies what is
        told, up to MOST_TOLD."""
        levels = all_factors()[self.column].levels
        told = np.full(levels, self.told)
        if self.told_absent is not None:
            told[0] = self.told_absent
        if more != 1:
            told = np.minimum(told * more, MOST_TOLD)
        table = np.zeros((levels, levels + 1))
        table[:, :levels] = self.error / (levels - 1) * told[:, None]
        table[np.arange(levels), np.arange(levels)] = (1 - self.error) * told
        table[:, levels] = 1 - told
        return table


def _conditions(section: str, told: float, error: float, told_absent: float) -> tuple[Slot, ...]:
    return tuple(Slot(c.name, section, told, error, told_absent) for c in CONDITIONS)


HP_SLOTS: tuple[Slot, ...] = (
    *_conditions("history", 0.95, 0.006, 0.36),
    *_conditions("background", 0.22, 0.0, 0.0),
    Slot("severity", "exam", 0.55, 0.03, wording=say.OXYGEN),
    Slot("severity", "exam", 0.5, 0.03, wording=say.HEMODYNAMICS),
    Slot("severity", "exam", 0.5, 0.03, wording=say.MENTAL),
    Slot("severity", "data", 0.5, 0.03, wording=say.LABS),
    Slot("severity", "story", 0.4, 0.03, wording=say.IMPRESSION),
    Slot("trajectory", "story", 0.75, 0.01, wording=say.TRAJECTORY),
    Slot("code_status", "assessment", 0.85, 0.005, wording=say.CODE),
    Slot("frailty", "social", 0.8, 0.01, wording=say.FRAILTY),
    Slot("support", "social", 0.75, 0.01, wording=say.SUPPORT),
    Slot("procedure", "assessment", 0.85, 0.01, wording=say.PROCEDURE),
    Slot("plan", "assessment", 0.88, 0.01, wording=say.PLAN),
    Slot("payer", "coverage", 0.95, 0.005, wording=say.PAYER),
    Slot("authorization", "coverage", 0.92, 0.005, wording=say.AUTHORIZATION),
    Slot("network", "coverage", 0.88, 0.005, wording=say.NETWORK),
    Slot("necessity", "coverage", 0.9, 0.005, wording=say.NECESSITY),
    Slot("bed_status", "coverage", 0.85, 0.005, wording=say.BED),
)
DISCHARGE_SLOTS: tuple[Slot, ...] = (
    *_conditions("history", 0.9, 0.006, 0.12),
    Slot("prior_use", "story", 0.9, 0.01, wording=say.PRIOR_USE),
    Slot("stability", "course", 0.9, 0.01, wording=say.STABILITY),
    Slot("adherence", "story", 0.85, 0.01, wording=say.ADHERENCE),
    Slot("substance", "social", 0.75, 0.01, wording=say.SUBSTANCE),
    Slot("support", "social", 0.8, 0.01, wording=say.SUPPORT),
    Slot("frailty", "social", 0.75, 0.01, wording=say.FRAILTY),
    Slot("disposition", "leaving", 0.95, 0.005, wording=say.DISPOSITION),
    Slot("follow_up", "leaving", 0.85, 0.01, wording=say.FOLLOW_UP),
    Slot("pending", "leaving", 0.7, 0.01, wording=say.PENDING),
    Slot("teaching", "leaving", 0.75, 0.01, wording=say.TEACHING),
)
SLOTS: dict[str, tuple[Slot, ...]] = {
    HISTORY_AND_PHYSICAL.loinc: HP_SLOTS,
    DISCHARGE_SUMMARY.loinc: DISCHARGE_SLOTS,
}


@cache
def channels(loinc: str, hospital: str = "first") -> tuple[npt.NDArray[np.float64], ...]:
    """The channel table of every slot of a note type, as a hospital writes."""
    told = HOSPITALS[hospital].told
    return tuple(slot.channel(told.get(slot.factor, 1.0)) for slot in SLOTS[loinc])


def draw_told(
    rng: np.random.Generator, loinc: str, values: npt.NDArray[np.int8], hospital: str = "first"
) -> npt.NDArray[np.int8]:
    """What each slot of N notes tells, int8 (N, S), from the factors' values (N, F); UNTOLD for nothing."""
    slots = SLOTS[loinc]
    told = np.empty((len(values), len(slots)), dtype=np.int8)
    uniform = rng.random((len(values), len(slots)))
    for index, (slot, table) in enumerate(zip(slots, channels(loinc, hospital), strict=True)):
        edges = np.cumsum(table, axis=1)[values[:, slot.column]][:, :-1]
        drawn = (uniform[:, index : index + 1] > edges).sum(axis=1)
        told[:, index] = np.where(drawn == table.shape[1] - 1, UNTOLD, drawn)
    return told
