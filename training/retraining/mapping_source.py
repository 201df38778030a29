"""A hospital's export, read by its mapping file as `lang1 data build` reads it, as a source of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lang1.bundle import file_sha256
from lang1.errors import NoteError
from lang1.hospital_record import EXCLUDING, REASONS, Missing
from lang1.label_rules import LabelPolicy, note_labels, stay_labels
from lang1.notes import check_scorable, clean_text
from lang1.tasks import Horizon, Task, TaskRegistry
from monitoring.cohorts import DAY_S
from training.retraining.source import Floats, Ints, NoteRows, known_when
from training.sources.columns import to_utc
from training.sources.mapping import Mapping as TablesMapping
from training.sources.mapping import load_mapping
from training.sources.record import SourceRecord
from training.sources.splits import unit_shares
from training.sources.tables import policy_of, read_tables
from training.synth.arrow import Table, pa

_OF_THE_NOTE = frozenset(
    {
        Missing.NO_TIME, Missing.BEFORE_ADMISSION, Missing.LATE_AFTER_ADMISSION, Missing.AFTER_END,
        Missing.BEFORE_DISCHARGE, Missing.LATE_AFTER_DISCHARGE, Missing.AFTER_OUTCOME, Missing.OTHER_NOTE,
        Missing.NO_RULE,
    }
)  # fmt: skip
"""Reasons for which a note will never have the label, whatever becomes of its stay."""
_NEVER_ASKED = np.array([reason in EXCLUDING | _OF_THE_NOTE for reason in REASONS])


class MappingSource:
    """The export that a mapping file describes. Raises MappingError or SourceError."""

    def __init__(self, path: Path, registry: TaskRegistry, seed: int) -> None:
        mapping: TablesMapping = load_mapping(path)
        self._record = read_tables(mapping, path.parent, registry)
        self._policy = policy_of(mapping)
        self._authored = to_utc(self._record.notes.times.earliest, self._record.zone)
        self._rows = _rows(self._record, self._policy, registry, self._authored, seed)
        digest = hashlib.sha256(path.read_bytes())
        for each in self._record.inputs:
            digest.update(file_sha256(each).encode())
        self._sha256 = digest.hexdigest()

    @property
    def rows(self) -> NoteRows:
        return self._rows

    @property
    def sha256(self) -> str:
        return self._sha256

    @property
    def about(self) -> Mapping[str, Any]:
        return {
            "source": self._record.kind, "source_sha256": self._sha256,
            "rules": self._policy.model_dump(mode="json"), "dropped": self._record.dropped,
        }  # fmt: skip

    def read(self, wanted: Ints) -> Iterator[tuple[Ints, Table]]:
        """As `NoteSource.read`: one pass over the notes files."""
        notes, stays = self._record.notes, self._record.notes.times.encounter
        places = notes.row[wanted]
        for first, texts in self._record.texts(lambda _: None):
            low, high = np.searchsorted(places, [first, first + len(texts)])
            rows, cleaned = [], []
            for at in range(int(low), int(high)):
                text = clean_text(texts[int(places[at]) - first] or "")
                if _scorable(text):
                    rows.append(int(wanted[at]))
                    cleaned.append(text)
            if not rows:
                continue
            kept = np.array(rows, dtype=np.int64)
            owners = stays[kept].tolist()
            yield (
                kept,
                pa.table(
                    {
                        "note_id": notes.note_id[kept].tolist(),
                        "patient_id": [self._record.patient_ids[stay] for stay in owners],
                        "encounter_id": [self._record.encounter_ids[stay] for stay in owners],
                        "note_type": notes.times.note_type[kept].tolist(),
                        "authored": pa.array(self._authored[kept].astype("datetime64[s]")).cast(
                            pa.timestamp("s", tz="UTC")
                        ),
                        "text": cleaned,
                    }
                ),
            )


def _scorable(text: str) -> bool:
    try:
        check_scorable(text)
    except NoteError:
        return False
    return True


def _rows(
    record: SourceRecord, policy: LabelPolicy, registry: TaskRegistry, authored: NDArray[np.datetime64], seed: int
) -> NoteRows:
    stays, at = record.hospital.encounters, record.notes.times.encounter
    discharged_s = _seconds(to_utc(stays.discharged, record.zone))
    authored_s = _seconds(authored)
    labels, known = {}, {}
    for name, task in registry.items():
        found = note_labels(record.hospital, record.notes.times, task, policy)
        asked = (found.label >= 0) | ((found.reason >= 0) & ~_NEVER_ASKED[np.maximum(found.reason, 0)])
        final_s = _final_s(record, task, policy, discharged_s)[at]
        by_calendar = known_when(task, authored_s, discharged_s[at])
        final_s = np.where(np.isnan(final_s), by_calendar, final_s)
        labels[name] = found.label
        known[name] = np.where(asked, np.where(found.label >= 0, final_s, np.inf), np.nan)
    drawn = unit_shares(record.encounter_ids, seed)
    return NoteRows(
        patient=stays.patient[at], encounter=np.asarray(at, dtype=np.int64), note_type=record.notes.times.note_type,
        drawn=drawn[at], authored_s=authored_s, discharged_s=discharged_s[at], labels=labels, known_s=known,
    )  # fmt: skip


def _final_s(record: SourceRecord, task: Task, policy: LabelPolicy, discharged_s: Floats) -> Floats:
    """When each stay's outcome became final, (stays,); nan where the record does not say."""
    if task.horizon is Horizon.AFTER_DISCHARGE:
        return discharged_s + task.label_maturity_days * DAY_S
    if task.horizon is Horizon.CLAIM:
        return _last_decision_s(record, len(discharged_s))
    return _seconds(to_utc(stay_labels(record.hospital, task, policy).known_at, record.zone))


def _last_decision_s(record: SourceRecord, stays: int) -> Floats:
    """The last decision on any claim of a stay; nan where one has no date."""
    claims = record.hospital.claims
    latest = np.full(stays, np.nan)
    if claims is not None:
        decided = _seconds(to_utc(claims.decided, record.zone))
        np.fmax.at(latest, claims.encounter, decided)
        latest[claims.encounter[np.isnan(decided)]] = np.nan
    return latest


def _seconds(times: NDArray[np.datetime64]) -> Floats:
    seconds = times.astype("datetime64[s]").astype(np.float64)
    return np.where(np.isnat(times), np.nan, seconds)
