"""Write a note from what its slots tell, and record where each statement ends."""

from __future__ import annotations

from dataclasses import dataclass

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from training.synth import filler
from training.synth.conditions import CONDITIONS
from training.synth.config import SynthConfig
from training.synth.dice import Dice
from training.synth.lengthening import Sentence, lengthen, lengthen_with_prose
from training.synth.phrases import FILLERS, Wording
from training.synth.slots import SLOTS, UNTOLD
from training.synth.styles import PLAIN, NoteStyle
from training.synth.terms import NAMES, USUAL_TERMS, Terms

_MEMBERS: dict[tuple[str, str], tuple[int, ...]] = {
    (loinc, section): tuple(i for i, slot in enumerate(slots) if slot.section == section)
    for loinc, slots in SLOTS.items()
    for section in {slot.section for slot in slots}
}
NOT_THERE = -1
"""The end of a statement whose section the note lacks: neither told nor passed over in silence."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note's text, sections on lines of their own; `ends[s]` is the character offset of the end of slot s's
    statement in the cleaned text, or of the place where it would have stood; NOT_THERE without its section."""

    text: str
    ends: list[int]


def write_note(
    config: SynthConfig,
    loinc: str,
    age: int,
    male: bool,
    reason: int,
    told: list[int],
    words: int,
    dice: Dice,
    style: NoteStyle = PLAIN,
    terms: Terms = USUAL_TERMS,
    prose: Dice | None = None,
) -> Note:
    """A note of `loinc` telling `told` (S,), about `words` words long. `prose`: dice for long notes' text."""
    kind = "admission" if loinc == HISTORY_AND_PHYSICAL.loinc else "discharge"
    assert loinc in (HISTORY_AND_PHYSICAL.loinc, DISCHARGE_SUMMARY.loinc)
    order = _order(config, kind, dice, style)
    writer = _Writer(config, loinc, told, dice, style, terms)
    sections = {name: writer.section(name) for name in order}
    opening = dice.pick(style.openings[kind]).format(
        age=age,
        noun=("man" if male else "woman"),
        letter=("M" if male else "F"),
        reason=dice.pick(filler.REASON_WORDS[reason]),
    )
    sections["story"].insert(0, (opening, ()))
    if prose is None:
        lengthen(sections, order, words, dice, style)
    else:
        lengthen_with_prose(sections, order, words, prose)
    return _compose(config, sections, order, len(told), dice, style)


def _order(config: SynthConfig, kind: str, dice: Dice, style: NoteStyle) -> list[str]:
    rest = list(style.orders[kind])
    if dice.chance(config.shuffle_rate):
        rest = dice.shuffled(rest)
    if kind == "admission":
        rest.insert(0 if dice.chance(style.coverage_first) else len(rest), "coverage")
    if style.late or style.missing:
        moved = [name for name in style.late if name in rest]
        rest = [name for name in rest if name not in moved] + moved
        rest = [name for name in rest if name not in style.missing]
    return ["story", *rest]


@dataclass(frozen=True, slots=True)
class _Writer:
    """The sentences of a note's sections, without the text that tells nothing."""

    config: SynthConfig
    loinc: str
    told: list[int]
    dice: Dice
    style: NoteStyle
    terms: Terms

    def section(self, name: str) -> list[Sentence]:
        members = _MEMBERS.get((self.loinc, name), ())
        if name == "family":
            return self._family()
        if name == "history":
            return self._history(members)
        if name == "background":
            return self._background(members)
        out: list[Sentence] = []
        for index in self.dice.shuffled(list(members)):
            wording, value = SLOTS[self.loinc][index].wording, self.told[index]
            assert wording is not None
            said = "" if value == UNTOLD else state(self.config, wording, value, self.dice, self.style, self.terms)
            out.append((said, (index,)))
        return out

    def _family(self) -> list[Sentence]:
        dice, out = self.dice, list[Sentence]()
        for _ in range(dice.below(4)):
            x, y = (dice.pick(NAMES[c][dice.below(len(NAMES[c]))]) for c in (dice.below(len(NAMES)) for _ in range(2)))
            frame = dice.pick(self.style.family)
            out.append((_capital(frame.format(r=dice.pick(filler.RELATIVES), x=x, y=y)), ()))
        return out

    def _history(self, members: tuple[int, ...]) -> list[Sentence]:
        dice, told = self.dice, self.told
        present = dice.shuffled([i for i in members if told[i] > 0])
        absent = dice.shuffled([i for i in members if told[i] == 0])
        untold = tuple(i for i in members if told[i] == UNTOLD)
        out: list[Sentence] = []
        if present and absent and dice.chance(0.4):
            p, n = present[: 1 + dice.below(3)], absent[: 1 + dice.below(3)]
            present, absent = present[len(p) :], absent[len(n) :]
            frame = dice.pick(self.style.mixed)
            text = frame.format(p=self._listed(p), n=self._listed(n), f=dice.pick(FILLERS))
            out.append((_capital(text), (*p, *n)))
        for group, frames in ((present, self.style.positive), (absent, self.style.negative)):
            while group:
                part = group[: 1 + dice.below(3)]
                group = group[len(part) :]
                text = dice.pick(frames).format(x=self._listed(part), f=dice.pick(FILLERS))
                out.append((_capital(text), tuple(part)))
        # The silence about the others is complete only where the section ends.
        return [*dice.shuffled(out), ("", untold)]

    def _background(self, members: tuple[int, ...]) -> list[Sentence]:
        present = [i for i in members if self.told[i] > 0]
        untold = tuple(i for i in members if self.told[i] <= 0)
        out: list[Sentence] = []
        if present:
            frame = self.dice.pick(self.style.positive)
            text = frame.format(x=self._listed(present), f=self.dice.pick(FILLERS))
            out.append((_capital(text), tuple(present)))
        return [*out, ("", untold)]

    def _listed(self, members: list[int]) -> str:
        names = [self.terms.name(i % len(CONDITIONS), self.told[i], self.dice) for i in members]
        if len(names) == 1:
            return names[0]
        return ", ".join(names[:-1]) + (" and " if self.dice.chance(0.6) else ", ") + names[-1]


def state(
    config: SynthConfig, wording: Wording, value: int, dice: Dice, style: NoteStyle = PLAIN, terms: Terms = USUAL_TERMS
) -> str:
    """One sentence saying `value`, often beside a value that does not hold."""
    fields = {
        "h": dice.pick(wording.heads),
        "c": terms.content(wording, value, dice),
        "f": dice.pick(FILLERS),
    }
    if not dice.chance(config.contrast_rate):
        return _capital(dice.pick(style.plain).format(**fields))
    other = (value + 1 + dice.below(len(wording.contents) - 1)) % len(wording.contents)
    return _capital(dice.pick(style.contrast).format(o=terms.content(wording, other, dice), **fields))


def _compose(
    config: SynthConfig,
    sections: dict[str, list[Sentence]],
    order: list[str],
    slots: int,
    dice: Dice,
    style: NoteStyle,
) -> Note:
    ends = [NOT_THERE] * slots
    lines: list[str] = []
    at = 0
    for name in order:
        pieces: list[str] = []
        if any(text for text, _ in sections[name]):
            header = dice.pick(style.headers[name])
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
