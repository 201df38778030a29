"""What a drill was: its facts as JSON, and one page of plots that tells the story to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from monitoring.calibration_eprocess import ALARM_E_VALUE
from monitoring.drift import MIN_EFFECT
from monitoring.plots import Line, line_plot
from monitoring.quality import AUROC_MARGIN
from monitoring.replay import MonitorState
from monitoring.report import PAGE_STYLE

JSON_FILE, HTML_FILE = "drill.json", "drill.html"
DENIAL = "insurance_denial"
EventKind = Literal["change", "alarm", "retraining", "gate", "rollout", "check"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(_Frozen):
    """Something that happened, on a day of the synthetic hospital."""

    day: date
    kind: EventKind
    text: str
    mark: str | None = None
    """Short name for the plots; None for what they do not show."""


class LiveStage(_Frozen):
    """Notes that went through the service in one stage of the rollout."""

    stage: str
    notes: int
    failed: int
    by_challenger: int
    largest_difference: float
    """Largest absolute difference of a probability from the bulk score by the same bundle."""


class MonthTruth(_Frozen):
    """Denial AUROC of a month of watched stays against the true probabilities: the champion's, and the truth's own."""

    month: str
    model_version: str
    champion: float
    best_possible: float


class Drill(_Frozen):
    """Everything that the page shows. `watched`: model version to where its monitors stood at the end."""

    plan: dict[str, Any]
    machine: dict[str, Any]
    seconds: dict[str, float]
    """By part, and `whole`."""
    stays: int
    notes_scored: int
    events: tuple[Event, ...]
    live: tuple[LiveStage, ...]
    live_latency_ms: dict[str, float] = Field(default_factory=dict)
    truth: tuple[MonthTruth, ...]
    watched: dict[str, MonitorState]
    gates: tuple[dict[str, Any], ...] = ()
    outcome: dict[str, Any]
    """Before and after: denial AUROC, calibration, what the drill promised and whether it was so."""


def write_story(drill: Drill, out: Path) -> tuple[Path, Path]:
    """Write drill.json and drill.html into `out`. Returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    as_json, as_html = out / JSON_FILE, out / HTML_FILE
    as_json.write_text(drill.model_dump_json(indent=1) + "\n", encoding="utf-8")
    as_html.write_text(story_html(drill), encoding="utf-8")
    return as_json, as_html


def story_html(drill: Drill) -> str:
    """The page: inline style and SVG, no script."""
    body = [
        "<h1>A drill: from drift to a better model</h1>",
        f"<p>{drill.stays:,} stays of an invented health system, {drill.plan['first_day']} to {drill.plan['last_day']};"
        f" {drill.notes_scored:,} notes scored, {sum(each.notes for each in drill.live):,} also by the running service "
        f"over HTTP, {sum(each.failed for each in drill.live)} failed. Played in {drill.seconds['whole'] / 60:.1f} "
        f"minutes on {drill.machine['cores']} cores. Invented patients: a rehearsal, not evidence about care.</p>",
        "<h2>What happened</h2>",
        _table(("day", "what", ""), [(str(e.day), e.kind, e.text) for e in drill.events]),
        "<h2>Does it still rank? Denial AUROC</h2>",
        _auroc(drill),
        "<h2>Is it still calibrated? Denial</h2>",
        _e_values(drill),
        "<h2>Did scores or notes move?</h2>",
        _drift(drill),
        "<h2>The gates</h2>",
        *(_gate(report) for report in drill.gates),
        "<h2>The rollout, over HTTP</h2>",
        _table(
            ("stage", "notes", "failed", "answered by the challenger", "largest difference from the bulk score"),
            [(s.stage, f"{s.notes:,}", str(s.failed), f"{s.by_challenger:,}", f"{s.largest_difference:.1e}")
             for s in drill.live],
        ),
        "<h2>Promised, and found</h2>",
        _table(("promise", "found", ""),
               [(name, str(each["found"]), "yes" if each["kept"] else "NO") for name, each in drill.outcome.items()]),
        "<h2>Where the time went</h2>",
        _table(("part", "seconds"), [(name, f"{value:.0f}") for name, value in drill.seconds.items()]),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Lang1 drill</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><style>{PAGE_STYLE}</style></head><body><main>{"".join(body)}</main></body></html>\n'
    )


def _months(drill: Drill) -> list[str]:
    first, last = (date.fromisoformat(drill.plan[name]) for name in ("first_day", "last_day"))
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    return [f"{first.year + (first.month - 1 + i) // 12}-{(first.month - 1 + i) % 12 + 1:02d}" for i in range(count)]


def _marks(drill: Drill, months: Sequence[str]) -> list[tuple[str, float]]:
    """Events with a short name, at their place between the months."""
    return [(e.mark, months.index(f"{e.day:%Y-%m}") + (e.day.day - 1) / 31)
            for e in drill.events if e.mark and f"{e.day:%Y-%m}" in months]  # fmt: skip


def _position(day: date, months: Sequence[str]) -> float:
    return months.index(f"{day:%Y-%m}") + (day.day - 1) / 31


def _auroc(drill: Drill) -> str:
    months = _months(drill)
    lines = []
    for version, state in drill.watched.items():
        found = [(float(months.index(e.month)), e.quality.auroc) for e in state.quality
                 if e.task == DENIAL and e.quality.auroc is not None and e.month in months]  # fmt: skip
        lines.append(Line(f"realised, {version}", [(x, a.value) for x, a in found if a],
                          [(x, a.low, a.high) for x, a in found if a]))  # fmt: skip
        weekly = [(_position(date.fromisoformat(w.week), months), w.estimated_auroc[DENIAL])
                  for w in state.weeks if DENIAL in w.estimated_auroc]  # fmt: skip
        lines.append(Line(f"estimate without labels, {version} (advisory)", weekly))
    lines.append(
        Line("the truth's own (best possible)", [(months.index(t.month), t.best_possible) for t in drill.truth])
    )
    baseline = next((s.baselines[DENIAL] for s in drill.watched.values() if DENIAL in s.baselines), None)
    thresholds = [] if baseline is None else [("baseline less 0.02", baseline - AUROC_MARGIN)]
    return _figure(
        "auroc", "Denial AUROC by month of admission",
        "Realised values are published when a month's claims are final; the label-free estimate cannot see a change of "
        "payers' rules.", lines, months, thresholds=thresholds, marks=_marks(drill, months),
    )  # fmt: skip


def _e_values(drill: Drill) -> str:
    months = _months(drill)
    lines = []
    for version, state in drill.watched.items():
        for key, stream in state.calibration.items():
            if key.startswith(f"{DENIAL}/"):
                direction = key.rpartition("/")[2]
                points = [(_position(date.fromisoformat(p.week), months), max(-1.0, min(8.0, p.log10_e)))
                          for p in stream.points if p.week[:7] in months]  # fmt: skip
                lines.append(Line(f"{version}: risks are {direction}", points))
    top = len(str(int(ALARM_E_VALUE))) - 1
    return _figure(
        "evalue", "Evidence against the denial model's calibration, log10 of the e-value",
        "By the week in which labels matured. It may be read at any time.", lines, months,
        thresholds=[(f"alarm: 1e{top}", float(top))], marks=_marks(drill, months), y_range=(-1.0, 8.0),
    )  # fmt: skip


def _drift(drill: Drill) -> str:
    months = _months(drill)
    strongest: dict[str, list[tuple[float, float]]] = {}
    for state in drill.watched.values():
        for week in state.weeks:
            at = _position(date.fromisoformat(week.week), months)
            for name, chosen in (("scores", "not notes"), ("notes", "notes")):
                found = [r.effect for r in week.readings if r.signal.startswith("notes") == (chosen == "notes")]
                if found:
                    strongest.setdefault(name, []).append((at, max(found)))
    lines = [Line(f"largest distance of {name}", points) for name, points in strongest.items()]
    return _figure(
        "drift", "Distance to the reference by week, largest signal",
        "An alarm needs the bound and significance, two windows running.", lines, months,
        thresholds=[(f"bound {MIN_EFFECT}", MIN_EFFECT)], marks=_marks(drill, months),
    )  # fmt: skip


def _gate(report: dict[str, Any]) -> str:
    reasons = "; ".join(report.get("reasons", ())) or "every bound was kept"
    head = f"{report['day']}, {report['remedy']}: {report['verdict']}"
    return f"<p><strong>{escape(head)}</strong>. {escape(reasons)}</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f"<tr{' class=alarm' if {'alarm', 'NO'} & set(row) else ''}>"
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _figure(identifier: str, title: str, description: str, lines: list[Line], labels: list[str], **rest: Any) -> str:
    plot = line_plot(identifier, title, description, lines, x_labels=labels, **rest)
    return f"<figure><figcaption>{escape(title)}. {escape(description)}</figcaption>{plot}</figure>"
