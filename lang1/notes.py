"""A clinical note as plain text, its cleaning (paper, 5.1), and the filter that training and serving share."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from lang1.errors import NoteError

MIN_WORDS = 10

# An export writes these where it has no text. "Allergies: <none>" in a long note is a doctor's, so the words that
# people write as well count only where they are most of the note.
_PLACEHOLDER = re.compile(r"<\s*(?:NA|N/A|NAN)\s*>", re.IGNORECASE)
_EMPTY_FIELD = re.compile(r"<\s*(?:NULL|NONE|MISSING)\s*>", re.IGNORECASE)
# Typographic marks that NFKD leaves alone and that dropping would glue words together or lose a sign.
_TYPOGRAPHY = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2015": "-", "\u2212": "-",
        "\u2022": "-", "\u00b7": "-", "\u00d7": "x", "\u00b5": "u", "\u03bc": "u", "\u00b1": "+/-", "\u00df": "ss",
        "\u2264": "<=", "\u2266": "<=", "\u2a7d": "<=", "\u2265": ">=", "\u2267": ">=", "\u2a7e": ">=",
        "\u2260": "!=", "\u2248": "~", "\u00b0": " deg ",
        "\u2205": " no ", "\u00d8": "O", "\u00f8": "o",
        "\u2192": "->", "\u2191": " up ", "\u2193": " down ",
        # NFKD would join a fraction to the digit before it: one and a half tablets, not eleven halves.
        "\u00bc": " 1/4", "\u00bd": " 1/2", "\u00be": " 3/4", "\u2153": " 1/3", "\u2154": " 2/3",
    }
)  # fmt: skip
# Clinicians write a lone one for "no": dropped, a denied symptom would become a present one. In a name it is a letter.
_LONE_SLASHED_O = re.compile(r"(?<!\w)[\u00d8\u00f8](?!\w)")
_NON_ASCII = re.compile(r"[^\x20-\x7e]+")
_REPEATED_RULE = re.compile(r"([-=_*#~.])\1{3,}")
_SPACE = re.compile(r"\s+")
_SPACE_BEFORE_MARK = re.compile(r" +([,;:.!?)\]])(?=\s|$)")


@dataclass(frozen=True, slots=True)
class ClinicalNote:
    """A note ready for a prompt. `text` is cleaned; `note_type` is a LOINC code or None when the source gave none.

    References are the EHR's own (`Patient/123`); they travel to the answer and never into a log.
    """

    note_id: str
    text: str
    note_type: str | None
    subject: str | None = None
    encounter: str | None = None
    authored: datetime | None = None


def clean_text(raw: str) -> str:
    """One line of printable ASCII: folded accents and typography, no other non-ASCII, single spaces. Paper, 5.1."""
    text = unicodedata.normalize("NFKD", _LONE_SLASHED_O.sub(" no ", raw).translate(_TYPOGRAPHY))
    # Combining marks are dropped without a space, so that e + acute is e; every other stranger becomes a space.
    text = (
        "".join(character for character in text if not unicodedata.combining(character)) if not text.isascii() else text
    )
    text = _NON_ASCII.sub(" ", text)
    text = _REPEATED_RULE.sub(r"\1", text)
    text = _SPACE.sub(" ", text)
    return _SPACE_BEFORE_MARK.sub(r"\1", text).strip()


def check_scorable(text: str) -> None:
    """Raise NoteError for a cleaned text that training would have dropped: empty, a placeholder, under 10 words."""
    if not text:
        raise NoteError("the note is empty after cleaning; send the note's narrative text")
    words = len(_EMPTY_FIELD.sub(" ", text).split())
    if _PLACEHOLDER.search(text) or (_EMPTY_FIELD.search(text) and words < MIN_WORDS):
        raise NoteError("the note holds a placeholder such as <NA> where text should be; send the finished note")
    if words < MIN_WORDS:
        raise NoteError(
            f"the note has {words} words, under the {MIN_WORDS} that training required; send the whole note"
        )
