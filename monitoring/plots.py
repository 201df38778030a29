"""Line plots as inline SVG: no script, no network, readable in light and dark and by a screen reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 34
_STROKES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "12 3")
"""Lines differ by dash as well as by colour."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. points: (position on the x axis, y), broken at NaN; bars: (position, low, high) intervals."""

    name: str
    points: Sequence[tuple[float, float]]
    bars: Sequence[tuple[float, float, float]] = ()


def line_plot(
    identifier: str,
    title: str,
    description: str,
    lines: Sequence[Line],
    *,
    x_labels: Sequence[str],
    thresholds: Sequence[tuple[str, float]] = (),
    marks: Sequence[tuple[str, float]] = (),
    y_range: tuple[float, float] | None = None,
    y_text: Callable[[float], str] = lambda value: f"{value:.3g}",
    with_legend: bool = True,
) -> str:
    """One <svg>. x positions are indices into `x_labels`; thresholds are (name, y) lines across, marks
    (name, position) lines upright."""
    every = [y for line in lines for _, y in line.points if math.isfinite(y)]
    every += [y for line in lines for bar in line.bars for y in bar[1:]] + [y for _, y in thresholds]
    low, high = y_range or (min(every, default=0.0), max(every, default=1.0))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    last = max(1, len(x_labels) - 1)

    def at_x(position: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * position / last

    def at_y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identifier}-t {identifier}-d">',
        f'<title id="{identifier}-t">{escape(title)}</title><desc id="{identifier}-d">{escape(description)}</desc>',
    ]
    for i in range(5):
        value = low + (high - low) * i / 4
        y = at_y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(y_text(value))}</text>')
    for i in sorted({round(last * k / 5) for k in range(6)} & set(range(len(x_labels)))):
        anchor = "start" if i == 0 else "end" if i == len(x_labels) - 1 else "middle"
        label = escape(x_labels[i])
        parts.append(f'<text x="{at_x(i):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="{anchor}">{label}</text>')
    for name, value in thresholds:
        y = at_y(value)
        parts.append(f'<line class="threshold" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="threshold-name" x="{_LEFT + 4}" y="{y - 4:.1f}">{escape(name)}</text>')
    for i, (name, position) in enumerate(marks):
        # Neighbours stand on different lines of text.
        x, y = at_x(position), _TOP + 10 + 12 * (i % 3)
        anchor = "end" if position > 0.8 * last else "start"
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        gap = -3 if anchor == "end" else 3
        parts.append(f'<text class="mark-name" x="{x + gap:.1f}" y="{y}" text-anchor="{anchor}">{escape(name)}</text>')
    for i, line in enumerate(lines):
        style = f'class="line c{i % 6}" stroke-dasharray="{stroke(i, len(lines))}"'
        for run in _runs(line.points):
            spots = [(at_x(x), at_y(y)) for x, y in run]
            if len(spots) > 1:
                path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
                parts.append(f'<polyline {style} points="{path}"><title>{escape(line.name)}</title></polyline>')
            if len(spots) == 1 or line.bars:
                parts += [f'<circle class="dot c{i % 6}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots]
        for x, bar_low, bar_high in line.bars:
            ends = f'y1="{at_y(bar_low):.1f}" y2="{at_y(bar_high):.1f}"'
            parts.append(f'<line class="line c{i % 6}" x1="{at_x(x):.1f}" x2="{at_x(x):.1f}" {ends}/>')
    parts.append("</svg>")
    return "".join(parts) + (_legend(lines) if with_legend else "")


def _runs(points: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """The parts of a line between its gaps."""
    run: list[tuple[float, float]] = []
    for x, y in points:
        if math.isfinite(y):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def stroke(place: int, lines: int) -> str:
    """The dashes of the line at a place among so many: first colours differ, then dashes."""
    return _STROKES[place // 6 % 6 if lines > 6 else place % 6]


def key_sample(place: int, lines: int) -> str:
    """A small <svg> of how a line is drawn, for a legend."""
    dash = stroke(place, lines)
    sample = f'<line class="line c{place % 6}" stroke-dasharray="{dash}" x1="0" x2="30" y1="6" y2="6"/>'
    return f'<svg class="key" viewBox="0 0 30 12" aria-hidden="true">{sample}</svg>'


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    items = [f"<li>{key_sample(i, len(lines))} {escape(line.name)}</li>" for i, line in enumerate(lines)]
    return f'<ul class="legend">{"".join(items)}</ul>'
