"""One chunk of patients: their stays, notes, and what happens when. A chunk has random streams of its own, so that any
chunk can be made anywhere and comes out the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN
from training.synth.arrow import Table, pa
from training.synth.config import CONFIG_KEY, SynthConfig
from training.synth.course import DAY_S, Course, draw_course
from training.synth.dice import Dice
from training.synth.hospitals import hospital_of
from training.synth.narrative import write_note
from training.synth.note_changes import note_changes, untell_missing
from training.synth.patients import Encounters, draw_chunk
from training.synth.slots import SLOTS, draw_told

SPLITS = ("train", "val", "test")
DICE_PER_NOTE = 400
PROSE_STREAM = 7
"""Third number of the seed of the stream that long notes' text is drawn from."""

Row = dict[str, Any]
Labels = dict[str, npt.NDArray[np.int8]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """N stays, their course, labels by rule, ids, and the notes' rows in order of patient and stay."""

    stays: Encounters
    course: Course
    labels: Labels
    patient_ids: list[str]
    encounter_ids: list[str]
    rows: list[Row]


def schema(config: SynthConfig | None = None) -> Any:
    """The columns of notes.parquet, with the configuration as metadata unless it is plain."""
    fields = [pa.field(name, pa.string()) for name in ("note_id", "patient_id", "encounter_id", "note_type")]
    fields.append(pa.field("authored", pa.timestamp("s", tz="UTC")))
    fields += [pa.field(name, pa.string()) for name in ("text", "split")]
    fields += [pa.field(f"label_{task.name}", pa.int8()) for task in BUILT_IN.values()]
    fields += [pa.field(f"true_{task.name}", pa.list_(pa.float32())) for task in BUILT_IN.values()]
    fields += [pa.field(name, pa.list_(pa.int8())) for name in ("context", "values", "told")]
    metadata = None if config is None or config.is_plain else {CONFIG_KEY: config.model_dump_json().encode()}
    return pa.schema([*fields, pa.field("ends", pa.list_(pa.int32()))], metadata=metadata)


def split_of(config: SynthConfig, patient_id: str, year: int) -> str:
    """`temporal_<year>` for a stay that ends in a held-out year, else 8:1:1 by the patient's hash."""
    if year in config.temporal_years:
        return f"temporal_{year}"
    digest = hashlib.blake2b(f"{config.seed}:{patient_id}".encode(), digest_size=8).digest()
    bucket = int.from_bytes(digest, "big") % 10
    return SPLITS[0] if bucket < 8 else SPLITS[bucket - 7]


def split_on(config: SynthConfig, patient_id: str, day: date) -> str:
    """The split of a stay that ends on `day`: of its period where one is held out, else as in `split_of`."""
    for period in config.held_out:
        if period.first_day <= day <= period.last_day:
            return period.name
    return split_of(config, patient_id, day.year)


def chunk_count(config: SynthConfig) -> int:
    return -(-config.patients // config.chunk_patients)


def make_chunk(config: SynthConfig, chunk: int, wanted: npt.NDArray[np.bool_] | None = None) -> Chunk:
    """The chunk with this number, from 0. With `wanted` (N,) only those stays have notes, the same as they
    would; an empty one stands for none."""
    stays = draw_chunk(config, chunk)
    rng = np.random.default_rng([config.seed, chunk, 2])
    suffixes = [f"{patient:08d}" for patient in stays.patient.tolist()]
    patient_ids = [f"synth-patient-{suffix}" for suffix in suffixes]
    visits = [f"{suffix}-{ordinal + 1}" for suffix, ordinal in zip(suffixes, stays.ordinal.tolist(), strict=True)]
    encounter_ids = [f"synth-encounter-{visit}" for visit in visits]
    labels = _labels(stays)
    end_s = int(datetime(config.last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    # One split a stay: an admission note of December belongs to the year in which the stay ends.
    ends = stays.discharged.astype("datetime64[D]").tolist()
    last_day = date(config.last_year, 12, 31)
    splits = [split_on(config, name, min(end, last_day)) for name, end in zip(patient_ids, ends, strict=True)]
    hours: dict[str, npt.NDArray[np.int64]] = {}
    rows: list[list[Row]] = [[] for _ in visits]
    style = hospital_of(config).style
    for loinc in SLOTS:
        at_admission = loinc == HISTORY_AND_PHYSICAL.loinc
        days = stays.admitted if at_admission else stays.discharged
        changes = note_changes(config, chunk, loinc, days, style)
        told = untell_missing(loinc, draw_told(rng, loinc, stays.population.values, config.hospital), changes).tolist()
        spread = config.spread_words
        words = config.mean_words * np.exp(rng.normal(-(spread**2) / 2, spread, len(stays)))
        dice = rng.integers(0, 2**31, size=(len(stays), DICE_PER_NOTE))
        hours[loinc] = rng.integers(1, 20, len(stays))
        if config.true_calendar and not at_admission:
            hours[loinc] = _after_admission(hours[HISTORY_AND_PHYSICAL.loinc], hours[loinc], stays)
        prose = _prose(config, chunk, loinc, len(stays))
        tasks = [task for task in BUILT_IN.values() if task.trained_on(loinc)]
        for i, visit in enumerate(visits):
            authored_s = int(days[i]) * DAY_S + int(hours[loinc][i]) * 3600
            if (not at_admission and stays.died[i]) or authored_s >= end_s:
                continue
            if wanted is not None and not (len(wanted) and wanted[i]):
                continue
            context = stays.population.context[i].tolist()
            note = write_note(
                config, loinc, int(stays.age[i]), context[1] == 1, context[2], told[i],
                min(int(words[i]), config.max_words), Dice(dice[i].tolist()), changes.style(i, style),
                changes.terms_of(i), prose[i] if prose else None,
            )  # fmt: skip
            row: Row = {
                "note_id": f"synth-note-{visit}-{'hp' if at_admission else 'dc'}",
                "patient_id": patient_ids[i],
                "encounter_id": encounter_ids[i],
                "note_type": loinc,
                "authored": authored_s,
                "text": note.text,
                "split": splits[i],
                "context": context,
                "values": stays.population.values[i].tolist(),
                "told": told[i],
                "ends": note.ends,
            }
            for task in BUILT_IN.values():
                has = task in tasks
                row[f"label_{task.name}"] = int(labels[task.label_rule][i]) if has else -1
                row[f"true_{task.name}"] = stays.true[task.name][i].tolist() if has else None
            rows[i].append(row)
    course = draw_course(config, chunk, stays, hours[HISTORY_AND_PHYSICAL.loinc], hours[DISCHARGE_SUMMARY.loinc])
    order = np.lexsort((stays.ordinal, stays.patient)).tolist()
    return Chunk(stays, course, labels, patient_ids, encounter_ids, [row for i in order for row in rows[i]])


def note_table(config: SynthConfig, chunk: Chunk) -> Table:
    """The chunk's part of notes.parquet."""
    return pa.Table.from_pylist(chunk.rows, schema=schema(config))


def _prose(config: SynthConfig, chunk: int, loinc: str, notes: int) -> list[Dice] | None:
    """Dice for the text of long notes, of a stream of their own; None where notes are short."""
    if config.prose == "short":
        return None
    rng = np.random.default_rng([config.seed, chunk, PROSE_STREAM, list(SLOTS).index(loinc)])
    return [Dice(numbers) for numbers in rng.integers(0, 2**31, size=(notes, DICE_PER_NOTE)).tolist()]


def _after_admission(
    history: npt.NDArray[np.int64], summary: npt.NDArray[np.int64], stays: Encounters
) -> npt.NDArray[np.int64]:
    """Hours of discharge summaries that come after the H&P of the same day."""
    early = (stays.admitted == stays.discharged) & (summary <= history)
    return np.where(early, np.minimum(history + 1 + summary % 3, 22), summary)


def _labels(stays: Encounters) -> Labels:
    """Label rule to option index (N,), -1 for none."""
    true_index = next(task.name for task in BUILT_IN.values() if task.label_rule == "charlson_comorbidity_index")
    return {
        "readmission": stays.readmitted,
        "in_hospital_mortality": stays.died.astype(np.int8),
        "length_of_stay": stays.los_class,
        "charlson_comorbidity_index": stays.true[true_index].argmax(axis=1).astype(np.int8),
        "insurance_denial": stays.denied,
    }
