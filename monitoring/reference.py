"""What scores and notes looked like on validation data: the profile that a bundle carries and drift is judged against.

JSON, some 130 kB without hidden states. No note, no patient, no score of a single note: only quantiles and shares (and,
where hidden states are watched, points in the space of their principal components).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.discrimination import soft_auroc
from lang1.tasks import Task
from monitoring.errors import MonitorInputError

Floats = npt.NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

SKETCH_STEPS = 500
MIN_REFERENCE_NOTES = 1000
PSI_BINS = 10
HIDDEN_DIMENSIONS = 64
_MAX_PROFILE_BYTES = 16 * 1024 * 1024
_CLIP = 1e-9


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuantileSketch(_Frozen):
    """A distribution by M + 1 of its order statistics at shares 0, 1/M, ..., 1, and the number of values behind it.

    Between knots the distribution function is a straight line, so it is within `error` = 1/M of the sample's own
    everywhere, left limits included, and so is every Kolmogorov-Smirnov distance measured against it: the sample's
    function and the line lie in the same step of height 1/M. Ties keep their jump.
    """

    count: int = Field(ge=1)
    knots: tuple[Finite, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> QuantileSketch:
        if any(b < a for a, b in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError("knots must not fall")
        return self

    @property
    def error(self) -> float:
        """Bound on the error of the distribution function and of a KS distance."""
        return 1 / (len(self.knots) - 1)

    def cdf(self, x: npt.ArrayLike, *, left: bool = False) -> Floats:
        """Share of values at most x, or below x with `left`. x (n,)."""
        at, knots = np.asarray(x, dtype=np.float64), np.asarray(self.knots)
        steps = len(knots) - 1
        below = np.searchsorted(knots, at, side="left" if left else "right")
        inside = np.clip(below, 1, steps)
        low, high = knots[inside - 1], knots[inside]
        width = np.where(high > low, high - low, 1.0)
        line = (inside - 1 + np.clip((at - low) / width, 0.0, 1.0)) / steps
        return np.where(below == 0, 0.0, np.where(below > steps, 1.0, line))


def sketch(values: npt.ArrayLike, steps: int = SKETCH_STEPS) -> QuantileSketch:
    """Sketch of values (n,), n >= 1. Raises ValueError for values that are not finite."""
    x = np.asarray(values, dtype=np.float64)
    if not len(x) or not np.all(np.isfinite(x)):
        raise ValueError("a sketch needs at least one value, and finite ones")
    knots = np.quantile(x, np.arange(steps + 1) / steps, method="inverted_cdf")
    return QuantileSketch(count=len(x), knots=tuple(knots.tolist()))


class TaskReference(_Frozen):
    """One task's scores: a sketch of the logit of every watched option."""

    logits: dict[str, QuantileSketch]
    """By option code."""
    adverse_auroc: Share | None = None
    """AUROC of the adverse probability on validation labels: the baseline of realised quality."""


class NoteReference(_Frozen):
    """The notes themselves."""

    count: int = Field(ge=1)
    note_tokens: QuantileSketch
    truncated: Share
    unknown_rate: QuantileSketch | None = None
    """Share of a note's tokens that the tokenizer fell back to bytes for, or did not know."""
    note_types: dict[str, int]
    """Notes by LOINC code; "other" for the rest."""


class HiddenReference(_Frozen):
    """Last-token hidden states: their principal components and a sample of validation notes in that space."""

    mean: tuple[Finite, ...]
    """(H,)"""
    components: tuple[tuple[Finite, ...], ...]
    """(D, H), scaled so that a feature has unit variance on validation notes."""
    sample: tuple[tuple[Finite, ...], ...]
    """(N, D)"""

    @model_validator(mode="after")
    def _check(self) -> HiddenReference:
        if any(len(row) != len(self.mean) for row in self.components):
            raise ValueError(f"components need {len(self.mean)} entries a row")
        if any(len(row) != len(self.components) for row in self.sample):
            raise ValueError(f"sample needs {len(self.components)} entries a row")
        return self

    def features(self, hidden: npt.ArrayLike) -> Floats:
        """(n, D) features of hidden states (n, H)."""
        states = np.asarray(hidden, dtype=np.float64) - np.asarray(self.mean)
        return np.asarray(states @ np.asarray(self.components).T)


class ReferenceProfile(_Frozen):
    """Frozen and JSON-serialisable; `source` says what it was made from."""

    format_version: Literal[1] = 1
    model_version: str
    source: str
    tasks: dict[str, TaskReference]
    notes: NoteReference
    hidden: HiddenReference | None = None


@dataclass(frozen=True, slots=True)
class NoteSample:
    """Facts of n notes, each (n,): tokens read, whether cut, LOINC type or "", unknown rate where it is recorded."""

    note_tokens: Floats
    truncated: npt.NDArray[np.bool_]
    note_type: npt.NDArray[np.str_]
    unknown_rate: Floats | None = None

    def __len__(self) -> int:
        return len(self.note_tokens)


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """One task's scores of n notes of a type it is trained on.

    probabilities (n, K); labels (n,) option indices, negative for none, or None.
    """

    probabilities: Floats
    labels: npt.NDArray[np.integer] | None = None


def build_reference(
    scores: Mapping[str, tuple[Task, ScoreSample]],
    notes: NoteSample,
    *,
    model_version: str,
    source: str,
    hidden: HiddenReference | None = None,
) -> ReferenceProfile:
    """Profile of validation scores. Raises MonitorInputError under 1,000 notes: its own noise would look like drift.

    A task with fewer scores than that is left out, and is then not watched for drift.
    """
    if len(notes) < MIN_REFERENCE_NOTES:
        raise MonitorInputError(
            f"a reference needs at least {MIN_REFERENCE_NOTES} notes, got {len(notes)}; give more weeks or notes"
        )
    types, counts = np.unique(note_type_labels(notes.note_type), return_counts=True)
    return ReferenceProfile(
        model_version=model_version,
        source=source,
        tasks={
            name: TaskReference(
                logits={code: sketch(values) for code, values in watched_logits(task, sample.probabilities).items()},
                adverse_auroc=_adverse_auroc(task, sample),
            )
            for name, (task, sample) in scores.items()
            if len(sample.probabilities) >= MIN_REFERENCE_NOTES
        },
        notes=NoteReference(
            count=len(notes),
            note_tokens=sketch(notes.note_tokens),
            truncated=float(notes.truncated.mean()),
            unknown_rate=None if notes.unknown_rate is None else sketch(notes.unknown_rate),
            note_types={str(name): int(count) for name, count in zip(types, counts, strict=True)},
        ),
        hidden=hidden,
    )


def hidden_reference(hidden: npt.ArrayLike, *, sample: int = 500, seed: int = 3407) -> HiddenReference:
    """Principal components (at most 64) of hidden states (n, H), n > 64, whitened, and a sample in their space."""
    states = np.asarray(hidden, dtype=np.float64)
    mean = states.mean(axis=0)
    _, singular, axes = np.linalg.svd(states - mean, full_matrices=False)
    kept = min(HIDDEN_DIMENSIONS, int((singular > singular[0] * 1e-6).sum()))
    components = axes[:kept] / (singular[:kept, None] / np.sqrt(len(states) - 1))
    chosen = np.random.default_rng(seed).permutation(len(states))[:sample]
    points = (states[chosen] - mean) @ components.T
    return HiddenReference(mean=_rounded(mean), components=_rows(components), sample=_rows(points))


def _rounded(row: Floats) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in row)


def _rows(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(_rounded(row) for row in matrix)


def watched_logits(task: Task, probabilities: npt.ArrayLike) -> dict[str, Floats]:
    """Option code to logits (n,) of probabilities (n, K); of a binary task only the positive one, which says it all."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _CLIP, 1 - _CLIP)
    options = range(len(task.options)) if task.positive_option is None else (task.positive_option,)
    return {task.options[k].code: np.log(p[:, k]) - np.log1p(-p[:, k]) for k in options}


def adverse_probability(task: Task, probabilities: npt.ArrayLike) -> Floats:
    """(n,) summed probability of the adverse options of probabilities (n, K)."""
    p = np.asarray(probabilities, dtype=np.float64)[:, list(task.adverse_options)].sum(axis=1)
    return np.asarray(np.clip(p, 0.0, 1.0))


def note_type_labels(note_types: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """Known LOINC codes as they are, anything else "other": a caller's free text is no category."""
    from lang1.note_types import NOTE_TYPES

    return np.where(np.isin(note_types, list(NOTE_TYPES)), note_types, "other")


def _adverse_auroc(task: Task, sample: ScoreSample) -> float | None:
    if sample.labels is None:
        return None
    has = sample.labels >= 0
    happened = np.isin(sample.labels[has], task.adverse_options)
    value = soft_auroc(adverse_probability(task, sample.probabilities[has]), happened) if has.any() else float("nan")
    return None if np.isnan(value) else value


def read_reference(path: Path) -> ReferenceProfile:
    """A profile from its JSON file. Raises MonitorInputError naming file and field."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_PROFILE_BYTES + 1)
        if len(raw) > _MAX_PROFILE_BYTES:
            raise MonitorInputError(f"{path}: over {_MAX_PROFILE_BYTES} bytes; this is no reference profile")
        return ReferenceProfile.model_validate_json(raw)
    except OSError as error:
        raise MonitorInputError(
            f"{path}: cannot be read ({type(error).__name__}); give a reference profile's JSON file"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise MonitorInputError(f"{path}: {where}: {first['msg']}") from None
