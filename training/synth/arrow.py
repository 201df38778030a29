"""pyarrow as untyped modules: what it ships of types is partial, and strict checking trips over the rest."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

pa: Any = import_module("pyarrow")
pc: Any = import_module("pyarrow.compute")
pq: Any = import_module("pyarrow.parquet")

Table: TypeAlias = Any
"""A pyarrow.Table."""


def epoch_seconds(column: Any) -> npt.NDArray[np.int64]:
    """A timestamp column as whole seconds since 1970 UTC, (N,). Parquet keeps milliseconds, whatever was written."""
    return np.asarray(column.cast(pa.timestamp("s", tz="UTC"), safe=False).cast(pa.int64()).to_numpy())
