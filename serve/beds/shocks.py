"""The shared shock of a day, carried through the horizon by one standard normal number.

Exact mixing over the shocks of every day would be a sum over all their combinations. To first order a count depends
on a weighted sum of them, which is normal; so each count is mixed over one normal number, scaled to have the same
variance, at Gauss-Hermite nodes. Given the node all patients are independent and the law is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Floats, Ints, logit, sigmoid
from serve.beds.day_shocks import DayShocks

_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
NODES: Floats = np.asarray(_POINTS, dtype=np.float64)
NODE_WEIGHTS: Floats = np.asarray(_WEIGHTS / _WEIGHTS.sum(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ShockScale:
    """Standard deviation of the one number, in log odds: `occupancy` (K,) over all days to the census, `departures`."""

    occupancy: Floats
    departures: Floats


def shock_scales(
    shocks: DayShocks, hazards: Floats, present: Floats, scale: Floats, unit: Ints, ends: Ints, units: int
) -> tuple[ShockScale, ShockScale]:
    """For the counts of a unit, and for the hospital's, from all rows: hazards (R, D), present (R, K)."""
    days = hazards.shape[1]
    by_unit = np.eye(units)[unit]
    weighted = present * scale[:, None]
    # d(count at census k) / d(shock of day j), by unit: (U, K, D)
    moved = np.einsum("ru,rk,rd->ukd", by_unit, weighted, hazards, optimize=True)
    moved = moved * (np.arange(days)[None, :] <= ends[:, None])
    hospital, own = shocks.hospital, shocks.unit
    total = moved.sum(axis=0)
    sum_total = np.maximum(total.sum(axis=1), 1e-12)
    share = (total**2).sum(axis=1) / sum_total**2
    share_own = (moved**2).sum(axis=(0, 2)) / sum_total**2
    # Departures also depend on how many earlier shocks have left behind.
    mean_hazard = (hazards * scale[:, None]).sum(axis=0) / np.maximum(
        ((hazards > 0) * scale[:, None]).sum(axis=0), 1e-12
    )
    earlier = 1 + np.array([np.sum(mean_hazard[: int(end)] ** 2) for end in ends])
    concentration = (moved.sum(axis=2) ** 2).sum(axis=0) / sum_total**2
    for_unit = ShockScale(np.sqrt((hospital + own) * share), np.sqrt((hospital + own) * earlier))
    for_total = ShockScale(
        np.sqrt(hospital * share + own * share_own), np.sqrt((hospital + own * concentration) * earlier)
    )
    return for_unit, for_total


def shocked(hazards: Floats, sd: float) -> Floats:
    """Hazards (R, D) under each node: (J, R, D). Their mean over the nodes stays what it was, to second order."""
    score = logit(hazards) - (sd**2 / 2) * (1 - 2 * hazards)
    moved = sigmoid(score[None] + sd * NODES[:, None, None])
    return np.asarray(np.where(hazards[None] > 0, moved, 0.0))
