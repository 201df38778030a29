"""The laws of occupancy and departures of every unit and of the hospital, from the rows of a forecast.

J nodes of the shared shock, K days, U units, R rows. The hospital's law is made from the rows, never from the units'
laws: a patient who moves is in one place, and the shock is shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serve.beds.arrays import Complexes, Floats, Ints
from serve.beds.distribution import (
    SMALL,
    bernoulli_factor,
    frequencies,
    frequencies_needed,
    gamma_poisson_exponent,
    power_sums,
    probabilities_of,
    small_bernoulli_exponent,
    window_size,
    window_start,
)
from serve.beds.shocks import NODE_WEIGHTS, NODES


@dataclass(frozen=True, slots=True)
class Laws:
    """`mass` (..., L): probabilities of the counts start, start + 1, ... at each cell."""

    mass: Floats
    start: Ints

    def mean(self) -> Floats:
        return np.asarray(self.start + self.mass @ np.arange(self.mass.shape[-1]))

    def above(self, count: float) -> Floats:
        """P(count is exceeded)."""
        counts = self.start[..., None] + np.arange(self.mass.shape[-1])
        return np.asarray((self.mass * (counts > count)).sum(axis=-1))

    def shortfall(self, count: float) -> Floats:
        """E max(count - X, 0)."""
        counts = self.start[..., None] + np.arange(self.mass.shape[-1])
        return np.asarray((self.mass * np.maximum(count - counts, 0)).sum(axis=-1))


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are in the same units with the same chances: `probability` (J, N, K), `where` (K, U)."""

    probability: Floats
    where: Floats


@dataclass(frozen=True, slots=True)
class Flow:
    """Unscheduled arrivals of one day: `mean` (J, K, U) of those counted, and their dispersion."""

    mean: Floats
    dispersion: float


def unit_laws(groups: list[Group], flows: list[Flow], days: int, units: int) -> Laws:
    """Laws (U, K, L)."""
    by_node = np.zeros((len(NODES), days, units))
    for group in groups:
        by_node += group.where * group.probability.sum(axis=1)[..., None]
    by_node += sum((flow.mean for flow in flows), np.zeros_like(by_node))
    mean = np.einsum("j,jku->uk", NODE_WEIGHTS, by_node)
    # No Bernoulli varies more than its mean: an upper bound, for the window alone.
    variance = mean + np.einsum("j,jku->uk", NODE_WEIGHTS, (by_node - mean.T) ** 2)
    for flow in flows:
        variance += flow.dispersion * np.einsum("j,jku->uk", NODE_WEIGHTS, flow.mean) ** 2
    size = window_size(float(mean.max(initial=0.0)), float(variance.max(initial=0.0)))
    z = frequencies(size)
    cells = len(NODES) * days
    product = np.zeros((units, cells, len(z)), dtype=np.complex128)
    for flow in flows:
        product += gamma_poisson_exponent(flow.mean.transpose(2, 0, 1).reshape(-1), flow.dispersion, z).reshape(
            product.shape
        )
    small = [np.zeros((1, cells)) for _ in range(units)]
    large: list[list[Floats]] = [[] for _ in range(units)]
    for group in groups:
        rows = group.probability.transpose(1, 0, 2)
        sums = power_sums(rows.reshape(len(rows), cells)).reshape(-1, len(NODES), days)
        orders = np.arange(1, len(sums) + 1)[:, None]
        for unit in np.flatnonzero(group.where.max(axis=0) > 0):
            where = group.where[:, unit]
            if where.max() <= SMALL:
                small[unit] = small[unit] + (sums * (where**orders)[:, None]).reshape(-1, cells)
            else:
                large[unit].append((rows * where).reshape(-1, cells))
    for unit_product, unit_sums in zip(product, small, strict=True):
        if len(unit_sums) > 1:
            unit_product += small_bernoulli_exponent(unit_sums, z)
    product = np.exp(product)
    for unit_product, large_rows in zip(product, large, strict=True):
        if large_rows:
            _multiply(unit_product, np.concatenate(large_rows), z)
    mixed = np.einsum("j,ujkf->ukf", NODE_WEIGHTS, product.reshape(units, len(NODES), days, len(z)))
    start = window_start(mean, variance)
    return Laws(probabilities_of(mixed, size, start), start)


def hospital_laws(probability: Floats, flows: list[Flow], days: int) -> Laws:
    """Laws (K, L) of all rows together: `probability` (J, N, K); each flow's units are summed."""
    nodes = len(NODES)
    p = np.einsum("j,jnk->nk", NODE_WEIGHTS, probability)
    mean, variance = p.sum(axis=0), (p * (1 - p)).sum(axis=0)
    by_node = probability.sum(axis=1) + sum((flow.mean.sum(axis=2) for flow in flows), np.zeros((nodes, days)))
    variance += NODE_WEIGHTS @ (by_node - NODE_WEIGHTS @ by_node) ** 2
    for flow in flows:
        m = NODE_WEIGHTS @ flow.mean.sum(axis=2)
        mean, variance = mean + m, variance + m + flow.dispersion * m**2
    size = window_size(float(mean.max(initial=0.0)), float(variance.max(initial=0.0)))
    z = frequencies(size)
    exponents = (gamma_poisson_exponent(flow.mean.sum(axis=2).reshape(-1), flow.dispersion, z) for flow in flows)
    product: Complexes = np.exp(sum(exponents, np.zeros((nodes * days, len(z)), dtype=np.complex128)))
    _multiply(product, probability.transpose(1, 0, 2).reshape(-1, nodes * days), z)
    mixed = np.einsum("j,jkf->kf", NODE_WEIGHTS, product.reshape(nodes, days, len(z)))
    start = window_start(mean, variance)
    return Laws(probabilities_of(mixed, size, start), start)


def _multiply(product: Complexes, rows: Floats, z: Complexes) -> None:
    """By the rows' Bernoullis (N, C), in place; frequencies at which the product vanishes are set to 0."""
    if not len(rows):
        return
    needed = frequencies_needed(z, float((rows * (1 - rows)).sum(axis=0).min(initial=np.inf)))
    bernoulli_factor(product[:, :needed], rows, z[:needed])
    product[:, needed:] = 0.0
