"""A board's panels with what Prometheus has for them: the very queries that Grafana would ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from monitoring.panels import MARK_S, Board, Panel, with_namespace
from monitoring.prometheus_api import MAX_POINTS, PrometheusApi, Series

MIN_STEP_S: Final = 1.0
_POINTS: Final = 300
_LEGEND: Final = re.compile(r"{{\s*(\w+)\s*}}")


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, seconds since 1970, and the step between two points."""

    start_s: float
    end_s: float
    step_s: float


@dataclass(frozen=True, slots=True)
class NamedSeries:
    """A series by its legend."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """A mark on every graph."""

    title: str
    text: str
    at_s: float


@dataclass(frozen=True, slots=True)
class BoardData:
    """`panels`: what was found for each panel, in the board's order."""

    board: Board
    span: Span
    panels: tuple[tuple[Panel, tuple[NamedSeries, ...]], ...]
    moments: tuple[Moment, ...]


def span_of(end_s: float, length_s: float, step_s: float | None = None) -> Span:
    """The range that ends at `end_s`; without a step one that gives some 300 points. No more than Prometheus gives."""
    least_s = max(MIN_STEP_S, length_s / (MAX_POINTS - 1))
    return Span(end_s - length_s, end_s, max(least_s, length_s / _POINTS if step_s is None else step_s))


def fetch(
    api: PrometheusApi, board: Board, span: Span, namespace: str | None = None, tick: Callable[[], None] = lambda: None
) -> BoardData:
    """Ask every query of a board. `namespace` is a regular expression; None asks for all. Raises PrometheusError."""

    def ask(query: str, step_s: float) -> tuple[Series, ...]:
        expression = query if namespace is None else with_namespace(query, namespace)
        return api.range(expression, span.start_s, span.end_s, step_s)

    panels = []
    for panels_of_row in board.rows.values():
        for panel in panels_of_row:
            found = [
                NamedSeries(legend(template, series.labels), series.points)
                for template, query in panel.queries.items()
                for series in ask(query, span.step_s)
            ]
            panels.append((panel, tuple(found)))
            tick()
    # Steps that no mark falls between.
    mark_step_s = max((span.end_s - span.start_s) / (MAX_POINTS - 1), min(span.step_s, MARK_S / 4))
    moments = [
        Moment(mark.title, legend(mark.text, series.labels), at_s)
        for mark in board.marks
        for series in ask(mark.query, mark_step_s)
        for at_s in _beginnings(series)
        # What was so before the range is no event in it.
        if at_s > span.start_s + mark_step_s
    ]
    return BoardData(board, span, tuple(panels), tuple(sorted(moments, key=lambda each: each.at_s)))


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Grafana's legend format: `{{label}}` is a label's value, as far as there is such a label."""
    return _LEGEND.sub(lambda found: labels.get(found[1], ""), template).strip() or "value"


def _beginnings(series: Series) -> list[float]:
    """When each event began: what comes back before the mark's time is over is a scrape that was missed."""
    found: list[float] = []
    last_s = float("-inf")
    for at_s, _ in series.points:
        if at_s - last_s > MARK_S:
            found.append(at_s)
        last_s = at_s
    return found
