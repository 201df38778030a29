"""pyarrow as untyped modules: what it ships of types is partial, and strict checking trips over the rest."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeAlias

pa: Any = import_module("pyarrow")
pc: Any = import_module("pyarrow.compute")
pq: Any = import_module("pyarrow.parquet")

Table: TypeAlias = Any
"""A pyarrow.Table."""
