"""The hospital as it goes by: how many stays a day a configuration gives, and its notes week by week."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np

from training.synth.arrow import Table, epoch_seconds
from training.synth.config import SynthConfig
from training.synth.generate import read_notes
from training.synth.patients import draw_chunk

_SAMPLE = 20_000
_DAY_S = 86_400


def stays_a_day(config: SynthConfig) -> float:
    """Stays that begin on an average day, by counting those of a sample of patients."""
    sample = config.model_copy(update={"patients": _SAMPLE, "chunk_patients": _SAMPLE, "seed": 1})
    days = (date(config.last_year + 1, 1, 1) - date(config.first_year, 1, 1)).days
    return len(draw_chunk(sample, 0)) / days * config.patients / _SAMPLE


def with_stays_a_day(config: SynthConfig, rate: float) -> SynthConfig:
    """The configuration with as many patients as give `rate` stays a day. Raises ValueError for a rate of 0 or less."""
    if rate <= 0:
        raise ValueError(f"the rate is {rate}; give stays a day above 0")
    one = stays_a_day(config.model_copy(update={"patients": _SAMPLE})) / _SAMPLE
    return SynthConfig.model_validate({**dict(config), "patients": max(1, round(rate / one))})


@dataclass(frozen=True, slots=True)
class Week:
    """Monday 00:00 UTC to the next. `notes` are the rows of the dataset written in it, in order of time."""

    monday: date
    notes: Table


def notes_by_week(folder: Path, first_day: date | None = None, last_day: date | None = None) -> Iterator[Week]:
    """The notes of a dataset folder week by week, also weeks without any; days included, None for all.

    Holds the notes in memory (2 to 7 kB each). Sorted by `authored`, then by id.
    """
    table = read_notes(folder).sort_by([("authored", "ascending"), ("note_id", "ascending")])
    seconds = epoch_seconds(table["authored"])
    if not len(seconds):
        return
    start = first_day or _day(int(seconds[0]))
    stop = (last_day or _day(int(seconds[-1]))) + timedelta(days=1)
    monday = start - timedelta(days=start.weekday())
    while monday < stop:
        after = monday + timedelta(days=7)
        bounds = [_second(max(monday, start)), _second(min(after, stop))]
        low, high = np.searchsorted(seconds, bounds, side="left").tolist()
        yield Week(monday, table.slice(low, high - low))
        monday = after


def _second(day: date) -> int:
    return int(datetime.combine(day, time(0), tzinfo=UTC).timestamp())


def _day(second: int) -> date:
    return date(1970, 1, 1) + timedelta(days=second // _DAY_S)
