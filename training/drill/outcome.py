"""What a drill promises, and whether it was so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from monitoring.drift import MIN_WINDOW_NOTES
from monitoring.replay import MonitorState
from training.drill.plan import DrillPlan
from training.drill.story import DENIAL, Event, LiveStage, MonthTruth

RECOVERED = 0.02
"""How far under its quiet-time value denial AUROC may end: the monitor's margin."""
SAME_SCORE = 1e-4
"""Service and bulk pack notes into other batches; sums in another order differ by less than this."""


def promises(
    plan: DrillPlan,
    events: Sequence[Event],
    states: Mapping[str, MonitorState],
    stages: Sequence[LiveStage],
    truth: Sequence[MonthTruth],
    crowned: Sequence[tuple[str, date]],
) -> dict[str, dict[str, Any]]:
    """Promise to {found, kept}."""
    alarms = [event for event in events if event.kind == "alarm"]
    quiet = [event for event in alarms if event.day <= plan.template_day]
    drift = [event.day for event in alarms if event.text.startswith("drift") and event.day > plan.template_day]
    denial = [event.day for event in alarms if f"calibration, {crowned[0][0]}: {DENIAL}" in event.text
              and event.day > plan.policy_day]  # fmt: skip
    promoted = [event.day for event in events if event.mark == "promoted"]
    before = [each.champion for each in truth if each.month < f"{plan.policy_day:%Y-%m}"]
    hurt = [each.champion for each in truth if each.month >= f"{plan.policy_day:%Y-%m}"
            and each.model_version == crowned[0][0]]  # fmt: skip
    after = [each.champion for each in truth if each.model_version != crowned[0][0]]
    # Monitors judge by whole weeks, and read a window when it has 500 notes.
    two_windows = 2 * timedelta(weeks=math.ceil(MIN_WINDOW_NOTES / (7 * plan.watched_a_day)))
    quiet_days = (plan.template_day - plan.first_day).days
    found: dict[str, dict[str, Any]] = {
        "at most one false alarm in the quiet time": {
            "found": f"{len(quiet)} in {quiet_days / 365:.1f} years", "kept": len(quiet) <= 1},
        "the new template is found within two windows of 500 notes": {
            "found": f"{(drift[0] - plan.template_day).days} days" if drift else "not found",
            "kept": bool(drift) and drift[0] - plan.template_day <= two_windows},
        "the payers' new rules set off the calibration alarm of denial": {
            "found": f"{denial[0]}, {(denial[0] - plan.policy_day).days} days later" if denial else "no alarm",
            "kept": bool(denial)},
        "a challenger passes the gate and takes over": {
            "found": f"promoted {promoted[0]}" if promoted else "none", "kept": bool(promoted)},
        "no call to the service failed": {
            "found": f"{sum(each.failed for each in stages)} of {sum(each.notes for each in stages):,}",
            "kept": not any(each.failed for each in stages)},
        "the service scores as the bulk scorer does": {
            "found": f"{max((each.largest_difference for each in stages), default=0):.1e}",
            "kept": all(each.largest_difference <= SAME_SCORE for each in stages)},
        "denial AUROC (against the truth) recovers to within 0.02": {
            "found": f"{_mean(before):.3f} before, {_mean(hurt):.3f} hurt, {_mean(after):.3f} after",
            "kept": bool(after) and _mean(after) >= _mean(before) - RECOVERED},
        "the new champion is calibrated on denial": {
            "found": _calibration(states, crowned), "kept": _calibration(states, crowned).startswith("no alarm")},
    }  # fmt: skip
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _calibration(states: Mapping[str, MonitorState], crowned: Sequence[tuple[str, date]]) -> str:
    state = states.get(crowned[-1][0]) if len(crowned) > 1 else None
    if state is None:
        return "there is no new champion"
    streams = {key: each for key, each in state.calibration.items() if key.startswith(DENIAL)}
    labels = max((each.state.labels for each in streams.values()), default=0)
    if not labels:
        return "no labels yet"
    alarmed = any(each.state.alarmed for each in streams.values())
    return f"{'alarm' if alarmed else 'no alarm'} after {labels:,} labels"
