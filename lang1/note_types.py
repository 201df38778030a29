"""The note types that Lang1 knows, by LOINC code.

Source of the codes: LOINC document ontology; US Core clinical notes. `prompt_name` is what the prompt calls the note
("Given the above admission note of the patient, ..."; paper, Appendix H).
"""

from __future__ import annotations

from dataclasses import dataclass

LOINC_SYSTEM = "http://loinc.org"


@dataclass(frozen=True, slots=True)
class NoteType:
    """One LOINC document type. `loinc` is the code, `display` LOINC's name, `prompt_name` our words in a question."""

    loinc: str
    display: str
    prompt_name: str


DISCHARGE_SUMMARY = NoteType("18842-5", "Discharge summary", "discharge note")
HISTORY_AND_PHYSICAL = NoteType("34117-2", "History and physical note", "admission note")

NOTE_TYPES: dict[str, NoteType] = {
    note_type.loinc: note_type
    for note_type in (
        DISCHARGE_SUMMARY,
        HISTORY_AND_PHYSICAL,
        NoteType("11506-3", "Progress note", "progress note"),
        NoteType("11488-4", "Consult note", "consult note"),
        NoteType("34111-5", "Emergency department note", "emergency department note"),
        NoteType("28570-0", "Procedure note", "procedure note"),
        NoteType("34746-8", "Nurse note", "nurse note"),
    )
}

# A note whose type is not in the list is still scored, and marked: no task was trained on it.
OTHER_PROMPT_NAME = "clinical note"


def prompt_name(loinc: str | None) -> str:
    """The words a prompt uses for a note of this LOINC type; "clinical note" for an unlisted or absent one."""
    note_type = NOTE_TYPES.get(loinc or "")
    return note_type.prompt_name if note_type else OTHER_PROMPT_NAME
