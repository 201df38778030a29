"""Write a note from what its slots tell, and record where each statement ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from training.synth import filler
from training.synth.conditions import CONDITIONS
from training.synth.config import SynthConfig
from training.synth.phrases import CONTRAST_FRAMES, FILLERS, PLAIN_FRAMES, Wording
from training.synth.slots import SLOTS, UNTOLD

# A sentence and the slots that it tells; an empty sentence marks where an untold slot would have stood.
T = TypeVar("T")

Sentence = tuple[str, tuple[int, ...]]

_HP_ORDER = ("history", "family", "social", "review", "drugs", "exam", "data", "assessment", "background")
_DISCHARGE_ORDER = ("history", "social", "drugs", "course", "data", "leaving")
_MEMBERS: dict[tuple[str, str], tuple[int, ...]] = {
    (loinc, section): tuple(i for i, slot in enumerate(slots) if slot.section == section)
    for loinc, slots in SLOTS.items()
    for section in {slot.section for slot in slots}
}
_NAMES = tuple(tuple(level.names for level in condition.levels) for condition in CONDITIONS)
_ABSENT = tuple(condition.negative_names for condition in CONDITIONS)


class Dice:
    """A stream of pre-drawn integers in [0, 2**31), used over again when it runs out."""

    __slots__ = ("_at", "_numbers")

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._at = 0

    def below(self, n: int) -> int:
        self._at += 1
        # The turn count is added so that a stream used a second time does not repeat its choices.
        return (self._numbers[self._at % len(self._numbers)] + self._at // len(self._numbers) * 7919) % n

    def chance(self, p: float) -> bool:
        return self.below(1_000_000) < p * 1_000_000

    def pick(self, pool: tuple[str, ...]) -> str:
        return pool[self.below(len(pool))]

    def shuffled(self, items: list[T]) -> list[T]:
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out


@dataclass(frozen=True, slots=True)
class Note:
    """A note's text, sections on lines of their own; `ends[s]` is the character offset of the end of slot s's
    statement in the cleaned text, or of the place where it would have stood."""

    text: str
    ends: list[int]


def write_note(
    config: SynthConfig, loinc: str, age: int, male: bool, reason: int, told: list[int], words: int, dice: Dice
) -> Note:
    """A note of `loinc` telling `told` (S,), about `words` words long."""
    kind = "admission" if loinc == HISTORY_AND_PHYSICAL.loinc else "discharge"
    assert loinc in (HISTORY_AND_PHYSICAL.loinc, DISCHARGE_SUMMARY.loinc)
    order = _order(config, kind, dice)
    sections = {name: _section(config, loinc, name, told, dice) for name in order}
    opening = dice.pick(filler.OPENINGS[kind]).format(
        age=age,
        noun=("man" if male else "woman"),
        letter=("M" if male else "F"),
        reason=dice.pick(filler.REASON_WORDS[reason]),
    )
    sections["story"].insert(0, (opening, ()))
    _lengthen(sections, order, words, dice)
    return _compose(config, sections, order, len(told), dice)


def _order(config: SynthConfig, kind: str, dice: Dice) -> list[str]:
    rest = list(_HP_ORDER if kind == "admission" else _DISCHARGE_ORDER)
    if dice.chance(config.shuffle_rate):
        rest = dice.shuffled(rest)
    if kind == "admission":
        rest.insert(0 if dice.chance(0.55) else len(rest), "coverage")
    return ["story", *rest]


def _section(config: SynthConfig, loinc: str, name: str, told: list[int], dice: Dice) -> list[Sentence]:
    members = _MEMBERS.get((loinc, name), ())
    if name == "family":
        return _family(dice)
    if name == "history":
        return _history(members, told, dice)
    if name == "background":
        return _background(members, told, dice)
    out: list[Sentence] = []
    for index in dice.shuffled(list(members)):
        wording = SLOTS[loinc][index].wording
        assert wording is not None
        out.append((state(config, wording, told[index], dice) if told[index] != UNTOLD else "", (index,)))
    return out


def state(config: SynthConfig, wording: Wording, value: int, dice: Dice) -> str:
    """One sentence saying `value`, often beside a value that does not hold."""
    fields = {
        "h": dice.pick(wording.heads),
        "c": dice.pick(wording.contents[value]),
        "f": dice.pick(FILLERS),
    }
    if not dice.chance(config.contrast_rate):
        return _capital(dice.pick(PLAIN_FRAMES).format(**fields))
    other = (value + 1 + dice.below(len(wording.contents) - 1)) % len(wording.contents)
    return _capital(dice.pick(CONTRAST_FRAMES).format(o=dice.pick(wording.contents[other]), **fields))


def _family(dice: Dice) -> list[Sentence]:
    out: list[Sentence] = []
    for _ in range(dice.below(4)):
        x, y = (dice.pick(_NAMES[c][dice.below(len(_NAMES[c]))]) for c in (dice.below(len(_NAMES)) for _ in range(2)))
        frame = dice.pick(filler.FAMILY_FRAMES)
        out.append((_capital(frame.format(r=dice.pick(filler.RELATIVES), x=x, y=y)), ()))
    return out


def _name(condition: int, value: int, dice: Dice) -> str:
    if value == 0:
        # Any form may be denied by its own name, so that a name alone says nothing.
        if dice.chance(0.6):
            return dice.pick(_NAMES[condition][dice.below(len(_NAMES[condition]))])
        return dice.pick(_ABSENT[condition])
    return dice.pick(_NAMES[condition][value - 1])


def _history(members: tuple[int, ...], told: list[int], dice: Dice) -> list[Sentence]:
    present = dice.shuffled([i for i in members if told[i] > 0])
    absent = dice.shuffled([i for i in members if told[i] == 0])
    untold = tuple(i for i in members if told[i] == UNTOLD)
    out: list[Sentence] = []
    if present and absent and dice.chance(0.4):
        p, n = present[: 1 + dice.below(3)], absent[: 1 + dice.below(3)]
        present, absent = present[len(p) :], absent[len(n) :]
        frame = dice.pick(filler.MIXED_FRAMES)
        text = frame.format(p=_listed(p, told, dice), n=_listed(n, told, dice), f=dice.pick(FILLERS))
        out.append((_capital(text), (*p, *n)))
    for group, frames in ((present, filler.POSITIVE_FRAMES), (absent, filler.NEGATIVE_FRAMES)):
        while group:
            part = group[: 1 + dice.below(3)]
            group = group[len(part) :]
            text = dice.pick(frames).format(x=_listed(part, told, dice), f=dice.pick(FILLERS))
            out.append((_capital(text), tuple(part)))
    # The silence about the others is complete only where the section ends.
    return [*dice.shuffled(out), ("", untold)]


def _listed(members: list[int], told: list[int], dice: Dice) -> str:
    names = [_name(i % len(CONDITIONS), told[i], dice) for i in members]
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + (" and " if dice.chance(0.6) else ", ") + names[-1]


def _background(members: tuple[int, ...], told: list[int], dice: Dice) -> list[Sentence]:
    present = [i for i in members if told[i] > 0]
    untold = tuple(i for i in members if told[i] <= 0)
    out: list[Sentence] = []
    if present:
        frame = dice.pick(filler.POSITIVE_FRAMES)
        out.append((_capital(frame.format(x=_listed(present, told, dice), f=dice.pick(FILLERS))), tuple(present)))
    return [*out, ("", untold)]


def _lengthen(sections: dict[str, list[Sentence]], order: list[str], words: int, dice: Dice) -> None:
    have = sum(text.count(" ") + 1 for sentences in sections.values() for text, _ in sentences if text) + len(order)
    used: set[str] = set()
    for _ in range(400):
        if have >= words:
            return
        name = order[dice.below(len(order))]
        template = dice.pick(filler.PASTED) if dice.chance(0.12) else dice.pick(filler.TEMPLATES[name])
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


def _compose(
    config: SynthConfig, sections: dict[str, list[Sentence]], order: list[str], slots: int, dice: Dice
) -> Note:
    ends = [0] * slots
    lines: list[str] = []
    at = 0
    for name in order:
        pieces: list[str] = []
        if any(text for text, _ in sections[name]):
            header = dice.pick(filler.HEADERS[name])
            pieces.append(header)
            at += len(header) + (1 if lines else 0)
        for text, told in sections[name]:
            if text:
                sentence = misspell(text, dice) if dice.chance(config.misspelling_rate) else text
                pieces.append(sentence)
                at += 1 + len(sentence)
            for index in told:
                ends[index] = at
        if pieces:
            lines.append(" ".join(pieces))
    return Note("\n".join(lines), ends)


def misspell(text: str, dice: Dice) -> str:
    """Swap two inner letters of one word of six letters or more; the length stays."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 6 and word.isalpha()]
    if not long:
        return text
    chosen = long[dice.below(len(long))]
    word = words[chosen]
    k = 1 + dice.below(len(word) - 3)
    words[chosen] = word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return " ".join(words)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
