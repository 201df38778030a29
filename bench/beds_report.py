"""The backtest's figures as the tables of docs/beds.md, so that no number there is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs" / "beds.md"
START, END = "<!-- generated: beds-backtest -->", "<!-- end: beds-backtest -->"


def backtest_tables(results: dict[str, Any]) -> str:
    """Markdown."""
    setting = results["setting"]
    origins = setting["hospitals"] * setting["origins_each"]
    parts = [
        f"{setting['hospitals']} hospitals (seeds from {setting['first_seed']}) of {results['mean_patients_in']:.0f} "
        f"patients on average in {len(setting['units'])} units, {origins} forecasts "
        f"(every {setting['days_between_origins']} days, at {' and '.join(setting['forecasts_at'])} in turn) of "
        f"{setting['horizon_days']} days each.",
        _coverage(results),
        _by_horizon(results),
        _by_unit(results),
        _scores(results),
    ]
    if best := results.get("true_probabilities"):
        gains = []
        for place in ("hospital", "units"):
            for name, ways in best[place].items():
                gain = 1 - ways["forecast"] / ways["same model without scores"]
                gains.append(f"{_of(place, name)} {gain:.1%}")
        parts.append(
            f"With the true probabilities as scores the CRPS is below that without scores by: {', '.join(gains)}."
        )
    over = results["over_staffed"]
    parts.append(
        f"More patients than staffed beds: said of {over['mean_probability']:.1%} of units and days, came on "
        f"{over['share_over']:.1%}; Brier score {over['brier']:.3f}, "
        f"{over['share_over'] * (1 - over['share_over']):.3f} for always saying the mean."
    )
    if speed := results.get("speed"):
        parts.append(
            f"A forecast of {speed['patients']} patients, {speed['units']} units and {speed['days']} days takes "
            f"{speed['forecast_cpu_ms']:.0f} ms of CPU time on one core; fitting on {speed['past_stays']} past stays "
            f"{speed['fit_cpu_ms'] / 1000:.1f} s."
        )
    return "\n\n".join(parts)


def with_tables(text: str, results: dict[str, Any]) -> str:
    """The document with the part between its two marks rewritten."""
    head, rest = text.split(START)
    _, tail = rest.split(END)
    return f"{head}{START}\n{backtest_tables(results)}\n{END}{tail}"


def write_into_docs(results: dict[str, Any]) -> None:
    DOCS.write_text(with_tables(DOCS.read_text(encoding="utf-8"), results), encoding="utf-8")


def _coverage(results: dict[str, Any]) -> str:
    rows = ["| count | level | plain | stated by the intervals | randomised |", "|---|---|---|---|---|"]
    for place, counts in results["coverage"].items():
        for name, levels in counts.items():
            for level, kinds in levels.items():
                plain, stated, randomised = (f"{kinds[kind]['all']:.1%}" for kind in ("plain", "stated", "randomised"))
                held = "plain" if place == "hospital" else "randomised"
                cells = {"plain": plain, "randomised": randomised}
                cells[held] = f"**{cells[held]}**"
                rows.append(f"| {_of(place, name)} | {level} | {cells['plain']} | {stated} | {cells['randomised']} |")
    return "\n".join(rows)


def _by_horizon(results: dict[str, Any]) -> str:
    days = results["setting"]["horizon_days"]
    head = "| coverage by day ahead | level | " + " | ".join(str(k + 1) for k in range(days)) + " |"
    rows = [head, "|---|---|" + "---|" * days]
    for place, kind in (("hospital", "plain"), ("units", "randomised")):
        for name, levels in results["coverage"][place].items():
            for level, kinds in levels.items():
                cells = " | ".join(f"{value:.1%}" for value in kinds[kind]["by_horizon"])
                rows.append(f"| {_of(place, name)}, {kind} | {level} | {cells} |")
    return "\n".join(rows)


def _by_unit(results: dict[str, Any]) -> str:
    units = results["coverage"]["units"]
    columns = [(name, level) for name in units for level in units[name]]
    rows = ["| randomised coverage by unit | " + " | ".join(f"{name} {level}" for name, level in columns) + " |"]
    rows.append("|---|" + "---|" * len(columns))
    for unit in results["setting"]["units"]:
        cells = " | ".join(f"{units[name][level]['randomised']['by_unit'][unit]:.1%}" for name, level in columns)
        rows.append(f"| {unit} | {cells} |")
    return "\n".join(rows)


def _scores(results: dict[str, Any]) -> str:
    scores = results["crps"]
    columns = [(place, name) for place in scores for name in scores[place]]
    names = list(dict.fromkeys(way for place, name in columns for way in scores[place][name]))
    rows = ["| CRPS (patients; lower is better) | " + " | ".join(_of(*column) for column in columns) + " |"]
    rows.append("|---|" + "---|" * len(columns))
    for way in names:
        cells = [scores[place][name].get(way) for place, name in columns]
        rows.append(f"| {way} | " + " | ".join("" if cell is None else f"{cell['all']:.2f}" for cell in cells) + " |")
    return "\n".join(rows)


def _of(place: str, name: str) -> str:
    return f"{name}, {'hospital' if place == 'hospital' else 'a unit'}"
