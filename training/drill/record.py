"""The whole record as retraining reads it: labels and times of every note, and the texts of the chosen ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from training.drill.hospital import NO_NOTE, TASKS, Ints, Stays, write_notes
from training.retraining.folder_source import READ
from training.retraining.source import NoteRows
from training.synth.arrow import Table, pa
from training.synth.config import SynthConfig
from training.synth.factors import AGE_BANDS, SEXES

_NOTE_ID = re.compile(r"synth-note-(\d+)-(\d+)-(hp|dc)")
_STAYS_A_PATIENT = 8
"""More than any patient has."""


class HospitalRecord:
    """A `NoteSource` of the notes written in [since_s, until_s), seconds since 1970 UTC; texts are written when they
    are read."""

    def __init__(self, config: SynthConfig, stays: Stays, since_s: float, until_s: float) -> None:
        self._config, self._stays = config, stays
        stay = np.repeat(np.arange(len(stays)), 2)
        authored = np.stack([stays.history_s, stays.summary_s], axis=1).reshape(-1)
        kept = np.flatnonzero((authored != NO_NOTE) & (authored >= since_s) & (authored < until_s))
        self._stay, summary = stay[kept], kept % 2 == 1
        # Two notes a stay: an admission note, then a discharge summary.
        self._keys = _key(stays.patient[self._stay], stays.ordinal[self._stay], summary)
        self.rows = self._rows(authored[kept], summary)

    def _rows(self, authored: Ints, summary: Any) -> NoteRows:
        stays, stay = self._stays, self._stay
        types = np.where(summary, DISCHARGE_SUMMARY.loinc, HISTORY_AND_PHYSICAL.loinc)
        labels, known = {}, {}
        for place, task in enumerate(TASKS):
            asked = np.isin(types, task.note_types)
            labels[task.name] = np.where(asked, stays.labels[stay, place], -1).astype(np.int8)
            known[task.name] = np.where(asked, stays.known_s[stay, place].astype(np.float64), np.nan)
        bands = np.asarray([f"{low} to {high}" for low, high in AGE_BANDS])
        drawn = np.random.default_rng([self._config.seed, 9]).random(len(stays))
        return NoteRows(
            patient=stays.patient[stay],
            encounter=stay,
            note_type=types,
            drawn=drawn[stay],
            authored_s=authored.astype(np.float64),
            discharged_s=stays.discharged_s[stay].astype(np.float64),
            labels=labels,
            known_s=known,
            parts={"age": bands[stays.context[stay, 0]], "sex": np.asarray(SEXES)[stays.context[stay, 1]]},
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self._config.model_dump_json().encode()).hexdigest()

    @property
    def about(self) -> Mapping[str, Any]:
        return {"source_sha256": self.sha256, "config": self._config.model_dump(mode="json")}

    def read(self, wanted: Ints) -> Iterator[tuple[Ints, Table]]:
        """As `NoteSource.read`, in one piece."""
        mask = np.zeros(len(self._stays), dtype=np.bool_)
        mask[self._stay[wanted]] = True
        notes = write_notes(self._config, self._stays, mask).notes.select(list(READ))
        order = np.argsort(self._keys[wanted], kind="stable")
        sorted_keys = self._keys[wanted][order]
        keys = np.array([_key_of(name) for name in notes["note_id"].to_pylist()], dtype=np.int64)
        at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
        found = np.flatnonzero(sorted_keys[at] == keys)
        rows = wanted[order[at[found]]]
        by_row = np.argsort(rows, kind="stable")
        yield rows[by_row], notes.take(pa.array(found[by_row]))


def _key(patient: Ints, ordinal: Ints, summary: Any) -> Ints:
    return np.asarray((patient * _STAYS_A_PATIENT + ordinal) * 2 + summary, dtype=np.int64)


def _key_of(note_id: str) -> int:
    found = _NOTE_ID.fullmatch(note_id)
    assert found is not None, "note ids are the simulator's"
    return (int(found[1]) * _STAYS_A_PATIENT + int(found[2]) - 1) * 2 + (found[3] == "dc")
