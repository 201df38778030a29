"""The drill's hospital: every stay is drawn, and notes are written only for the stays that need one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lang1.tasks import BUILT_IN
from training.synth.arrow import Table, pa, pc
from training.synth.chunk import chunk_count, make_chunk, note_table, schema
from training.synth.config import SynthConfig
from training.synth.outcome_tables import OUTCOME_SCHEMA, known_times, outcome_table

Asked = TypeVar("Asked")
Made = TypeVar("Made")
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Advance = Callable[[int, int], None]
"""Called with (chunks done, chunks in all)."""
TASKS = tuple(BUILT_IN.values())
WORKERS = 2
NO_NOTE = -1


@dataclass(frozen=True, slots=True)
class Stays:
    """N stays, those of a chunk of patients together and in order. Times are seconds since 1970 UTC."""

    chunk: Ints
    patient: Ints
    ordinal: Ints
    """Of the patient's stays, from 0."""
    history_s: Ints
    """When the admission note is written."""
    summary_s: Ints
    """When the discharge summary is; NO_NOTE for who died, and for what lies after the last year."""
    discharged_s: Ints
    labels: npt.NDArray[np.int8]
    """(N, tasks) option indices; -1 for none."""
    known_s: Ints
    """(N, tasks) when each outcome becomes final."""
    context: npt.NDArray[np.int8]
    """(N, 2): age band and sex."""

    def __len__(self) -> int:
        return len(self.chunk)

    def of_some_patients(self, share: float) -> Mask:
        """(N,): all stays of about this share of the patients. By whole chunks, so that the others need not be made."""
        chunks = int(self.chunk.max()) + 1
        return np.asarray(self.chunk < max(1, round(share * chunks)))


@dataclass(frozen=True, slots=True)
class Written:
    """Notes as rows of notes.parquet, by time, and the outcomes of their stays as rows of outcomes.parquet."""

    notes: Table
    outcomes: Table


def draw_stays(config: SynthConfig, advance: Advance = lambda done, of: None, workers: int = WORKERS) -> Stays:
    """Every stay of the hospital, without notes."""
    parts = list(_made(_stays_of_chunk, [(config, chunk) for chunk in range(chunk_count(config))], advance, workers))
    return Stays(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Stays)})


def _stays_of_chunk(asked: tuple[SynthConfig, int]) -> Stays:
    config, number = asked
    made = make_chunk(config, number, wanted=np.zeros(0, dtype=np.bool_))
    stays, course = made.stays, made.course
    end_s = int(datetime(config.last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    labels = [made.labels[task.label_rule] for task in TASKS]
    return Stays(
        chunk=np.full(len(stays), number, dtype=np.int64),
        patient=stays.patient,
        ordinal=stays.ordinal.astype(np.int64),
        history_s=course.history_written,
        summary_s=np.where(stays.died | (course.summary_written >= end_s), NO_NOTE, course.summary_written),
        discharged_s=course.discharged,
        labels=np.stack(labels, axis=1).astype(np.int8),
        known_s=np.stack([known_times(task, label, course) for task, label in zip(TASKS, labels, strict=True)], axis=1),
        context=stays.population.context[:, :2],
    )


def write_notes(
    config: SynthConfig, stays: Stays, wanted: Mask, advance: Advance = lambda done, of: None, workers: int = WORKERS
) -> Written:
    """The notes and outcomes of the wanted stays (N,)."""
    chunks, starts = np.unique(stays.chunk, return_index=True)
    bounds = [*starts.tolist(), len(stays)]
    asked = [(config, chunk, wanted[low:high])
             for chunk, low, high in zip(chunks.tolist(), bounds, bounds[1:], strict=False)
             if wanted[low:high].any()]  # fmt: skip
    parts = list(_made(_notes_of_chunk, asked, advance, workers))
    notes = pa.concat_tables([schema(config).empty_table(), *(part[0] for part in parts)])
    outcomes = pa.concat_tables([OUTCOME_SCHEMA.empty_table(), *(part[1] for part in parts)])
    return Written(notes.sort_by([("authored", "ascending"), ("note_id", "ascending")]), outcomes)


def _notes_of_chunk(asked: tuple[SynthConfig, int, Mask]) -> tuple[Table, Table]:
    config, number, wanted = asked
    chunk = make_chunk(config, number, wanted)
    own = pa.array(np.array(chunk.encounter_ids)[wanted])
    outcomes = outcome_table(chunk.labels, chunk.course, chunk.encounter_ids)
    return note_table(config, chunk), outcomes.filter(pc.is_in(outcomes["encounter"], value_set=own))


def _made(work: Callable[[Asked], Made], asked: Sequence[Asked], advance: Advance, workers: int) -> Iterator[Made]:
    """`work` over what is asked, in so many processes, in order."""
    if workers == 1 or len(asked) < 2:
        for done, each in enumerate(asked, 1):
            yield work(each)
            advance(done, len(asked))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, made in enumerate(pool.map(work, asked, chunksize=4), 1):
            yield made
            advance(done, len(asked))
