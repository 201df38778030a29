"""When a predicted outcome would happen: `prediction.when[x]` of a task."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from fhir_adapters.canonical import UCUM_SYSTEM
from fhir_adapters.references import parse_instant
from lang1.tasks import Horizon, Task


def when(task: Task, discharge: str | None) -> dict[str, Any]:
    """`whenPeriod` from the discharge to the horizon where the discharge is known to the day, else `whenRange` in days.

    `discharge` is a FHIR dateTime. Empty for tasks about the encounter or the claim, whose end nobody knows yet; a
    length of stay is the outcome itself, not the time it happens at.
    """
    if task.horizon is not Horizon.AFTER_DISCHARGE or task.horizon_days is None:
        return {}
    end = None if discharge is None else _days_later(discharge, task.horizon_days)
    if end is not None:
        return {"whenPeriod": {"start": discharge, "end": end}}
    return {"whenRange": {"low": _days(0), "high": _days(task.horizon_days)}}


def _days_later(start: str, days: int) -> str | None:
    try:
        moment = parse_instant(start)
        if moment is not None:
            later = (moment + timedelta(days=days)).isoformat()
            return later.replace("+00:00", "Z") if start.endswith("Z") else later
        # A whole date stays a date; a month or a year is no day to count from.
        return (date.fromisoformat(start) + timedelta(days=days)).isoformat() if len(start) == 10 else None
    except (ValueError, OverflowError):
        return None


def _days(value: int) -> dict[str, Any]:
    return {"value": value, "unit": "days", "system": UCUM_SYSTEM, "code": "d"}
