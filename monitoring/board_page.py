"""A board as one HTML page: inline style and SVG, no script, no network; every graph beside its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from monitoring.board_data import BoardData, NamedSeries, Span
from monitoring.panels import Board, Panel
from monitoring.plots import Line, key_sample, line_plot
from monitoring.units import shown, time_unit_s

MAX_SERIES: Final = 24
"""Drawn on one graph; the others are counted."""
_TICKS: Final = 6
_STEPS: Final = 4
_ROUND: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20)
_DAY_S: Final = 86_400


def board_file(board: Board) -> str:
    """Name of a board's page."""
    return f"{board.uid}.html"


def board_page(data: BoardData, boards: Sequence[Board], made_s: float) -> str:
    """The page, with links to those of the other boards beside it."""
    board, span = data.board, data.span
    body = [
        f'<nav aria-label="boards">{"".join(_link(each, here=each is board) for each in boards)}</nav>',
        f"<h1>{escape(board.title)}</h1>",
        f"<p>{escape(board.says)} {_moment(span.start_s)} to {_moment(span.end_s)} UTC, a point every "
        f"{shown(span.step_s, 's')}; made {_moment(made_s)}.</p>",
        _moments(data),
    ]
    places = iter(data.panels)
    for row, panels in board.rows.items():
        made = [_panel(f"p{i}-{len(body)}", *next(places), data) for i, _ in enumerate(panels)]
        body.append(f"<h2>{escape(row)}</h2><div class=row>{''.join(made)}</div>")
    return _document(board.title, "".join(body))


def index_page(boards: Sequence[Board], made_s: float) -> str:
    """A page that leads to every board."""
    rows = "".join(
        f'<li><a href="{escape(board_file(each))}">{escape(each.title)}</a>: {escape(each.says)}</li>'
        for each in boards
    )
    return _document("Lang1: boards", f"<h1>Lang1: boards</h1><p>Made {_moment(made_s)} UTC.</p><ul>{rows}</ul>")


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><style>{_STYLE}</style></head><body><main>{body}</main></body></html>\n'
    )


def _link(board: Board, *, here: bool) -> str:
    current = ' aria-current="page"' if here else ""
    return f'<a href="{escape(board_file(board))}"{current}>{escape(board.title.removeprefix("Lang1: "))}</a>'


def _moments(data: BoardData) -> str:
    if not data.moments:
        return ""
    items = "".join(
        f"<li>{_moment(each.at_s)}: {escape(each.title)}, {escape(each.text)}</li>" for each in data.moments
    )
    return f'<ul class=moments aria-label="marks on the graphs">{items}</ul>'


def _panel(identifier: str, panel: Panel, found: Sequence[NamedSeries], data: BoardData) -> str:
    wide = " wide" if panel.width > 12 else " narrow" if panel.width < 12 else ""
    head = f"<h3>{escape(panel.title)}</h3>" + (f"<p>{escape(panel.says)}</p>" if panel.says else "")
    if not any(math.isfinite(value) for series in found for _, value in series.points):
        inside = "<p class=nothing>No data in this range.</p>"
    elif panel.single:
        inside = _figures(panel, found, data.span)
    else:
        inside = _graph(identifier, panel, found, data)
    return f'<section class="panel{wide}">{head}{inside}</section>'


def _figures(panel: Panel, found: Sequence[NamedSeries], span: Span) -> str:
    items = []
    for series in found:
        at_s, value = _last(series)
        bad = panel.bound is not None and value >= panel.bound
        old = f" <small>at {_moment(at_s)}</small>" if at_s < span.end_s - 2 * span.step_s else ""
        figure = f"<dd{' class=bad' if bad else ''}>{escape(shown(value, panel.unit))}{old}</dd>"
        items.append(f"<div><dt>{escape(series.name)}</dt>{figure}</div>")
    return f"<dl>{''.join(items)}</dl>"


def _graph(identifier: str, panel: Panel, found: Sequence[NamedSeries], data: BoardData) -> str:
    span = data.span
    ranked = sorted(found, key=lambda each: -_extremes(each)[1])[:MAX_SERIES]
    drawn = [each for each in found if each in ranked]
    lines = [Line(each.name, _positions(each, span)) for each in drawn]
    labels = _labels(span)
    thresholds = [] if panel.bound is None else [(f"from {shown(panel.bound, panel.unit)}", panel.bound)]
    description = f"{len(found)} series in {panel.unit}; the table below has their figures."
    plot = line_plot(
        identifier, panel.title, description, lines, x_labels=labels, thresholds=thresholds, with_legend=False,
        y_range=_range(panel, drawn), y_text=lambda value: shown(value, panel.unit),
        marks=[(each.title, _position(each.at_s, span)) for each in data.moments],
    )  # fmt: skip
    left = f"<p>{len(found) - len(drawn)} more series are not drawn.</p>" if len(found) > len(drawn) else ""
    return f"<figure>{plot}</figure>{_legend(panel, drawn)}{left}"


def _legend(panel: Panel, found: Sequence[NamedSeries]) -> str:
    rows = []
    for i, series in enumerate(found):
        low, high = _extremes(series)
        figures = (_last(series)[1], low, high)
        cells = "".join(
            f"<td{' class=bad' if panel.bound is not None and value >= panel.bound else ''}>"
            f"{escape(shown(value, panel.unit))}</td>"
            for value in figures
        )
        rows.append(f'<tr><th scope="row">{key_sample(i, len(found))} {escape(series.name)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{each}</th>' for each in ("series", "last", "least", "most"))
    caption = f"<caption class=hidden>{escape(panel.title)}: figures</caption>"
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    name = escape(f"{panel.title}: figures")
    return f'<div class=scroll tabindex="0" role="region" aria-label="{name}">{table}</div>'


def _range(panel: Panel, found: Sequence[NamedSeries]) -> tuple[float, float]:
    """From where to where the graph goes: its four steps are round numbers."""
    values = [value for series in found for _, value in series.points if math.isfinite(value)]
    values += [] if panel.bound is None else [panel.bound]
    low, high = min(values), max(values)
    if 0 < low < 0.7 * high:
        low = 0.0
    rough = ((high - low) or abs(high) or 1.0) / _STEPS
    scale = time_unit_s(high) if panel.unit == "s" else 1.0
    size = scale * 10.0 ** math.floor(math.log10(rough / scale))
    for share in _ROUND:
        step = share * size
        bottom = math.floor(low / step + 1e-9) * step
        if bottom + _STEPS * step >= high - 1e-9 * step:
            return bottom, bottom + _STEPS * step
    return low, high


def _labels(span: Span) -> list[str]:
    form = (
        "%H:%M:%S"
        if span.end_s - span.start_s < 1800
        else "%H:%M"
        if span.end_s - span.start_s <= 2 * _DAY_S
        else "%d %b"
    )
    step_s = (span.end_s - span.start_s) / (_TICKS - 1)
    return [datetime.fromtimestamp(span.start_s + i * step_s, UTC).strftime(form) for i in range(_TICKS)]


def _position(at_s: float, span: Span) -> float:
    return (at_s - span.start_s) / (span.end_s - span.start_s) * (_TICKS - 1)


def _positions(series: NamedSeries, span: Span) -> list[tuple[float, float]]:
    """On the axis of `_labels`, broken where a point is missing."""
    found: list[tuple[float, float]] = []
    last_s = math.inf
    for at_s, value in series.points:
        if at_s - last_s > 1.5 * span.step_s:
            found.append((_position(at_s, span), math.nan))
        found.append((_position(at_s, span), value))
        last_s = at_s
    return found


def _last(series: NamedSeries) -> tuple[float, float]:
    return next((point for point in reversed(series.points) if math.isfinite(point[1])), (math.inf, math.nan))


def _extremes(series: NamedSeries) -> tuple[float, float]:
    values = [value for _, value in series.points if math.isfinite(value)]
    return (min(values), max(values)) if values else (math.nan, -math.inf)


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1b1b;--soft:#555;--paper:#fff;--card:#f6f7f9;--faint:#d5d5d5;--bad:#a4001d;
--mark:#6a3fa0;--c0:#0b5cad;--c1:#b04a00;--c2:#1d6f42;--c3:#7a2f8f;--c4:#5c5200;--c5:#8a1c4a}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--soft:#b5b5b5;--paper:#161616;--card:#202124;--faint:#444;
--bad:#ff9aa8;--mark:#c9a8f5;--c0:#7ab8ff;--c1:#ffb27a;--c2:#7fd6a3;--c3:#d9a6ea;--c4:#e0d46a;--c5:#ff9cc2}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
main{max-width:84rem;margin:auto;padding:1rem}h1{margin:.4rem 0}h2{font-size:1.05rem;margin:1.2rem 0 .4rem}
h3{font-size:.95rem;margin:0}p{margin:.2rem 0}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}nav a{color:var(--c0)}nav a[aria-current]{font-weight:700}
.row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:.8rem}
.row:has(.narrow){grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr))}
.wide{grid-column:1/-1}.wide svg[role]{max-width:54rem}
.panel{background:var(--card);border-radius:6px;padding:.7rem .8rem;min-width:0}
.panel p,.moments{color:var(--soft);font-size:.85rem}.moments{margin:.2rem 0;padding-left:1.1rem}
figure{margin:.3rem 0}svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:11px}
.grid{stroke:var(--faint);stroke-width:1}.threshold{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4}
svg .threshold-name{fill:var(--bad)}.line{fill:none;stroke-width:1.8}.mark{stroke:var(--mark);stroke-width:1.2}
svg .mark-name{fill:var(--mark)}svg.key{width:30px;height:12px;vertical-align:middle}
.scroll{overflow:auto;max-height:12rem}table{border-collapse:collapse;width:100%;font-size:.82rem}
th,td{text-align:right;padding:.12rem .5rem;border-bottom:1px solid var(--faint);font-variant-numeric:tabular-nums}
th:first-child{text-align:left;font-weight:400}thead th{color:var(--soft);font-weight:400}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
dl{display:flex;flex-wrap:wrap;gap:.2rem 1.6rem;margin:.3rem 0}dt{color:var(--soft);font-size:.85rem}
dd{margin:0;font-size:1.6rem;font-weight:600;font-variant-numeric:tabular-nums}
dd small{font-size:.75rem;font-weight:400}
.bad{color:var(--bad);font-weight:600}.nothing{padding:1.5rem 0;text-align:center}
@media print{.scroll{max-height:none}.panel{break-inside:avoid}}
""" + "".join(f".line.c{i}{{stroke:var(--c{i})}}.dot.c{i}{{fill:var(--c{i})}}" for i in range(6))
