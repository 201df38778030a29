"""What moved a risk, in words, for the answer to who asked: it quotes the note, so it is never part of a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lang1.tasks import Task

MAX_QUOTE_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class QuotedPassage:
    """A passage of the cleaned note, and its effect: the adverse probability with it minus the one without it."""

    text: str = field(repr=False)
    effect: float


def explained(resource: dict[str, Any], task: Task, passages: Sequence[QuotedPassage]) -> dict[str, Any]:
    """A RiskAssessment whose main prediction's rationale names the passages, one sentence each; a changed copy.

    Main is the positive option of a binary task and the most probable adverse one of the others.
    """
    if not passages:
        return resource
    predictions = list(resource["prediction"])
    adverse = [0] if len(predictions) == 1 else task.adverse_options
    main = max(adverse, key=lambda index: predictions[index]["probabilityDecimal"])
    words = [predictions[main]["rationale"], *(_sentence(passage, task) for passage in passages)]
    predictions[main] = {**predictions[main], "rationale": " ".join(words)}
    return {**resource, "prediction": predictions}


def _sentence(passage: QuotedPassage, task: Task) -> str:
    points = abs(passage.effect) * 100
    size = "less than 0.1" if points < 0.05 else f"{points:.1f}"
    direction = "lower" if passage.effect >= 0 else "higher"
    return (
        f'Without the passage "{_cut(passage.text)}" the risk ({task.adverse_label}) '
        f"would be {size} percentage points {direction}."
    )


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_QUOTE_CHARS else f"{text[: MAX_QUOTE_CHARS - 3].rstrip()}..."
