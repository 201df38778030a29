"""The evaluation report as one HTML page: no script, no network, readable in light and dark, printable."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_SIDE, _PAD = 220, 34
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6472; --line: #d5dae1; --mark: #1660a8; --bg: #fff;
  --warn: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb9; --line: #3b4350; --mark: #7db8f0;
  --bg: #14181f; --warn: #f0b46a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--bg); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; color: var(--soft); }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .9em; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.warn { color: var(--warn); font-weight: 600; }
"""


def report_page(report: dict[str, Any]) -> str:
    """A whole HTML document of what `training.report.evaluate_bundle` returns."""
    model = report["model"]
    name = f"{model['name']} {model['version']}"
    body = [f"<h1>Evaluation of {escape(name)}</h1>"]
    if report["demo"]:
        body.append('<p class="warn">A demonstration model, trained on invented patients: never for care.</p>')
    if report["trained_on"] == report["data"]["notes_sha256"]:
        body.append("<p>The notes are of the dataset that the model was trained on; its training notes are not among "
                    "those of the splits below.</p>")  # fmt: skip
    body.append(
        "<p>AUROC: the chance that an adverse case is ranked over another; 0.5 is a coin. ECE: how far probabilities "
        "lie from what happened, beside what a perfectly calibrated model of as many notes exceeds once in a hundred. "
        f"Bundle sha256 <code>{escape(model['bundle_sha256'])}</code>, notes sha256 "
        f"<code>{escape(report['data']['notes_sha256'])}</code>.</p>"
    )
    for split, tasks in report["splits"].items():
        body.append(f"<h2>{escape(split)}</h2>{_summary(tasks)}")
        for task, entry in tasks.items():
            body.append(f"<h3>{escape(task)}</h3>{_plots(task, entry)}{_parts(entry['parts'])}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Evaluation of {escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _summary(tasks: dict[str, Any]) -> str:
    head = ["task", "notes", "events", "AUROC (95%)", "TF-IDF", "AUPRC", "ECE-15", "perfect, 99th", "slope"]
    rows = []
    for name, entry in tasks.items():
        rows.append(
            [
                escape(name),
                f"{entry['notes']:,}",
                f"{round(entry['adverse_rate'] * entry['notes']):,}",
                _interval(entry["auroc"]),
                _number(entry.get("tfidf_auroc")),
                _number(entry["adverse"]["auprc"]),
                _number(entry["ece_15"]),
                _number(entry["ece_15_perfect_99th"]),
                _number(entry["calibration_slope"], 2),
            ]
        )
    return _table("One row a task; events are adverse outcomes.", head, rows)


def _plots(task: str, entry: dict[str, Any]) -> str:
    roc, bins = entry["adverse"]["roc"], entry["adverse"]["calibration"]
    top = max([0.02, *(max(point["high"], point["probability"]) for point in bins)])
    bars = "".join(
        f'<line x1="{_x(p["probability"] / top):.1f}" x2="{_x(p["probability"] / top):.1f}" '
        f'y1="{_y(p["low"] / top):.1f}" y2="{_y(p["high"] / top):.1f}" stroke="var(--mark)"/>'
        for p in bins
    )
    dots = "".join(
        f'<circle cx="{_x(p["probability"] / top):.1f}" cy="{_y(p["rate"] / top):.1f}" r="3" fill="var(--mark)"/>'
        for p in bins
    )
    line = " ".join(f"{_x(alarm):.1f},{_y(hit):.1f}" for alarm, hit in roc)
    curve = f'<polyline points="{line}" fill="none" stroke="var(--mark)" stroke-width="2"/>' if roc else ""
    auroc = _interval(entry["adverse"]["auroc_delong"])
    return (
        '<div class="plots">'
        + _figure(f"ROC of {task}, AUROC {auroc}", curve, "false positive rate", "sensitivity", 1.0)
        + _figure(
            f"Calibration of {task}: slope {_number(entry['calibration_slope'], 2)}, bins of equally many notes",
            bars + dots, "predicted probability", "observed rate", top,
        )
        + "</div>"
    )  # fmt: skip


def _figure(title: str, marks: str, x_name: str, y_name: str, top: float) -> str:
    end = f"{top:.2f}".rstrip("0").rstrip(".")
    return (
        f'<figure><svg role="img" aria-label="{escape(title)}" width="{_SIDE + 2 * _PAD}" height="{_SIDE + 2 * _PAD}">'
        f'<rect x="{_PAD}" y="{_PAD}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="var(--line)"/>'
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="var(--line)" stroke-dasharray="4 4"/>'
        f"{marks}"
        f'<text x="{_x(0)}" y="{_y(0) + 14}">0</text><text x="{_x(1)}" y="{_y(0) + 14}" text-anchor="end">{end}</text>'
        f'<text x="{_x(0) - 5}" y="{_y(1) + 4}" text-anchor="end">{end}</text>'
        f'<text x="{_x(0.5)}" y="{_y(0) + 28}" text-anchor="middle">{x_name}</text>'
        f'<text transform="rotate(-90 {_x(0) - 12} {_y(0.5)})" x="{_x(0) - 12}" y="{_y(0.5)}" text-anchor="middle">'
        f"{y_name}</text></svg><figcaption>{escape(title)}</figcaption></figure>"
    )


def _parts(parts: dict[str, Any]) -> str:
    rows = [
        [
            f"{escape(name)}: {escape(value)}",
            f"{part['notes']:,}",
            f"{part['events']:,}",
            _number(part["events"] / part["notes"]),
            _number(part["mean_probability"]),
            _interval(part["auroc"]) if part["auroc"] else "too few events",
        ]
        for name, values in parts.items()
        for value, part in values.items()
    ]
    return _table("By part", ["part", "notes", "events", "rate", "mean probability", "AUROC (95%, DeLong)"], rows)


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _x(share: float) -> float:
    return _PAD + share * _SIDE


def _y(share: float) -> float:
    return _PAD + (1 - share) * _SIDE


def _number(value: float | None, digits: int = 3) -> str:
    return "too few" if value is None else f"{value:.{digits}f}"


def _interval(found: dict[str, float | None]) -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or low is None or high is None:
        return "too few"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
