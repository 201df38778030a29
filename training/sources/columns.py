"""Columns of CSV and Parquet files as strings, streamed, and their values parsed with the record number of a bad one.

A record number counts records after the header, from 1: notes hold line breaks, so line numbers would mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from lang1.label_rules import Flags, Times
from training.sources.errors import SourceError
from training.synth.arrow import Table, pa, pc, pq

csv: Any = import_module("pyarrow.csv")

CSV_BLOCK_BYTES = 32 << 20
"""Must hold the longest record."""
_ROWS_A_BATCH = 16_384

Advance = Callable[[int], None]
"""Called with the bytes read since the last call."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive records as a table of strings; `first` is the index of the first of them, from 0."""

    first: int
    table: Table


def file_columns(path: Path) -> list[str]:
    """The column names of a .csv, .csv.gz or .parquet file. Raises SourceError when it cannot be read as one."""
    try:
        if _is_parquet(path):
            return list(pq.read_schema(path).names)
        with path.open("rb") as raw, _csv_reader(raw, path, None) as reader:
            return list(reader.schema.names)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def stream_columns(path: Path, columns: Sequence[str], advance: Advance = lambda _: None) -> Iterator[Span]:
    """The named columns as strings (null for an empty cell), in file order and without holding the file.

    Raises SourceError naming the column that is missing, or the file that cannot be read.
    """
    present = file_columns(path)
    for name in columns:
        if name not in present:
            raise SourceError(f"{path.name}: no column {name!r} among {missing_column_hint(present)}")
    wanted = list(dict.fromkeys(columns))
    done = 0
    try:
        batches = _parquet_batches(path, wanted, advance) if _is_parquet(path) else _csv_batches(path, wanted, advance)
        for table in batches:
            yield Span(done, table)
            done += table.num_rows
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def missing_column_hint(present: Sequence[str]) -> str:
    """How many columns there are. Not which: the first line of a file without a header is a patient's."""
    return f"its {len(present)} columns; check the file's first line"


def read_columns(path: Path, columns: Sequence[str], advance: Advance = lambda _: None) -> Table:
    """All records of the named columns, as strings in memory."""
    schema = pa.schema([(name, pa.string()) for name in dict.fromkeys(columns)])
    return pa.concat_tables([schema.empty_table(), *(span.table for span in stream_columns(path, columns, advance))])


def _unreadable(path: Path, error: Exception) -> SourceError:
    # Arrow quotes the offending cell, which may be a note: its words stay out.
    return SourceError(
        f"{path.name}: cannot be read ({type(error).__name__}); send UTF-8 CSV with a header, quotes doubled, "
        f"records under {CSV_BLOCK_BYTES >> 20} MB, optionally .gz, or Parquet"
    )


def _is_parquet(path: Path) -> bool:
    return path.suffix == ".parquet"


def _csv_reader(raw: Any, path: Path, columns: list[str] | None) -> Any:
    stream = pa.CompressedInputStream(pa.PythonFile(raw), "gzip") if path.suffix == ".gz" else pa.PythonFile(raw)
    types = None if columns is None else dict.fromkeys(columns, pa.string())
    return csv.open_csv(
        stream,
        read_options=csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True, double_quote=True),
        convert_options=csv.ConvertOptions(
            column_types=types, include_columns=columns, null_values=[""], strings_can_be_null=True
        ),
    )


def _csv_batches(path: Path, columns: list[str], advance: Advance) -> Iterator[Table]:
    with path.open("rb") as raw:
        at = 0
        with _csv_reader(raw, path, columns) as reader:
            for batch in reader:
                yield pa.table(batch).select(columns)
                advance(raw.tell() - at)
                at = raw.tell()


def _parquet_batches(path: Path, columns: list[str], advance: Advance) -> Iterator[Table]:
    size = path.stat().st_size
    with pq.ParquetFile(path) as file:
        rows = max(1, file.metadata.num_rows)
        done = 0
        for batch in file.iter_batches(batch_size=_ROWS_A_BATCH, columns=columns):
            table = pa.table(batch).select(columns)
            yield pa.table({name: _as_string(table[name]) for name in columns})
            advance((done + batch.num_rows) * size // rows - done * size // rows)
            done += batch.num_rows


def _as_string(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = pc.strftime(column.cast(pa.timestamp("s", tz="UTC"), safe=False), format="%Y-%m-%dT%H:%M:%S+00:00")
    elif pa.types.is_timestamp(column.type):
        column = pc.strftime(column.cast(pa.timestamp("s"), safe=False), format="%Y-%m-%dT%H:%M:%S")
    elif pa.types.is_floating(column.type) and pc.all(pc.equal(pc.floor(column), column)).as_py():
        # Ids and flags that pandas turned to floats for the sake of an empty cell.
        column = column.cast(pa.int64())
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


@dataclass(frozen=True, slots=True)
class Clock:
    """Times as seconds on the hospital's clock, which of them were dates alone, and which cells were no time at all.

    An empty cell is NaT and not bad.
    """

    times: Times
    is_date: Flags
    bad: Flags

    @property
    def latest(self) -> Times:
        """The last second that the cell may mean: the end of the day for a date."""
        return np.where(self.is_date, self.times + np.timedelta64(86_399, "s"), self.times)


def time_form(form: str | None) -> str:
    """The words for what a time should look like."""
    return f"a time of the format {form}" if form else "a time in ISO 8601 (2024-12-31 or 2024-12-31T23:59:00)"


def parse_times(cells: Any, form: str | None, zone: ZoneInfo) -> Clock:
    """Cells (n,) of ISO 8601, or of the strptime format `form`.

    A time with an offset is moved to `zone`, one without is taken as of it.
    """
    texts: list[str | None] = cells.to_pylist()
    times = np.full(len(texts), np.datetime64("NaT", "s"))
    is_date = np.zeros(len(texts), dtype=np.bool_)
    bad = np.zeros(len(texts), dtype=np.bool_)
    known: dict[str, tuple[datetime, bool] | None] = {}
    for row, text in enumerate(texts):
        if text is None:
            continue
        if text not in known:
            known[text] = _parse_time(text.strip(), form, zone)
        parsed = known[text]
        if parsed is None:
            bad[row] = True
        else:
            times[row], is_date[row] = parsed
    return Clock(times, is_date, bad)


def _parse_time(text: str, form: str | None, zone: ZoneInfo) -> tuple[datetime, bool] | None:
    try:
        if form is None:
            moment, dated = datetime.fromisoformat(text), len(text) <= len("2024-12-31")
        else:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - naive is the hospital's clock, on purpose
            dated = not any(mark in form for mark in ("%H", "%I", "%X", "%c", "%T", "%R"))
    except ValueError:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(zone).replace(tzinfo=None)
    return moment.replace(microsecond=0), dated


def to_utc(times: Times, zone: ZoneInfo) -> Times:
    """The hospital's clock as UTC, (n,); NaT stays. An hour that comes twice is taken as its first coming."""
    if zone.key == "UTC":
        return times
    unique, back = np.unique(times, return_inverse=True)
    moved = [
        None if moment is None else moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
        for moment in unique.astype("datetime64[s]").tolist()
    ]
    return np.array(moved, dtype="datetime64[s]")[back]


def repeats(values: Sequence[str]) -> Flags:
    """(n,): which values were there before."""
    seen: set[str] = set()
    found = np.zeros(len(values), dtype=np.bool_)
    for row, value in enumerate(values):
        found[row] = value in seen
        seen.add(value)
    return found
