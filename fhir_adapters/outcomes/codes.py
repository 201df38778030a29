"""Lists of codes in a mapping file, and whether a concept is on one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fhir_adapters.references import codings, text_of

ANY_CODE = "*"


def fold(words: str) -> str:
    """Words as they are compared: without outer spaces, in small letters."""
    return words.strip().casefold()


@dataclass(frozen=True, slots=True)
class CodeList:
    """Entries `system|code`, `system|*` (every code of it), `|code` (a code without a system), or words.

    Words are a code, whatever its system, or the whole text of the concept; case and outer spaces are ignored. Displays
    are not read: a display may say more or less than its code.
    """

    exact: frozenset[tuple[str, str]]
    systems: frozenset[str]
    words: frozenset[str]

    def holds(self, concept: object) -> bool:
        """Whether a CodeableConcept, or a bare Coding, is on the list."""
        if not isinstance(concept, Mapping):
            return False
        listed = codings(concept)
        if any(self._holds_coding(coding) for coding in listed or [dict(concept)]):
            return True
        text = text_of(concept, "text")
        return text is not None and fold(text) in self.words

    def _holds_coding(self, coding: dict[str, object]) -> bool:
        code, system = text_of(coding, "code"), text_of(coding, "system") or ""
        if code is None:
            return False
        return (system, code) in self.exact or (system != "" and system in self.systems) or fold(code) in self.words


@lru_cache(maxsize=256)
def code_list(entries: tuple[str, ...]) -> CodeList:
    """The list of a mapping's entries."""
    exact, systems, words = set(), set(), set()
    for entry in entries:
        system, bar, code = entry.rpartition("|")
        if not bar:
            words.add(fold(entry))
        elif code == ANY_CODE:
            systems.add(system)
        else:
            exact.add((system, code))
    return CodeList(frozenset(exact), frozenset(systems), frozenset(words))
