"""The length of stay as a hazard a day: P(leaves today | still in), by midnights crossed since admission.

A life table, drawn towards a parametric curve where days are few; beyond the last class bound the curve is a discrete
Weibull fitted by maximum likelihood under a weak prior. The classes of the length-of-stay task share the table: a
scored patient's probability of a class is spread over its days as the table spreads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lang1.label_rules import LOS_UPPER_DAYS
from serve.beds.arrays import Floats, Ints, weighted_counts
from serve.beds.patient_days import PatientDays

UPPER = np.asarray(LOS_UPPER_DAYS, dtype=np.int64)
CLASSES = len(LOS_UPPER_DAYS) + 1
OPEN_FROM = int(UPPER[-1]) + 1
"""First day of the open class, in midnights."""
TABLE_DAYS = 120
"""Days of the table; its last hazard holds for ever after."""

# Without a history: a general acute hospital with a mean stay of about five days.
_DEFAULT_HAZARD_OF_CLASSES = 0.2
_DEFAULT_FIRST_DAY = 0.06
_DEFAULT_TAIL = (0.17, 0.9)
_TAIL_PRIOR_SD = (0.6, 0.25)
"""Of the logarithms of scale and shape."""
_SHRINKAGE_DAYS = 25.0
"""Patient-days of the curve that a day of the table is mixed with."""
_LEAST, _MOST = 1e-4, 0.98


@dataclass(frozen=True, slots=True)
class StayLength:
    """Hazards by midnights (TABLE_DAYS,), and the tail (scale, shape) they are drawn towards."""

    hazards: Floats
    tail: tuple[float, float]

    def base_hazards(self, midnights: Ints) -> Floats:
        """Hazard of the whole population on these days, any shape."""
        return np.asarray(self.hazards[np.minimum(midnights, TABLE_DAYS - 1)])

    def class_hazards(self, probabilities: Floats, midnights: Ints) -> Floats:
        """Hazards of scored patients: (N, C) class probabilities and (N, D) midnights to (N, D).

        P(LOS = m | LOS >= m) with the class probabilities spread over the days of each class; Bayes takes care of the
        days already stayed. In the open class it is the table's hazard, whoever the patient is.
        """
        base, share, remaining = self._spread()
        later = np.concatenate(
            [np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1], np.zeros((len(probabilities), 1))], 1
        )
        closed = np.minimum(midnights, OPEN_FROM - 1)
        of_class = class_of(closed)
        rows = np.arange(len(probabilities))[:, None]
        own = probabilities[rows, of_class]
        still = later[rows, of_class + 1] + own * remaining[closed]
        with np.errstate(invalid="ignore", divide="ignore"):
            hazard = np.where(still > 0, own * share[closed] / still, base[closed])
        hazard = np.where(midnights < OPEN_FROM, hazard, self.base_hazards(midnights))
        return np.asarray(np.clip(hazard, _LEAST, _MOST))

    def _spread(self) -> tuple[Floats, Floats, Floats]:
        """Hazard, share of its class, and the class's share from that day on, for each day before the open class."""
        hazards = self.hazards[:OPEN_FROM]
        still = np.concatenate([[1.0], np.cumprod(1 - hazards)[:-1]])
        mass = still * hazards
        of_class = class_of(np.arange(OPEN_FROM))
        total = np.bincount(of_class, mass, minlength=CLASSES)
        share = mass / total[of_class]
        remaining = np.array([share[m:][of_class[m:] == of_class[m]].sum() for m in range(OPEN_FROM)])
        return hazards, share, remaining


def class_of(midnights: Ints) -> Ints:
    """Index of the length-of-stay class of each number of midnights."""
    return np.searchsorted(UPPER, midnights, side="left").astype(np.int64)


def fit_stay_length(days: PatientDays) -> StayLength:
    """From patient-days; the default curve where there are none."""
    midnights = np.minimum(days.midnights, TABLE_DAYS - 1)
    at_risk = weighted_counts(midnights, days.weight, TABLE_DAYS)
    left = weighted_counts(midnights, days.weight * days.left, TABLE_DAYS)
    tail = _fit_tail(left[OPEN_FROM:], at_risk[OPEN_FROM:])
    curve = np.full(TABLE_DAYS, _DEFAULT_HAZARD_OF_CLASSES)
    curve[0] = _DEFAULT_FIRST_DAY
    curve[OPEN_FROM:] = _weibull_hazards(*tail, TABLE_DAYS - OPEN_FROM)
    hazards = (left + _SHRINKAGE_DAYS * curve) / (at_risk + _SHRINKAGE_DAYS)
    return StayLength(np.clip(hazards, _LEAST, _MOST), tail)


def _weibull_hazards(scale: float, shape: float, days: int) -> Floats:
    """Discrete Weibull: P(T >= t) = exp(-scale * t ** shape), t = 0, 1, ... days in the open class."""
    edges = np.arange(days + 1, dtype=np.float64) ** shape
    return np.asarray(1 - np.exp(-scale * np.diff(edges)))


def _fit_tail(left: Floats, at_risk: Floats) -> tuple[float, float]:
    """Posterior mode of (scale, shape) on a grid that closes in, of counts by day in the open class."""
    centre = np.log(np.asarray(_DEFAULT_TAIL))
    prior, sd = centre.copy(), np.asarray(_TAIL_PRIOR_SD)
    edges = np.arange(len(left) + 1, dtype=np.float64)
    reach = np.array([2.5, 1.2])
    for _ in range(6):
        scales, shapes = (np.linspace(c - r, c + r, 25) for c, r in zip(centre, reach, strict=True))
        widths = np.diff(edges[None, :] ** np.exp(shapes)[:, None], axis=1)
        rates = np.exp(scales)[:, None, None] * widths
        # ln P(leaves) for those who left, -rate for those who stayed
        stayed = at_risk - left
        likelihood = (left * np.log(-np.expm1(-np.maximum(rates, 1e-12))) - stayed * rates).sum(axis=-1)
        penalty = ((scales - prior[0]) / sd[0])[:, None] ** 2 + ((shapes - prior[1]) / sd[1])[None, :] ** 2
        best = np.unravel_index(np.argmax(likelihood - penalty / 2), likelihood.shape)
        centre = np.array([scales[best[0]], shapes[best[1]]])
        reach /= 3
    return float(np.exp(centre[0])), float(np.exp(centre[1]))
