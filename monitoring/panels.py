"""What a dashboard is made of, as data: Grafana's model and our own pages are both built from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring.rules import selecting


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: queries by their legend. `bound` draws a line from which values are bad."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    bound: float | None = None
    says: str = ""
    single: bool = False
    """One figure, the newest, in place of a graph."""
    width: int = 12


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on every graph of a board: `query` has a value for MARK_S after it. `text` is its legend."""

    title: str
    query: str
    text: str


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: rows of panels by their titles."""

    uid: str
    title: str
    says: str
    rows: Mapping[str, Sequence[Panel]]
    days: int = 1
    """How far back it looks."""
    marks: Sequence[Mark] = ()

    def expressions(self) -> list[str]:
        """Every query of the board."""
        drawn = [query for panels in self.rows.values() for panel in panels for query in panel.queries.values()]
        return [*drawn, *(mark.query for mark in self.marks)]


def with_namespace(query: str, namespace: str) -> str:
    """The query for the installations whose namespace matches a regular expression."""
    return selecting(query, [f'namespace=~"{namespace}"'])


def in_namespace(query: str) -> str:
    """The query with the dashboard's own variable in every selector."""
    return with_namespace(query, "$namespace")


MARK_S = 3600
"""Longer than the steps of a year's graph, so that no mark falls between two of them."""
MARKS = (
    Mark(
        "Deploy",
        "max by (model_version) (lang1_model_info{} == 1) "
        f"unless on (model_version) max by (model_version) (lang1_model_info{{}} offset {MARK_S}s == 1)",
        "model {{model_version}}",
    ),
    Mark(
        "Retrained",
        f'max(lang1_retraining_last_end_timestamp_seconds{{code="done"}}) > time() - {MARK_S}',
        "a retraining job came to its end",
    ),
)
"""When a model was loaded, and when one was made."""
