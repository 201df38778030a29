"""How long one forecast takes: 1,000 patients, 20 units, 7 days, in CPU time, so that other work does not count."""

from __future__ import annotations

import os
import platform
import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np

from bench.beds_census import Record
from bench.beds_hospital import DAY, TIMEZONE, UNITS, simulate
from serve.beds.census import HospitalCensus, Stay
from serve.beds.clock import HospitalClock
from serve.beds.forecast import forecast_beds
from serve.beds.model import fit_bed_model

PATIENTS, WARDS, DAYS, ROUNDS = 1000, 20, 7, 9
_ADMISSIONS_A_DAY, _HISTORY_DAYS = 200.0, 180


def measure_speed() -> dict[str, Any]:
    """CPU milliseconds of a fit on half a year and of a forecast, medians."""
    record = Record(simulate(3, 300, admissions_a_day=_ADMISSIONS_A_DAY))
    census = _in_wards(record.census(260 * DAY + 450, _HISTORY_DAYS))
    census = replace(census, stays=census.stays[-PATIENTS:])
    clock = HospitalClock(TIMEZONE)
    began = time.process_time()
    model = fit_bed_model(census, clock)
    fit_ms = 1000 * (time.process_time() - began)
    now = replace(census, history=())
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        forecast_beds(now, model, clock, DAYS)
        times.append(1000 * (time.process_time() - began))
    return {
        "patients": len(now.stays), "units": len(model.units), "days": DAYS, "past_stays": model.past_stays,
        "forecast_cpu_ms": round(statistics.median(times), 1), "fit_cpu_ms": round(fit_ms, 1),
        "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "numpy": np.__version__,
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
    }  # fmt: skip


def _in_wards(census: HospitalCensus) -> HospitalCensus:
    """Each unit split into two wards, and two of them into three."""

    def ward(unit: str | None, number: int) -> str:
        parts = 3 if unit in UNITS[1:3] else 2
        return f"{unit} {number % parts + 1}"

    def placed(stays: tuple[Stay, ...]) -> tuple[Stay, ...]:
        return tuple(
            replace(
                stay,
                unit=ward(stay.unit, int(stay.encounter)),
                moves=tuple(replace(move, left=ward(move.left, int(stay.encounter))) for move in stay.moves),
            )
            for stay in stays
        )

    wards = {ward(unit, number): beds // 2 for unit, beds in census.staffed_beds.items() for number in range(6)}
    scheduled = tuple(replace(each, unit=ward(each.unit, number)) for number, each in enumerate(census.scheduled))
    return replace(
        census, stays=placed(census.stays), history=placed(census.history), scheduled=scheduled, staffed_beds=wards
    )
