"""DeLong's comparison of two models on the same rows, for binary and multi-class tasks, with weights and patients.

An AUROC's variance is the sum over patients of their squared influence on it (DeLong 1988; Obuchowski 1997 for rows
that belong together). The influence of a row on a mean of AUROCs is the mean of its influences, and rows of a
case-control sample count by their weight: one formula serves binary tasks, one-versus-rest means and weighted samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedAuroc:
    """Two models' AUROCs on the same rows; `difference` is of the first less the second, with its standard error."""

    one: float
    other: float
    difference: float
    standard_error: float

    def lower(self, confidence: float) -> float:
        """One-sided lower bound of the difference."""
        return self.difference - NormalDist().inv_cdf(confidence) * self.standard_error

    def upper(self, confidence: float) -> float:
        """One-sided upper bound of the difference."""
        return self.difference + NormalDist().inv_cdf(confidence) * self.standard_error


def paired_macro_auroc(
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    classes: tuple[int, ...],
    groups: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> PairedAuroc:
    """Means over `classes` of one-versus-rest AUROCs, compared. (1,) is a binary task's usual AUROC.

    one, other (n, K) scores; labels (n,) option indices; groups (n,) names each row's patient; weights (n,). Each class
    and its rest must occur.
    """
    y = np.asarray(labels)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    left = _macro(np.asarray(one, dtype=np.float64), y, w, classes)
    right = _macro(np.asarray(other, dtype=np.float64), y, w, classes)
    error = math.sqrt(_clustered(left[1] - right[1], groups))
    return PairedAuroc(left[0], right[0], left[0] - right[0], error)


def weighted_auroc(
    scores: npt.ArrayLike, positive: npt.ArrayLike, *, groups: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> tuple[float, float]:
    """(AUROC, standard error) of scores (n,) against positive (n,) bool; both sides must occur."""
    y = np.asarray(positive, dtype=np.bool_)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    value, influence = _influence(np.asarray(scores, dtype=np.float64), y, w)
    return value, math.sqrt(_clustered(influence, groups))


def _macro(
    scores: Floats, labels: npt.NDArray[np.integer], w: Floats, classes: tuple[int, ...]
) -> tuple[float, Floats]:
    parts = [_influence(scores[:, k], labels == k, w) for k in classes]
    return float(np.mean([value for value, _ in parts])), np.mean([influence for _, influence in parts], axis=0)


def _influence(scores: Floats, positive: npt.NDArray[np.bool_], w: Floats) -> tuple[float, Floats]:
    """An AUROC and what each row (n,) adds to it: its weighted excess over the mean of its side."""
    mine, theirs = np.flatnonzero(positive), np.flatnonzero(~positive)
    assert len(mine) and len(theirs), "an AUROC needs both sides"
    total_mine, total_theirs = w[mine].sum(), w[theirs].sum()
    outranked = _share_below(scores[mine], scores[theirs], w[theirs]) / total_theirs
    # The share of events above each of the others.
    outranking = 1 - _share_below(scores[theirs], scores[mine], w[mine]) / total_mine
    value = float((w[mine] * outranked).sum() / total_mine)
    influence = np.empty(len(scores))
    influence[mine] = w[mine] * (outranked - value) / total_mine
    influence[theirs] = w[theirs] * (outranking - value) / total_theirs
    return value, influence


def _share_below(at: Floats, scores: Floats, w: Floats) -> Floats:
    """Weight of `scores` (m,) below each of `at` (n,), equal ones counting half."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    up_to = np.concatenate(([0.0], np.cumsum(w[order])))
    return np.asarray(
        (up_to[np.searchsorted(ranked, at, side="left")] + up_to[np.searchsorted(ranked, at, side="right")]) / 2
    )


def _clustered(influence: Floats, groups: npt.ArrayLike) -> float:
    """Variance of a sum of influences (n,) whose rows belong to groups (n,)."""
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.bincount(member, weights=influence)
    return float(sums @ sums) * len(sums) / max(1, len(sums) - 1)
