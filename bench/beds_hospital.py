"""An invented hospital in time: the synthetic patients of `training.synth` on a calendar, in units, with all that
makes beds hard to foresee. Weekend slow-downs, days that differ, moves between units, bookings, late scores, plans
that fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from lang1.label_rules import length_of_stay
from training.synth import factors, truth
from training.synth.config import SynthConfig
from training.synth.patients import Encounters, draw_chunk

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIMEZONE = ZoneInfo("America/New_York")
FIRST_DAY = datetime(2025, 1, 1).toordinal()  # noqa: DTZ001 (a calendar day)
UNIT_OF_REASON = {
    "chest_pain": "Cardiology", "heart_failure": "Cardiology", "syncope": "Cardiology",
    "pneumonia": "Respiratory", "copd_exacerbation": "Respiratory",
    "sepsis": "General medicine", "cellulitis": "General medicine", "hyperglycemia": "General medicine",
    "stroke": "Stroke and neurology", "gi_bleed": "Surgery", "abdominal_pain": "Surgery",
    "hip_fracture": "Orthopaedics", "elective_joint": "Orthopaedics", "cancer_complication": "Oncology",
}  # fmt: skip
ACUTE, INTENSIVE = "Acute medicine", "Intensive care"
UNITS = (ACUTE, *dict.fromkeys(UNIT_OF_REASON.values()), INTENSIVE)
_MEDICAL = frozenset({"Cardiology", "Respiratory", "General medicine"})

ED_WEEK = np.array([1.12, 1.04, 1.00, 0.98, 1.00, 0.92, 0.94])
ED_HOURS = np.array(
    [3, 2.5, 2, 1.6, 1.4, 1.4, 1.6, 2, 3, 4.5, 5.5, 6, 6.4, 6.4, 6.4, 6.2, 6, 6.2, 6, 5.6, 5, 4.6, 4, 3.4]
)
SURGE_SHAPE = 80.0
"""Of the gamma shock of a day's emergency admissions."""
SEASON = 0.05
DELAY = np.array([0.14, 0.12, 0.12, 0.12, 0.10, 0.36, 0.42])
"""P(a patient due to leave on this weekday stays another night)."""
DELAY_SHOCK, UNIT_DELAY_SHOCK = 0.45, 0.25
SCORE_NOISE = 0.6
UNSCORED = 0.08
PLANNED = 0.35
BED_MARGIN = 1.06


@dataclass(frozen=True, slots=True)
class Hospital:
    """N stays in order of admission. Times are minutes of the wall clock since FIRST_DAY 00:00."""

    admitted: Ints
    discharged: Ints
    entry_unit: Ints
    unit: Ints
    moved: Ints
    """To `unit` from `entry_unit`; -1 for never."""
    los_class: Ints
    probabilities: Floats
    """As a model would give them; NaN for a stay without a score."""
    scored: Ints
    scheduled: NDArray[np.bool_]
    booked: Ints
    planned: Ints
    """Planned discharge; -1 for none."""
    planned_recorded: Ints
    no_show_at: Ints
    no_show_booked: Ints
    no_show_unit: Ints
    days: int
    staffed: dict[str, int]

    def unit_at(self, minute: int) -> Ints:
        """(N,) unit of each stay at that minute, whether in or not."""
        return np.where(self.moved > minute, self.entry_unit, self.unit)


DAY = 24 * 60


def simulate(
    seed: int, days: int, admissions_a_day: float = 41.0, fit_days: int = 240, score_noise: float = SCORE_NOISE
) -> Hospital:
    """`days` of a hospital, the first 60 of which fill it. The scores are calibrated on the first `fit_days`."""
    rng = np.random.default_rng([seed, 20261121])
    surge = rng.gamma(SURGE_SHAPE, 1 / SURGE_SHAPE, days)
    weekday = (np.arange(days) + FIRST_DAY + 6) % 7
    season = 1 + SEASON * np.sin(2 * np.pi * np.arange(days) / 365.25)
    emergencies = rng.poisson(0.84 * admissions_a_day * ED_WEEK[weekday] * season * surge)
    electives = rng.poisson(np.where(weekday < 5, 0.16 * admissions_a_day * 7 / 5, 0.0))
    patients = _patients(seed, int(emergencies.sum()), int(electives.sum()))
    scheduled = np.concatenate([np.zeros(emergencies.sum(), bool), np.ones(electives.sum(), bool)])
    day = np.concatenate([np.repeat(np.arange(days), emergencies), np.repeat(np.arange(days), electives)])
    hour = np.where(
        scheduled, rng.uniform(6.5, 10.5, len(day)),
        rng.choice(24, len(day), p=ED_HOURS / ED_HOURS.sum()) + rng.random(len(day)),
    )  # fmt: skip
    admitted = (day * DAY + hour * 60).astype(np.int64)

    home = np.array([UNITS.index(UNIT_OF_REASON[reason]) for reason in factors.REASONS])[patients["reason"]]
    left_day = _left_days(rng, day, hour, patients["days"], home, weekday, days)
    left_hour = np.clip(rng.normal(14.2, 2.6, len(day)), 7.5, 22.5)
    same = left_day == day
    left_hour = np.where(same, rng.uniform(np.minimum(hour + 2, 23.2), 23.5), left_hour)
    discharged = (left_day * DAY + left_hour * 60).astype(np.int64)
    entry, unit, moved = _moves(rng, home, admitted, discharged, patients["severity"], scheduled)

    los_class = np.searchsorted([2, 3, 5], left_day - day, side="left")
    noisy = np.log(np.maximum(patients["true_los"], 1e-6)) + score_noise * rng.normal(0, 1, patients["true_los"].shape)
    probabilities = _calibrated(noisy, los_class, day < fit_days)
    probabilities[rng.random(len(day)) < UNSCORED] = np.nan
    planned, recorded = _plans(rng, admitted, left_day)
    gone = int(0.05 * electives.sum())
    no_show = rng.choice(np.flatnonzero(scheduled), gone, replace=False)
    lead = _leads(rng, len(day))
    order = np.argsort(admitted, kind="stable")
    filled = {
        "admitted": admitted, "discharged": discharged, "entry_unit": entry, "unit": unit, "moved": moved,
        "los_class": los_class, "probabilities": probabilities,
        "scored": admitted + rng.integers(90, 600, len(day)), "scheduled": scheduled,
        "booked": (day - lead) * DAY + 12 * 60, "planned": planned, "planned_recorded": recorded,
    }  # fmt: skip
    columns: dict[str, Any] = {name: values[order] for name, values in filled.items()}
    return Hospital(
        **columns, no_show_at=admitted[no_show] + 30, no_show_booked=(day[no_show] - _leads(rng, gone)) * DAY,
        no_show_unit=home[no_show], days=days, staffed=_staffed(columns, days),
    )  # fmt: skip


def _patients(seed: int, emergencies: int, electives: int) -> dict[str, Any]:
    """Encounters of the simulator, those for a joint replacement where electives are asked for."""
    planned = factors.REASON["elective_joint"]
    found: list[Encounters] = []
    need = {False: emergencies, True: electives}
    have = {False: 0, True: 0}
    config = SynthConfig(patients=50_000_000, seed=seed)
    while any(have[kind] < need[kind] for kind in need):
        chunk = draw_chunk(config, len(found))
        found.append(chunk)
        for kind in need:
            have[kind] += int(((chunk.population.context[:, 2] == planned) == kind).sum())
    reason = np.concatenate([chunk.population.context[:, 2] for chunk in found])
    take = np.concatenate([np.flatnonzero((reason == planned) == kind)[: need[kind]] for kind in (False, True)])
    los = truth.task_name(length_of_stay.__name__)
    return {
        "reason": reason[take],
        "severity": np.concatenate([c.population.values[:, factors.column("severity")] for c in found])[take],
        "days": np.concatenate([c.discharged - c.admitted for c in found])[take],
        "true_los": np.concatenate([c.true[los] for c in found])[take].astype(np.float64),
    }


def _left_days(
    rng: np.random.Generator, day: Ints, hour: Floats, stay: Ints, unit: Ints, weekday: Ints, days: int
) -> Ints:
    """The day of discharge: as due, or put off night by night."""
    horizon = days + 90
    weekdays = np.resize(weekday, horizon) if days % 7 == 0 else (np.arange(horizon) + FIRST_DAY + 6) % 7
    shock = DELAY_SHOCK * rng.normal(size=(horizon, 1)) + UNIT_DELAY_SHOCK * rng.normal(size=(horizon, len(UNITS)))
    delay = 1 / (1 + np.exp(-(np.log(DELAY / (1 - DELAY))[weekdays][:, None] + shock)))
    due = day + np.where((stay == 0) & (hour > 20), 1, stay)
    waiting = np.ones(len(due), dtype=bool)
    for _ in range(14):
        waiting &= rng.random(len(due)) < delay[np.minimum(due, horizon - 1), unit]
        due = due + waiting
    return np.asarray(due, dtype=np.int64)


def _moves(
    rng: np.random.Generator, home: Ints, admitted: Ints, discharged: Ints, severity: Ints, scheduled: NDArray[np.bool_]
) -> tuple[Ints, Ints, Ints]:
    """Where a stay begins, where it ends, and when it moves on between."""
    medical = np.isin(home, [UNITS.index(name) for name in _MEDICAL])
    intensive = (severity == 3) & ~scheduled
    acute = medical & ~intensive & (rng.random(len(home)) < 0.5)
    entry = np.where(intensive, UNITS.index(INTENSIVE), np.where(acute, UNITS.index(ACUTE), home))
    nights = np.where(intensive, rng.geometric(0.4, len(home)), rng.geometric(0.6, len(home)))
    moved = (admitted // DAY + nights) * DAY + rng.integers(9 * 60, 19 * 60, len(home))
    unit = np.where(moved >= discharged, entry, home)
    return np.asarray(entry, dtype=np.int64), unit, np.where(entry == unit, -1, moved)


def _leads(rng: np.random.Generator, count: int) -> Ints:
    return np.asarray(rng.geometric(1 / 14, count), dtype=np.int64)


def _plans(rng: np.random.Generator, admitted: Ints, left_day: Ints) -> tuple[Ints, Ints]:
    """A third of the stays get a planned discharge one to three days ahead, right in seven of ten."""
    count = len(admitted)
    recorded = (left_day - rng.integers(1, 4, count)) * DAY + rng.integers(9 * 60, 17 * 60, count)
    error = rng.choice([-2, -1, 0, 1, 2], count, p=[0.04, 0.16, 0.66, 0.10, 0.04])
    planned = np.maximum(left_day + error, recorded // DAY) * DAY + 14 * 60
    has = (rng.random(count) < PLANNED) & (recorded > admitted)
    return np.where(has, planned, -1), np.where(has, recorded, -1)


def _calibrated(logits: Floats, label: Ints, used: NDArray[np.bool_]) -> Floats:
    """Vector scaling (a scale and an offset a class) to the realised classes, as a trained model is calibrated."""
    from scipy.optimize import minimize

    scored, truth_of = logits[used], np.eye(logits.shape[1])[label[used]]
    classes = logits.shape[1]

    def softmax(values: Floats) -> Floats:
        shifted = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

    def loss(weights: Floats) -> tuple[float, Floats]:
        p = softmax(scored * weights[:classes] + weights[classes:])
        error = (p - truth_of) / len(scored)
        gradient = np.concatenate([(error * scored).sum(axis=0), error.sum(axis=0)])
        return float(-np.mean(np.log(np.maximum((p * truth_of).sum(axis=1), 1e-12)))), gradient

    best: Any = minimize(  # type: ignore[no-untyped-call]
        loss, np.concatenate([np.ones(classes), np.zeros(classes)]), jac=True, method="L-BFGS-B"
    ).x
    return softmax(logits * best[:classes] + best[classes:])


def _staffed(columns: dict[str, Any], days: int) -> dict[str, int]:
    """Beds that hold the mean of the second half at midnight and a margin."""
    middle = np.arange(max(days // 2, 1), days) * DAY
    counts = np.zeros(len(UNITS))
    for minute in middle:
        inside = (columns["admitted"] <= minute) & (minute < columns["discharged"])
        unit = np.where(columns["moved"] > minute, columns["entry_unit"], columns["unit"])
        counts += np.bincount(unit[inside], minlength=len(UNITS))
    return {name: int(np.ceil(BED_MARGIN * c / len(middle))) for name, c in zip(UNITS, counts, strict=True)}
