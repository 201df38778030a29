"""AUROC: how well scores rank. Hard labels, or true probabilities as soft labels where a simulator knows them.

Multi-class AUROC is one-versus-rest, averaged over the classes that occur (paper, 5.5). Intervals are 1.96 standard
deviations over bootstrap resamples of the rows (paper, 5.5); a resample only recounts rows that were ranked once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the bounds of its 95% interval."""

    value: float
    low: float
    high: float


def soft_auroc(scores: npt.ArrayLike, positive: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Probability that a positive outranks a negative, ties counting half. NaN when one side is empty.

    scores (n,); positive (n,) in [0, 1], 0/1 labels or true probabilities; weights (n,) counts of each row.
    """
    order, starts = _ranked(np.asarray(scores, dtype=np.float64))
    p = np.asarray(positive, dtype=np.float64)
    w = np.ones_like(p) if weights is None else np.asarray(weights, dtype=np.float64)
    return _auroc_of_ranked((p * w)[order], ((1 - p) * w)[order], starts)


def _ranked(scores: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Ascending order, and where each group of equal scores starts in it."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, starts


def _auroc_of_ranked(positive: Floats, negative: Floats, starts: npt.NDArray[np.intp]) -> float:
    positives, negatives = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    total = positives.sum() * negatives.sum()
    if total <= 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / total)


def macro_auroc(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """One task's AUROC. probabilities (n, K); labels (n,) option indices, or (n, K) true probabilities.

    Binary: the second option against the first. Multi-class: the mean of one-versus-rest over classes that occur.
    """
    scores, truth = np.asarray(probabilities, dtype=np.float64), _one_hot(labels, probabilities)
    if scores.shape[1] == 2:
        return soft_auroc(scores[:, 1], truth[:, 1])
    return float(np.nanmean([soft_auroc(scores[:, k], truth[:, k]) for k in range(scores.shape[1])]))


def macro_auroc_interval(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 3407,
) -> Interval:
    """`macro_auroc` with value +- 1.96 SD over bootstrap resamples, clipped to [0, 1]. Scores are ranked once.

    `groups` (n,) names each row's patient: patients are then resampled with all their rows, which are not independent.
    """
    scores, truth = np.asarray(probabilities, dtype=np.float64), _one_hot(labels, probabilities)
    columns = [1] if scores.shape[1] == 2 else [k for k in range(scores.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    ranked = [(*_ranked(scores[:, k]), truth[:, k]) for k in columns]
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    member = np.arange(len(scores)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = int(member.max()) + 1 if len(member) else 0
    for i in range(resamples):
        counts = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)[member]
        per_class = [
            _auroc_of_ranked((column * counts)[order], ((1 - column) * counts)[order], starts)
            for order, starts, column in ranked
        ]
        # A class that a resample misses has no AUROC there; the mean is over those that it has.
        kept = [value for value in per_class if not np.isnan(value)]
        values[i] = np.mean(kept) if kept else np.nan
    value = macro_auroc(probabilities, labels)
    half = 1.96 * float(np.nanstd(values)) if np.isfinite(values).any() else float("nan")
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


@dataclass(frozen=True, slots=True)
class Difference:
    """AUROC of one score less that of another on the same rows, with its 95% interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


def delong_interval(scores: npt.ArrayLike, positive: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Interval:
    """AUROC with DeLong's interval (1988), by midranks in n log n (Sun and Xu 2014).

    scores (n,); positive (n,) bool. NaN when one side is empty. Rows are independent, or those of a group (n,) belong
    together (Obuchowski 1997): what `macro_auroc_interval` finds by resampling patients, in a hundredth of the time.
    """
    value, covariance = _delong([np.asarray(scores, dtype=np.float64)], np.asarray(positive, dtype=bool), groups)
    half = 1.96 * math.sqrt(max(0.0, covariance[0, 0]))
    return Interval(float(value[0]), max(0.0, float(value[0]) - half), min(1.0, float(value[0]) + half))


def delong_difference(
    one: npt.ArrayLike, other: npt.ArrayLike, positive: npt.ArrayLike, groups: npt.ArrayLike | None = None
) -> Difference:
    """How much better `one` ranks than `other` on the same rows, grouped as in `delong_interval`. All (n,)."""
    scores = [np.asarray(each, dtype=np.float64) for each in (one, other)]
    value, covariance = _delong(scores, np.asarray(positive, dtype=bool), groups)
    gap = float(value[0] - value[1])
    spread = math.sqrt(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    p = math.erfc(abs(gap) / spread / math.sqrt(2)) if spread > 0 else (1.0 if gap == 0 else 0.0)
    return Difference(gap, gap - 1.96 * spread, gap + 1.96 * spread, p)


def _delong(
    scores: list[Floats], positive: npt.NDArray[np.bool_], groups: npt.ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """AUROCs (S,) of S scores and their covariance (S, S)."""
    events, others = int(positive.sum()), int((~positive).sum())
    if not events or not others:
        return np.full(len(scores), np.nan), np.full((len(scores), len(scores)), np.nan)
    by_event, by_other = np.empty((len(scores), events)), np.empty((len(scores), others))
    for row, each in enumerate(scores):
        everyone = _midranks(each)
        # The share of the other side that each row outranks.
        by_event[row] = (everyone[positive] - _midranks(each[positive])) / others
        by_other[row] = 1 - (everyone[~positive] - _midranks(each[~positive])) / events
    value = by_event.mean(axis=1)
    if groups is not None:
        influence = np.empty((len(scores), len(positive)))
        influence[:, positive] = (by_event - value[:, None]) / events
        influence[:, ~positive] = (by_other - value[:, None]) / others
        member = np.unique(np.asarray(groups), return_inverse=True)[1]
        sums = np.stack([np.bincount(member, weights=row) for row in influence])
        return value, sums @ sums.T * (sums.shape[1] / max(1, sums.shape[1] - 1))
    covariance = np.zeros((len(scores), len(scores)))
    for part, rows in ((by_event, events), (by_other, others)):
        if rows > 1:
            covariance += np.atleast_2d(np.cov(part)) / rows
    return value, covariance


def _midranks(scores: Floats) -> Floats:
    """Ranks from 1, equal scores sharing the mean of theirs."""
    order, starts = _ranked(scores)
    ends = np.append(starts[1:], len(scores))
    ranks = np.empty(len(scores))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def _one_hot(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> Floats:
    truth, classes = np.asarray(labels), np.asarray(probabilities).shape[1]
    if truth.ndim == 1:
        return np.eye(classes, dtype=np.float64)[truth.astype(np.intp)]
    return truth.astype(np.float64)
