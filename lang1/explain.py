"""What in a note moved a risk: leave one passage out, score again, take the difference.

Occlusion needs no gradients and says what the model would have answered, so its numbers can be checked by hand. All
variants of a note go through packed passes like any other notes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lang1.notes import ClinicalNote
from lang1.scorer import DEFAULT_MAX_BATCH_TOKENS, PackedScorer

MAX_PASSAGES = 24
_SENTENCE_END = re.compile(r"(?<=[.;:!?]) +")


@dataclass(frozen=True, slots=True)
class PassageEffect:
    """One passage of the cleaned text, characters [start, end), and what it did to a task's adverse probability.

    `effect` is the probability with the whole note minus the one without the passage: above 0 raised the risk.
    """

    start: int
    end: int
    effect: float


def explain(
    scorer: PackedScorer,
    note: ClinicalNote,
    tasks: Sequence[str] | None = None,
    *,
    top: int = 3,
    max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
) -> dict[str, tuple[PassageEffect, ...]]:
    """For every task, the `top` passages with the largest effect in size, largest first.

    Only text that the model read is looked at. Costs one more scored note a passage, MAX_PASSAGES at most.
    """
    kept = scorer.encoder.kept_characters(note.text)
    text = note.text if kept == float("inf") else note.text[: int(kept)]
    spans = passages(text)
    variants = [_without(note, text, span) for span in spans] if len(spans) > 1 else []
    whole, *rest = scorer.score_notes([_with_text(note, text), *variants], tasks, max_batch_tokens)
    found: dict[str, tuple[PassageEffect, ...]] = {}
    for index, risk in enumerate(whole.risks):
        effects = [
            PassageEffect(start, end, risk.adverse_probability - other.risks[index].adverse_probability)
            for (start, end), other in zip(spans, rest, strict=False)
        ]
        found[risk.task] = tuple(sorted(effects, key=lambda effect: -abs(effect.effect))[:top])
    return found


def passages(text: str, limit: int = MAX_PASSAGES) -> list[tuple[int, int]]:
    """Sentences as character spans, neighbours joined until there are at most `limit`, of about equal length."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    starts = [start for start in starts if start < len(text)]
    ends = [*starts[1:], len(text)]
    sentences = list(zip(starts, ends, strict=True))
    if len(sentences) <= limit:
        return sentences
    target = len(text) / limit
    joined: list[tuple[int, int]] = []
    for start, end in sentences:
        # A passage takes sentences until it has reached its share of the text.
        if joined and joined[-1][1] < target * len(joined):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _without(note: ClinicalNote, text: str, span: tuple[int, int]) -> ClinicalNote:
    return _with_text(note, (text[: span[0]] + text[span[1] :]).strip() or ".")


def _with_text(note: ClinicalNote, text: str) -> ClinicalNote:
    return ClinicalNote(note.note_id, text, note.note_type)
