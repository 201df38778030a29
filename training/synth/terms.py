"""What notes call the values of factors: the usual terms, and the new ones of a scenario."""

from __future__ import annotations

from training.synth.conditions import CONDITIONS
from training.synth.dice import Dice
from training.synth.phrases import Wording
from training.synth.vocabulary import NEW_CONTENTS, NEW_NAMES

NAMES = tuple(tuple(level.names for level in condition.levels) for condition in CONDITIONS)
_ABSENT = tuple(condition.negative_names for condition in CONDITIONS)
_NEW_NAMES = tuple(NEW_NAMES[condition.name] for condition in CONDITIONS)


class Terms:
    """What values are called: the usual terms, and in a share of the statements the new ones."""

    __slots__ = ("_dice", "_share")

    def __init__(self, share: float = 0.0, dice: Dice | None = None) -> None:
        """`dice` decide which statement takes a new term; needed with a share above 0."""
        self._share = share
        self._dice = dice

    def content(self, wording: Wording, value: int, dice: Dice) -> str:
        said = dice.pick(wording.contents[value])
        if self._dice is None or not self._dice.chance(self._share):
            return said
        return self._dice.pick(NEW_CONTENTS[wording.heads][value])

    def name(self, condition: int, value: int, dice: Dice) -> str:
        # Any form may be denied by its own name, so that a name alone says nothing.
        if value == 0 and not dice.chance(0.6):
            said, form = dice.pick(_ABSENT[condition]), 0
        else:
            form = dice.below(len(NAMES[condition])) if value == 0 else value - 1
            said = dice.pick(NAMES[condition][form])
        if self._dice is None or not self._dice.chance(self._share):
            return said
        return self._dice.pick(_NEW_NAMES[condition][form])


USUAL_TERMS = Terms()
