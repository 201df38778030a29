"""Scores of many notes at once, by the very scorer that the service runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lang1.notes import ClinicalNote
from lang1.packing import batches_by_tokens
from lang1.scorer import PackedScorer
from lang1.scores import RiskScores
from training.synth.arrow import Table

BATCH_TOKENS = 16_384
Probabilities = dict[str, tuple[float, ...]]
"""Task to the probabilities of its options."""


@dataclass(frozen=True, slots=True)
class ScoredNote:
    """A note's scores by the tasks that are trained on its type: task to the probabilities of its options."""

    probabilities: dict[str, tuple[float, ...]]
    note_tokens: int
    truncated: bool


class BulkScorer:
    """One bundle. `version` is that of the model."""

    def __init__(self, bundle: Path) -> None:
        self._scorer = PackedScorer.load(bundle)
        self.version = self._scorer.identity.version
        self.sha256 = self._scorer.identity.bundle_sha256

    def score(self, notes: Table, advance: Callable[[int], None] = lambda done: None) -> list[ScoredNote]:
        """Scores of rows with `text` and `note_type`, in their order; each note is asked what its type is for."""
        registry = self._scorer.registry
        asked = {loinc: [task.name for task in registry.values() if task.trained_on(loinc)]
                 for loinc in set(notes["note_type"].to_pylist())}  # fmt: skip
        found: list[ScoredNote | None] = [None] * len(notes)
        for start in range(0, len(notes), 2000):
            rows = notes.slice(start, 2000).select(["text", "note_type"]).to_pylist()
            prompts = [
                self._scorer.prepare(ClinicalNote("", row["text"], row["note_type"]), asked[row["note_type"]])
                for row in rows
            ]
            for group in batches_by_tokens(prompts, BATCH_TOKENS):
                for place, scores in zip(group, self._scorer.score([prompts[i] for i in group]), strict=True):
                    found[start + place] = _scored(scores)
                advance(len(group))
        return [each for each in found if each is not None]


def _scored(scores: RiskScores) -> ScoredNote:
    return ScoredNote(
        {risk.task: tuple(risk.probabilities) for risk in scores.risks}, scores.note_tokens, scores.dropped_tokens > 0
    )


def largest_difference(
    one: Sequence[dict[str, tuple[float, ...]]], other: Sequence[dict[str, tuple[float, ...]]]
) -> float:
    """Largest absolute difference of a probability between two scorings of the same notes, over the tasks of both."""
    return max(
        (
            abs(a - b)
            for left, right in zip(one, other, strict=True)
            for task in left.keys() & right.keys()
            for a, b in zip(left[task], right[task], strict=True)
        ),
        default=0.0,
    )
