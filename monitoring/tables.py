"""Columns of recorded facts, from a file or from a database, and how they are checked.

Errors name source, column and row (the first data row is 1), never a value.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from lang1.tasks import TaskRegistry
from monitoring.errors import MonitorInputError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]
Columns = Mapping[str, Sequence[Any]]

_SUM_TOLERANCE = 1e-3


class Table:
    """Columns of one source. Raises MonitorInputError when a required one is missing."""

    def __init__(self, name: str, columns: Columns, required: Sequence[str]) -> None:
        self.name, self.columns = name, columns
        if missing := [column for column in required if column not in columns]:
            raise MonitorInputError(f"{name}: column {missing[0]} is missing; it must hold {', '.join(required)}")
        self.count = len(columns[required[0]])

    def refuse(self, column: str, row: int, why: str) -> NoReturn:
        raise MonitorInputError(f"{self.name}: column {column}, row {row + 1}: {why}")

    def _each(self, column: str, read: Callable[[Any], Any], why: str) -> list[Any]:
        found = []
        for row, value in enumerate(self.columns[column]):
            try:
                found.append(read(value))
            except (ValueError, TypeError, OverflowError):
                self.refuse(column, row, why)
        return found

    def texts(self, column: str, *, empty: bool = False) -> list[str]:
        found = ["" if value is None else str(value) for value in self.columns[column]]
        if not empty and "" in found:
            self.refuse(column, found.index(""), "is empty")
        return found

    def numbers(self, column: str, high: float = 1e9) -> Floats:
        def read(value: Any) -> float:
            number = float(value)
            if not 0 <= number <= high:
                raise ValueError
            return number

        return np.array(self._each(column, read, f"must be a number from 0 to {high:g}"), dtype=np.float64)

    def bools(self, column: str) -> Bools:
        known = {"true": True, "1": True, "false": False, "0": False}

        def read(value: Any) -> bool:
            if (found := known.get(str(value).lower())) is None:
                raise ValueError
            return found

        return np.array(self._each(column, read, "must be true or false"), dtype=np.bool_)

    def times(self, column: str, *, empty: bool = False) -> Floats:
        def read(value: Any) -> float:
            if empty and value in ("", None):
                return float("inf")
            at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            if at.tzinfo is None:
                raise ValueError
            return at.astimezone(UTC).timestamp()

        why = "must be a time with its offset, e.g. 2026-03-16T08:30:00+00:00 (Parquet: a timestamp with a time zone)"
        return np.array(self._each(column, read, why), dtype=np.float64)

    def tasks(self, registry: TaskRegistry) -> Codes:
        """(n,) position of each row's task in the registry."""
        names = list(registry)
        return np.array(self._each("task", names.index, f"is no known task; known: {', '.join(names)}"), dtype=np.intp)

    def probabilities(self, registry: TaskRegistry, task_of: Codes) -> list[list[float]]:
        options = [len(task.options) for task in registry.values()]
        found = self._each("probabilities", _numbers_of, "must be a list of numbers, e.g. [0.9, 0.1]")
        for row, (values, task) in enumerate(zip(found, task_of.tolist(), strict=True)):
            right = len(values) == options[task] and all(0 <= p <= 1 for p in values)
            if not right or abs(sum(values) - 1) > _SUM_TOLERANCE:
                self.refuse(
                    "probabilities", row, f"must be {options[task]} numbers from 0 to 1 that sum to 1, in option order"
                )
        return found


def _numbers_of(value: Any) -> list[float]:
    listed = json.loads(value) if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise ValueError
    return [float(each) for each in listed]


def read_table(path: Path, required: Sequence[str]) -> Table:
    """A file's columns: Parquet by its name's end, else CSV with a header. Raises MonitorInputError."""
    return Table(path.name, _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path), required)


def _read_csv(path: Path) -> Columns:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            rows = []
            for number, line in enumerate(lines):
                if len(line) != len(header):
                    raise MonitorInputError(
                        f"{path.name}: row {number + 1} has {len(line)} fields, the header {len(header)}"
                    )
                rows.append(line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MonitorInputError(
            f"{path.name}: cannot be read as CSV ({type(error).__name__}); send UTF-8 CSV with a header, or Parquet"
        ) from None
    return dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())


def _read_parquet(path: Path) -> Columns:
    # As a plain value: pyarrow's types are partial.
    parquet: Any = import_module("pyarrow.parquet")
    arrow_error: type[Exception] = import_module("pyarrow").ArrowException
    try:
        table = parquet.read_table(path)
    except (OSError, arrow_error) as error:
        raise MonitorInputError(f"{path.name}: cannot be read as Parquet ({type(error).__name__})") from None
    return {name: table[name].to_pylist() for name in table.column_names}
