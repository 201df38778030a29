"""Text that tells nothing, until a note is as long as it should be."""

from __future__ import annotations

from training.synth import filler
from training.synth.dice import Dice
from training.synth.prose import passage, section_to_fill
from training.synth.styles import NoteStyle

Sentence = tuple[str, tuple[int, ...]]
"""A sentence and the slots that it tells; an empty sentence marks where an untold slot would have stood."""

_MOST_RUNS = 1000


def lengthen(sections: dict[str, list[Sentence]], order: list[str], words: int, dice: Dice, style: NoteStyle) -> None:
    have = _words(sections, order)
    used: set[str] = set()
    for _ in range(400):
        if have >= words:
            return
        name = order[dice.below(len(order))]
        template = dice.pick(style.pasted) if dice.chance(0.12) else dice.pick(style.templates[name])
        if template in used and dice.chance(0.8):
            continue
        used.add(template)
        text = template.format(
            n=1 + dice.below(9), m=10 + dice.below(80), job=dice.pick(filler.JOBS), language=dice.pick(filler.LANGUAGES)
        )
        sentences = sections[name]
        # The opening stays first: it tells the context.
        first = 1 if name == "story" else 0
        sentences.insert(first + dice.below(len(sentences) - first + 1), (text, ()))
        have += text.count(" ") + 1


def lengthen_with_prose(sections: dict[str, list[Sentence]], order: list[str], words: int, dice: Dice) -> None:
    """Lengthen with passages in runs, as lists and paragraphs come, no passage twice."""
    have = _words(sections, order)
    used: set[str] = set()
    for _ in range(_MOST_RUNS):
        if have >= words:
            return
        name = section_to_fill(order, dice)
        sentences = sections[name]
        first = 1 if name == "story" else 0
        at = first + dice.below(len(sentences) - first + 1)
        for _ in range(1 + dice.below(4)):
            text = passage(name, dice, used)
            if text is not None:
                sentences.insert(at, (text, ()))
                have += text.count(" ") + 1


def _words(sections: dict[str, list[Sentence]], order: list[str]) -> int:
    return sum(text.count(" ") + 1 for sentences in sections.values() for text, _ in sentences if text) + len(order)
