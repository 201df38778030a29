"""The report of a replay: `report.json` for programs and one self-contained `report.html` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from monitoring.calibration_eprocess import ALARM_E_VALUE
from monitoring.cohorts import date_of
from monitoring.drift import HOLM_LEVEL, MIN_EFFECT
from monitoring.history import History
from monitoring.plots import Line, line_plot
from monitoring.quality import AUROC_MARGIN, MIN_EVENTS, Status
from monitoring.reference import ReferenceProfile
from monitoring.replay import Alarm, CalibrationStream, Coverage, MonitorState, coverage_by_week

JSON_FILE, HTML_FILE = "report.json", "report.html"
_ALARM_LOG10 = len(str(int(ALARM_E_VALUE))) - 1


class FinalState(BaseModel):
    """Where one monitor stands at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    signal: str
    state: str
    """"alarm", "quiet", "insufficient" or "immature"."""
    detail: str


class Report(BaseModel):
    """What a replay found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = 1
    model_version: str
    reference: str
    first_week: str
    last_week: str
    notes: int
    predictions: dict[str, int]
    """By task, on notes of the types that it is trained on."""
    unmatched_outcomes: int
    alarms: tuple[Alarm, ...]
    final: tuple[FinalState, ...]
    coverage: dict[str, tuple[Coverage, ...]]
    state: MonitorState


def make_report(state: MonitorState, history: History, profile: ReferenceProfile) -> Report:
    """The report of a state that has been advanced to the end of its history."""
    coverage = {name: coverage_by_week(each, state.began_s, state.clock_s) for name, each in history.tasks.items()}
    return Report(
        model_version=state.model_version,
        reference=profile.source,
        first_week=date_of(state.began_s),
        last_week=state.weeks[-1].week if state.weeks else date_of(state.began_s),
        notes=len(history.notes),
        predictions={name: len(each.time_s) for name, each in history.tasks.items()},
        unmatched_outcomes=history.unmatched_outcomes,
        alarms=state.alarms,
        final=(*_final_drift(state), *_final_calibration(state), *_final_quality(state, coverage)),
        coverage=coverage,
        state=state,
    )


def _final_drift(state: MonitorState) -> list[FinalState]:
    last = {reading.signal: reading for week in state.weeks for reading in week.readings}
    return [
        FinalState(
            kind="drift",
            signal=signal,
            state="alarm" if signal in state.drift.alarms else "quiet",
            detail=f"effect {reading.effect:.3f} (bound {reading.min_effect:g}), p {reading.p_value:.2g}, "
            f"{reading.notes} notes" + ("" if reading.psi is None else f", PSI {reading.psi:.3f}"),
        )
        for signal, reading in last.items()
    ]


def _final_calibration(state: MonitorState) -> list[FinalState]:
    return [
        FinalState(
            kind="calibration",
            signal=key,
            state="alarm" if stream.state.alarmed else "quiet",
            detail=f"e-value {_power(stream.state.log10_e)} after {stream.state.labels} labels: "
            f"{stream.state.events} events, {stream.state.expected:.0f} expected, {stream.state.missing} missing",
        )
        for key, stream in state.calibration.items()
    ]


def _power(log10_e: float) -> str:
    return f"{10**log10_e:.2f}" if abs(log10_e) < 3 else f"1e{log10_e:+.1f}"


def _final_quality(state: MonitorState, coverage: dict[str, tuple[Coverage, ...]]) -> list[FinalState]:
    last = {(entry.task, entry.exposure): entry for entry in state.quality}
    found = []
    for (task, exposure), entry in last.items():
        quality = entry.quality
        detail = f"{entry.month}: {quality.events} events, {quality.non_events} non-events (needs {MIN_EVENTS})"
        if quality.auroc is not None:
            baseline = "none" if quality.baseline_auroc is None else f"{quality.baseline_auroc:.3f}"
            detail = (
                f"{entry.month}: AUROC {quality.auroc.value:.3f} ({quality.auroc.low:.3f} to {quality.auroc.high:.3f}),"
                f" baseline {baseline}; ECE {quality.ece:.3f}, perfect model's 99th percentile"
                f" {quality.ece_perfect_99th:.3f}"
            )
        alarm_or_quiet = "alarm" if quality.alarm else "quiet"
        shown = alarm_or_quiet if quality.status is Status.PUBLISHED else quality.status.value
        found.append(FinalState(kind="quality", signal=f"{task}/{exposure}/auroc", state=shown, detail=detail))
    for task, weeks in coverage.items():
        waiting = [week for week in weeks if week.status is Status.IMMATURE]
        if task not in {name for name, _ in last} or waiting:
            share = f"{waiting[-1].coverage:.0%} of its labels final" if waiting else "no month is complete"
            detail = f"{len(waiting)} of {len(weeks)} weeks not published; the last has {share}"
            found.append(FinalState(kind="labels", signal=task, state=Status.IMMATURE.value, detail=detail))
    return found


def write_report(report: Report, out: Path) -> tuple[Path, Path]:
    """Write report.json and report.html into folder `out`, made if absent. Returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    as_json, as_html = out / JSON_FILE, out / HTML_FILE
    as_json.write_text(json.dumps(report.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    as_html.write_text(report_html(report), encoding="utf-8")
    return as_json, as_html


def report_html(report: Report) -> str:
    """One HTML page: inline style and SVG, every plot beside the table of what it shows at the end."""
    title = f"Monitor replay, model {report.model_version}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{report.notes:,} notes; judged from {report.first_week} to {report.last_week} (weeks begin on Monday, UTC)"
        f" against {escape(report.reference)}. {report.unmatched_outcomes:,} outcomes match no prediction.</p>",
        "<h2>Alarms</h2>",
        _table(("week", "kind", "signal", "what"), [(a.week, a.kind, a.signal, a.detail) for a in report.alarms])
        if report.alarms
        else "<p>No alarm.</p>",
        "<h2>Where the monitors stand</h2>",
        _table(("kind", "signal", "state", "detail"), [(f.kind, f.signal, f.state, f.detail) for f in report.final]),
        "<h2>Calibration: e-values</h2>",
        "<p>Evidence against each task's probabilities, on mature labels alone. It may be read at any time; "
        f"it is an alarm at {ALARM_E_VALUE:,.0f}.</p>",
        *_e_value_plots(report),
        "<h2>Realised AUROC</h2>",
        "<p>By month of prediction, with 95% intervals, once the month is mature. An alarm needs the whole interval "
        f"under the baseline less {AUROC_MARGIN}. The label-free estimate is advisory: it cannot see a change of what "
        "follows from a note.</p>",
        *_auroc_plots(report),
        "<h2>Drift</h2>",
        f"<p>Distance to the reference by week. An alarm needs at least {MIN_EFFECT} and significance "
        f"(Holm, {HOLM_LEVEL}, over all signals of the week) in two windows running.</p>",
        *_drift_plots(report),
        "<h2>Label coverage</h2>",
        "<p>Share of each week's encounters whose outcome is final. Nothing is published of an immature cohort.</p>",
        *_coverage_plots(report),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><style>{PAGE_STYLE}</style></head><body><main>{"".join(body)}</main></body></html>\n'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f"<tr{' class=alarm' if 'alarm' in row else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _e_value_plots(report: Report) -> list[str]:
    by_task: dict[str, dict[str, CalibrationStream]] = {}
    for key, stream in report.state.calibration.items():
        task, rest = key.split("/", 1)
        by_task.setdefault(task, {})[rest] = stream
    plots = []
    for task, streams in by_task.items():
        weeks = sorted({point.week for stream in streams.values() for point in stream.points})
        at = {week: i for i, week in enumerate(weeks)}
        lines = [Line(name, [(at[p.week], p.log10_e) for p in stream.points]) for name, stream in streams.items()]
        top = max(y for line in lines for _, y in line.points)
        plots.append(
            _figure(
                f"e-{task}", f"{task}: log10 of the e-value by week",
                f"Highest value {top:.1f}; the alarm is at {_ALARM_LOG10}.", lines, weeks,
                thresholds=[(f"alarm: 1e{_ALARM_LOG10}", float(_ALARM_LOG10))], y_range=(-1.0, 8.0),
            )
        )  # fmt: skip
    return plots


def _auroc_plots(report: Report) -> list[str]:
    plots = []
    for task in report.predictions:
        entries = [entry for entry in report.state.quality if entry.task == task]
        # The label-free estimate is weekly; it is drawn at its month.
        months = sorted({entry.month for entry in entries} | {week.week[:7] for week in report.state.weeks})
        at = {month: i for i, month in enumerate(months)}
        lines = []
        for exposure in sorted({entry.exposure for entry in entries}):
            drawn = [e for e in entries if e.exposure == exposure and e.quality.auroc is not None]
            intervals = [(float(at[e.month]), e.quality.auroc) for e in drawn]
            lines.append(
                Line(
                    f"realised, {exposure}",
                    [(x, auroc.value) for x, auroc in intervals if auroc],
                    [(x, auroc.low, auroc.high) for x, auroc in intervals if auroc],
                )
            )
        estimates: dict[str, list[float]] = {}
        for week in report.state.weeks:
            if task in week.estimated_auroc:
                estimates.setdefault(week.week[:7], []).append(week.estimated_auroc[task])
        lines.append(
            Line("estimate without labels (advisory)", [(at[m], sum(v) / len(v)) for m, v in estimates.items()])
        )
        if not any(line.points for line in lines):
            plots.append(f"<p>{escape(task)}: nothing to show; see its state above.</p>")
            continue
        baseline = report.state.baselines.get(task)
        thresholds = [] if baseline is None else [("baseline less 0.02", baseline - AUROC_MARGIN)]
        plots.append(
            _figure(f"auroc-{task}", f"{task}: AUROC by month of prediction",
                    f"{sum(bool(e.quality.auroc) for e in entries)} published cohorts.", lines, months,
                    thresholds=thresholds)
        )  # fmt: skip
    return plots


def _drift_plots(report: Report) -> list[str]:
    weeks = [week.week for week in report.state.weeks]
    courses: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for i, week in enumerate(report.state.weeks):
        for reading in week.readings:
            stream, _, name = reading.signal.rpartition("/")
            courses.setdefault(stream, {}).setdefault(name, []).append((i, reading.effect))
    plots = []
    for stream, by_name in courses.items():
        top = max(y for course in by_name.values() for _, y in course)
        plots.append(
            _figure(f"drift-{stream.replace('/', '-')}", f"{stream}: distance to the reference by week",
                    f"Largest {top:.3f}; the bound is {MIN_EFFECT}.",
                    [Line(name, course) for name, course in by_name.items()], weeks,
                    thresholds=[(f"bound {MIN_EFFECT}", MIN_EFFECT)], y_range=(0.0, max(0.12, top)))
        )  # fmt: skip
    return plots


def _coverage_plots(report: Report) -> list[str]:
    weeks = sorted({entry.week for entries in report.coverage.values() for entry in entries})
    at = {week: i for i, week in enumerate(weeks)}
    lines = [
        Line(task, [(at[entry.week], entry.coverage) for entry in entries]) for task, entries in report.coverage.items()
    ]
    if not weeks:
        return ["<p>No complete week.</p>"]
    return [
        _figure("coverage", "Final outcomes by week of prediction", "Share from 0 to 1 by task.", lines, weeks,
                thresholds=[("99%", 0.99)], y_range=(0.0, 1.0))
    ]  # fmt: skip


def _figure(identifier: str, title: str, description: str, lines: list[Line], labels: list[str], **rest: Any) -> str:
    plot = line_plot(identifier, title, description, lines, x_labels=labels, **rest)
    return f"<figure><figcaption>{escape(title)}. {escape(description)}</figcaption>{plot}</figure>"


PAGE_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--faint:#d5d5d5;--bad:#a4001d;
--c0:#0b5cad;--c1:#b04a00;--c2:#1d6f42;--c3:#7a2f8f;--c4:#5c5200;--c5:#8a1c4a}
@media (prefers-color-scheme:dark){:root{--ink:#ececec;--paper:#161616;--faint:#444;--bad:#ff9aa8;
--c0:#7ab8ff;--c1:#ffb27a;--c2:#7fd6a3;--c3:#d9a6ea;--c4:#e0d46a;--c5:#ff9cc2}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:auto;padding:1rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--faint);vertical-align:top}
tr.alarm td{color:var(--bad);font-weight:600}
figure{margin:1.5rem 0}svg{width:100%;height:auto}svg text{fill:var(--ink);font-size:12px}
.grid{stroke:var(--faint);stroke-width:1}.threshold{stroke:var(--bad);stroke-width:1.5;stroke-dasharray:5 4}
svg .threshold-name{fill:var(--bad)}.line{fill:none;stroke-width:1.8}
.mark{stroke:var(--ink);stroke-width:1;stroke-dasharray:1 3}svg .mark-name{font-size:10px}
.legend{list-style:none;margin:.3rem 0;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}
svg.key{width:30px;height:12px}
""" + "".join(f".line.c{i}{{stroke:var(--c{i})}}.dot.c{i}{{fill:var(--c{i})}}" for i in range(6))
