"""Do scores and notes still look like the reference? Weekly windows, all signals judged together.

A signal is flagged in a window when Holm's procedure over all signals of the window rejects at 0.01 and its effect is
at least 0.06, and it alarms when two windows running flag it. Effects are differences of probability: the
Kolmogorov-Smirnov distance of scores, note length and unknown rate, the total variation distance of the note-type mix
and of the share of cut notes. Significance alone flags every large window; an effect alone flags every small one.
PSI and the p-values are for people; nothing alarms on PSI.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from lang1.tasks import Task
from monitoring.reference import (
    PSI_BINS,
    HiddenReference,
    NoteReference,
    NoteSample,
    QuantileSketch,
    TaskReference,
    note_type_labels,
    watched_logits,
)

Floats = npt.NDArray[np.float64]

MIN_WINDOW_NOTES = 500
MIN_EFFECT = 0.06
MIN_SQUARED_MMD = 0.004
"""Effect for hidden states, in units of the kernel. Quiet windows of 500 notes stay under 0.001; a shift of 0.3 SD of
16 of 64 components gives 0.0065."""
HOLM_LEVEL = 0.01
WINDOWS_RUNNING = 2
MMD_POINTS = 1000
MMD_PERMUTATIONS = 5000
_MIN_EXPECTED = 5
_ENOUGH_AS_LARGE = 20


class Reading(BaseModel):
    """One signal in one window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signal: str
    notes: int
    effect: float
    """KS or total variation distance, in [0, 1]; squared MMD for hidden states."""
    min_effect: float = MIN_EFFECT
    p_value: float
    psi: float | None = None
    rejected: bool = False
    flagged: bool = False


class DriftState(BaseModel):
    """How many windows running each signal has been flagged. A signal without enough notes keeps its count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    running: dict[str, int] = Field(default_factory=dict)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Signals in alarm."""
        return tuple(signal for signal, windows in self.running.items() if windows >= WINDOWS_RUNNING)


def judge(readings: Sequence[Reading], state: DriftState) -> tuple[tuple[Reading, ...], DriftState, tuple[str, ...]]:
    """One window's readings with their verdicts, the state after them, and the signals whose alarm begins here."""
    rejected = holm([reading.p_value for reading in readings])
    judged = tuple(
        reading.model_copy(update={"rejected": no, "flagged": no and reading.effect >= reading.min_effect})
        for reading, no in zip(readings, rejected, strict=True)
    )
    running = {**state.running, **{r.signal: state.running.get(r.signal, 0) + 1 if r.flagged else 0 for r in judged}}
    after = DriftState(running=running)
    begun = tuple(r.signal for r in judged if running[r.signal] == WINDOWS_RUNNING)
    return judged, after, begun


def holm(p_values: Sequence[float], level: float = HOLM_LEVEL) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects: family-wise error at most `level` under any dependence."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if not p_values[i] <= level / (len(order) - rank):
            break
        rejected[i] = True
    return rejected


def ks_distance(values: npt.ArrayLike, reference: QuantileSketch) -> tuple[float, float]:
    """(D, p) of the two-sample Kolmogorov-Smirnov test of values (n,) against a sketch.

    D is within `reference.error` of the distance to the sketched sample; p is computed from D less that error, by the
    asymptotic distribution, and is therefore too large rather than too small, as it is with ties.
    """
    from scipy.special import kolmogorov

    x = np.sort(np.asarray(values, dtype=np.float64))
    # Both functions are constant or straight between these points, so the largest gap is at one, from either side.
    at = np.concatenate((x, np.asarray(reference.knots)))
    right = np.abs(np.searchsorted(x, at, side="right") / len(x) - reference.cdf(at))
    left = np.abs(np.searchsorted(x, at, side="left") / len(x) - reference.cdf(at, left=True))
    distance = float(max(right.max(), left.max()))
    size = len(x) * reference.count / (len(x) + reference.count)
    return distance, float(kolmogorov(math.sqrt(size) * max(0.0, distance - reference.error)))


def psi(values: npt.ArrayLike, reference: QuantileSketch, bins: int = PSI_BINS) -> float:
    """Population stability index over the reference's quantile bins; half a note is added to an empty bin."""
    x = np.asarray(values, dtype=np.float64)
    edges = np.unique(np.quantile(np.asarray(reference.knots), np.arange(1, bins) / bins, method="inverted_cdf"))
    expected = np.diff(np.concatenate(([0.0], reference.cdf(edges), [1.0])))
    found = np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1) / len(x)
    floor = 0.5 / len(x)
    found, expected = np.maximum(found, floor), np.maximum(expected, floor)
    return float(((found - expected) * np.log(found / expected)).sum())


def mix_distance(counts: Mapping[str, int], reference: Mapping[str, int]) -> tuple[float, float]:
    """(total variation distance, p of the chi-squared test of homogeneity) of two sets of counts by category.

    For the test, categories with fewer than 5 expected notes are pooled, and join the next rarest if still too few.
    """
    from scipy.special import chdtrc

    names = sorted({*counts, *reference})
    found = np.array([[each.get(name, 0) for name in names] for each in (counts, reference)], dtype=np.float64)
    sizes = found.sum(axis=1, keepdims=True)
    distance = float(np.abs(found[0] / sizes[0] - found[1] / sizes[1]).sum() / 2)
    pooled = found[:, np.argsort(found.sum(axis=0), kind="stable")]
    while pooled.shape[1] > 1 and pooled[:, 0].sum() * sizes.min() / sizes.sum() < _MIN_EXPECTED:
        pooled = np.column_stack((pooled[:, 0] + pooled[:, 1], pooled[:, 2:]))
    if pooled.shape[1] < 2:
        return distance, 1.0
    expected = sizes * pooled.sum(axis=0) / sizes.sum()
    return distance, float(chdtrc(pooled.shape[1] - 1, ((pooled - expected) ** 2 / expected).sum()))


def mmd(
    window: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    permutations: int = MMD_PERMUTATIONS,
    points: int = MMD_POINTS,
    seed: int = 3407,
) -> tuple[float, float]:
    """(unbiased squared MMD, permutation p) of features (n, D) against (m, D); Gretton et al., JMLR 2012.

    Gaussian kernel whose width is the median distance within the reference. Of more than `points` rows a random sample
    is taken. p is at least 1 / (permutations + 1); permuting ends early once p is plainly not small (Besag and
    Clifford, Biometrika 1991).
    """
    rng = np.random.default_rng(seed)
    parts = [np.asarray(part, dtype=np.float64) for part in (window, reference)]
    first, second = (part[rng.permutation(len(part))[:points]] for part in parts)
    pooled, n, m = np.vstack((first, second)), len(first), len(second)
    if n < 2 or m < 2:
        raise ValueError(f"MMD needs two rows on either side, got {n} and {m}")
    squares = (pooled**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * pooled @ pooled.T, 0.0)
    width = float(np.median(distances[n:, n:][np.triu_indices(m, 1)]))
    kernel = np.exp(-distances / (2 * max(width, 1e-12)))
    np.fill_diagonal(kernel, 0.0)
    total = float(kernel.sum())

    def statistic(member: Floats) -> Floats:
        """member (n + m, P): 1 for rows of the window."""
        within = (member * (kernel @ member)).sum(axis=0)
        rows = kernel.sum(axis=1) @ member
        other = total - 2 * rows + within
        return np.asarray(within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * (rows - within) / (n * m))

    actual = np.zeros((n + m, 1))
    actual[:n] = 1.0
    observed = float(statistic(actual)[0])
    as_large, done = 0, 0
    while done < permutations and as_large < _ENOUGH_AS_LARGE:
        size = min(500, permutations - done)
        shuffled = rng.permuted(np.repeat(actual, size, axis=1), axis=0)
        as_large += int((statistic(shuffled) >= observed).sum())
        done += size
    return observed, (1 + as_large) / (1 + done)


def score_readings(task: Task, probabilities: npt.ArrayLike, reference: TaskReference) -> tuple[Reading, ...]:
    """Readings of one task's scores (n, K) in a window: notes of the types that the task is trained on."""
    readings = []
    for code, logits in watched_logits(task, probabilities).items():
        distance, p_value = ks_distance(logits, reference.logits[code])
        readings.append(
            Reading(
                signal=f"score/{task.name}/{code}",
                notes=len(logits),
                effect=distance,
                p_value=p_value,
                psi=psi(logits, reference.logits[code]),
            )
        )
    return tuple(readings)


def note_readings(notes: NoteSample, reference: NoteReference) -> tuple[Reading, ...]:
    """Readings of the notes of a window: length, cut notes, note-type mix and, where known, the unknown rate."""
    n = len(notes)
    length, length_p = ks_distance(notes.note_tokens, reference.note_tokens)
    cut = round(reference.truncated * reference.count)
    truncated, truncated_p = mix_distance(
        {"cut": int(notes.truncated.sum()), "whole": int((~notes.truncated).sum())},
        {"cut": cut, "whole": reference.count - cut},
    )
    types, counts = np.unique(note_type_labels(notes.note_type), return_counts=True)
    mix, mix_p = mix_distance(dict(zip(types.tolist(), counts.tolist(), strict=True)), reference.note_types)
    readings = [
        Reading(
            signal="notes/length", notes=n, effect=length, p_value=length_p,
            psi=psi(notes.note_tokens, reference.note_tokens),
        ),
        Reading(signal="notes/truncated", notes=n, effect=truncated, p_value=truncated_p),
        Reading(signal="notes/types", notes=n, effect=mix, p_value=mix_p),
    ]  # fmt: skip
    if notes.unknown_rate is not None and reference.unknown_rate is not None:
        unknown, unknown_p = ks_distance(notes.unknown_rate, reference.unknown_rate)
        readings.append(Reading(signal="notes/unknown", notes=n, effect=unknown, p_value=unknown_p))
    return tuple(readings)


def hidden_reading(hidden: npt.ArrayLike, reference: HiddenReference) -> Reading:
    """Reading of last-token hidden states (n, H) of a window."""
    squared, p_value = mmd(reference.features(hidden), np.asarray(reference.sample))
    return Reading(
        signal="notes/hidden",
        notes=len(np.asarray(hidden)),
        effect=squared,
        min_effect=MIN_SQUARED_MMD,
        p_value=p_value,
    )
