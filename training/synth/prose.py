"""Long notes' text that tells nothing (`SynthConfig.prose`): lists of drugs and results, systems reviewed and examined,
reports, courses by day, instructions, and paragraphs that templates paste in.

Drawn without regard to any factor, so that ceilings stay exact.
"""

from __future__ import annotations

from training.synth import passages as say
from training.synth.dice import Dice
from training.synth.passages import Pool

_BY_SECTION: dict[str, Pool] = {
    "story": say.STORIES, "history": say.HISTORIES, "family": say.KIN, "social": say.HOMES, "review": say.SYSTEMS,
    "exam": say.EXAMINED, "assessment": say.PLANS, "background": say.STAFF, "coverage": say.OFFICES,
    "course": say.COURSES, "leaving": say.PARTINGS, "data": say.REPORTS,
}  # fmt: skip

PASTED_SHARE = 0.06
"""Of the passages that are added; each is five to ten times as long as the others."""
# How often a section is lengthened: drugs and results fill charts.
_WEIGHTS = {"data": 5, "drugs": 5, "review": 2, "exam": 2, "assessment": 2, "course": 2}


def section_to_fill(order: list[str], dice: Dice) -> str:
    """A section of `order`, drawn by how long such sections grow."""
    at = dice.below(sum(_WEIGHTS.get(name, 1) for name in order))
    for name in order:
        at -= _WEIGHTS.get(name, 1)
        if at < 0:
            return name
    raise AssertionError("the weights add up to more than the draw")


def passage(section: str, dice: Dice, used: set[str]) -> str | None:
    """One passage for a section: a paragraph pasted in, a line of a list, or a sentence of its kind.

    None when what was drawn is among `used`, to which it is added: charts repeat their templates, but not in one note.
    """
    if dice.chance(PASTED_SHARE):
        key = text = dice.pick(say.PASTED)
    elif section == "drugs":
        key, text = _drug(dice)
    elif section == "data" and dice.chance(0.7):
        key = text = _results(dice)
    else:
        key = dice.pick(_BY_SECTION[section])
        text = _filled(key, dice)
    if key in used:
        return None
    used.add(key)
    return text


def _filled(template: str, dice: Dice) -> str:
    return template.format(
        n=1 + dice.below(9), m=10 + dice.below(80), month=dice.pick(say.MONTHS), job=dice.pick(say.JOBS),
        language=dice.pick(say.LANGUAGES), k=50 + dice.below(60), t=150 + dice.below(42),
    )  # fmt: skip


def _drug(dice: Dice) -> tuple[str, str]:
    if dice.chance(0.12):
        allergen = dice.pick(say.ALLERGENS)
        return allergen, f"Allergy to {allergen}: {dice.pick(say.REACTIONS)}."
    detail = _filled(dice.pick(say.LISTED), dice)
    name = dice.pick(say.DRUGS)
    return name, f"{name[0].upper()}{name[1:]} {dice.pick(say.FREQUENCIES)}, {detail}."


def _results(dice: Dice) -> str:
    """A run of three to six results of one draw."""
    found = []
    at = dice.below(len(say.RESULTS))
    for step in range(3 + dice.below(4)):
        name, decimals, low, high, unit = say.RESULTS[(at + step) % len(say.RESULTS)]
        value = (low + dice.below(high - low + 1)) / 10**decimals
        found.append(f"{name} {value:.{decimals}f} {unit}".strip())
    return f"Drawn {dice.pick(say.MONTHS)} {1 + dice.below(28)}: " + ", ".join(found) + "."
