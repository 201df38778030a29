"""Moves between units: a Markov chain by day, given that the patient stays in the hospital.

The day of entry has rates of its own: assessment units send few on before the first night, and most after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Floats
from serve.beds.patient_days import PatientDays

_STAYING_DAYS = 10.0
"""Patient-days without a move that every unit starts with."""


@dataclass(frozen=True, slots=True)
class Transfers:
    """(U, U) each: P(in unit v at the next midnight | in u, not discharged), on the day of entry and on later ones."""

    entry: Floats
    later: Floats

    def paths(self, days: int) -> Floats:
        """(days + 1, U, U): where a patient is 0, 1, ... days after entering in each unit."""
        return _chain(self.entry, self.later, days)

    def paths_from_now(self, ahead: float, days: int) -> tuple[Floats, Floats]:
        """The same for patients who came today, and for those from before; the share `ahead` of today is to come."""
        still = np.eye(len(self.later))
        came, before = (still + ahead * (each - still) for each in (self.entry, self.later))
        return _chain(came, self.later, days), _chain(before, self.later, days)


def _chain(first: Floats, later: Floats, days: int) -> Floats:
    paths = [np.eye(len(later)), first]
    for _ in range(days - 1):
        paths.append(paths[-1] @ later)
    return np.stack(paths)


def fit_transfers(days: PatientDays, units: int) -> Transfers:
    """From patient-days; nobody moves where there are none."""
    entered = days.midnights == 0
    return Transfers(_rates(days[entered], units), _rates(days[~entered], units))


def _rates(days: PatientDays, units: int) -> Floats:
    stayed = ~days.left
    pairs = days.unit[stayed] * units + days.next_unit[stayed]
    moved = np.bincount(pairs, days.weight[stayed], minlength=units * units).reshape(units, units)
    counts = moved + _STAYING_DAYS * np.eye(units)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))
