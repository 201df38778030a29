"""Backtest of the bed forecast on invented hospitals: rolling origins, coverage, and scores against plain ways.

    python -m bench.beds_backtest [--hospitals 4] [--origins 200] [--every 3] [--no-speed]

Each hospital (a seed of its own) runs `FIT_DAYS` before the first origin. At each origin the service's own code sees
what it would have seen; it is fitted again every `REFIT_DAYS`. Writes bench/results/beds-backtest.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.beds_baselines import CalendarBaselines, mean_stay_laws
from bench.beds_census import Record, minute_of, without_scores
from bench.beds_hospital import DAY, SCORE_NOISE, TIMEZONE, UNITS, simulate
from bench.beds_measures import Scores, crps, ensemble_crps
from bench.beds_report import backtest_tables, write_into_docs
from bench.beds_speed import measure_speed
from serve.beds.clock import HospitalClock
from serve.beds.forecast import BedForecast, forecast_beds
from serve.beds.intervals import LEVELS
from serve.beds.model import BedModel, fit_bed_model
from serve.beds.plans import FURTHEST_PAST

RESULTS = Path(__file__).parent / "results" / "beds-backtest.json"
FIT_DAYS, HISTORY_DAYS, REFIT_DAYS, HORIZON_DAYS = 240, 180, 14, 7
MINUTES = (7 * 60 + 30, 15 * 60)
"""Of the day at which forecasts are made, in turn: the morning's and the afternoon's bed meeting."""
TOLERANCE = 0.03
CLOCK = HospitalClock(TIMEZONE)
COUNTS = ("occupancy", "departures")


@dataclass
class Backtest:
    """Scores by count, for the hospital (K,) and for units (U, K)."""

    hospital: dict[str, Scores] = field(default_factory=lambda: {name: Scores() for name in COUNTS})
    units: dict[str, Scores] = field(default_factory=lambda: {name: Scores() for name in COUNTS})
    over: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = field(default_factory=list)
    """P(more than the staffed beds) and whether it was so, (U, K)."""
    models: list[BedModel] = field(default_factory=list)
    patients: list[int] = field(default_factory=list)
    beds: int = 0


def run_hospital(seed: int, origins: int, every: int, into: Backtest, score_noise: float = SCORE_NOISE) -> None:
    """Roll through one hospital. `score_noise` is what its model adds to the logarithms of the true probabilities."""
    hospital = simulate(seed, FIT_DAYS + origins * every + HORIZON_DAYS + 2, fit_days=FIT_DAYS, score_noise=score_noise)
    record = Record(hospital)
    calendar = CalendarBaselines(record)
    models: tuple[BedModel, BedModel] | None = None
    fitted = -REFIT_DAYS
    for number in range(origins):
        day = FIT_DAYS + number * every
        minute = day * DAY + MINUTES[number % len(MINUTES)]
        if models is None or day - fitted >= REFIT_DAYS:
            past = record.census(minute, HISTORY_DAYS)
            models, fitted = (fit_bed_model(past, CLOCK), fit_bed_model(without_scores(past), CLOCK)), day
            into.models.append(models[0])
        census = record.census(minute, 1)
        forecast = forecast_beds(census, models[0], CLOCK, HORIZON_DAYS)
        bare = forecast_beds(without_scores(census), models[1], CLOCK, HORIZON_DAYS)
        into.patients.append(len(census.stays))
        begins, ends = ([minute_of(getattr(d, name)) for d in forecast.days] for name in ("begins", "ends"))
        seen = {
            "occupancy": np.stack([record.occupancy(end) for end in ends], axis=1),
            "departures": np.stack([record.departures(b, e) for b, e in zip(begins, ends, strict=True)], axis=1),
        }
        samples = {"occupancy": calendar.occupancy(ends), "departures": calendar.departures(begins, ends)}
        model = models[0]
        arrivals = float(model.arrivals.rate[-1].sum(axis=0).mean())
        plain = mean_stay_laws(len(census.stays), _mean_stay(model), arrivals, [(e - minute) / 60 for e in ends])
        _score(into, forecast, bare, seen, samples, dict(zip(COUNTS, plain, strict=True)))
        staffed = np.array([hospital.staffed[name] for name in UNITS])
        chance = np.stack([forecast.unit_occupancy.above(float(b))[u] for u, b in enumerate(staffed)])
        into.over.append((chance, seen["occupancy"] > staffed[:, None]))
    into.beds += sum(hospital.staffed.values())


def _mean_stay(model: BedModel) -> float:
    """Days in a bed: half a day for the first, one for each midnight more."""
    survival = np.cumprod(1 - model.stay_length.hazards)
    return float(0.5 + survival.sum())


def _score(
    into: Backtest, forecast: BedForecast, bare: BedForecast, seen: dict[str, Any], samples: dict[str, Any], plain: Any
) -> None:
    laws = {
        "occupancy": (forecast.occupancy, forecast.unit_occupancy, forecast.expected_occupancy),
        "departures": (forecast.departures, forecast.unit_departures, forecast.expected_departures),
    }
    bare_laws = {
        "occupancy": (bare.occupancy, bare.unit_occupancy), "departures": (bare.departures, bare.unit_departures),
    }  # fmt: skip
    for name in COUNTS:
        whole, units, expected = laws[name]
        by_unit = seen[name]
        total = by_unit.sum(axis=0)
        hospital_scores, unit_scores = into.hospital[name], into.units[name]
        hospital_scores.add(whole, expected.sum(axis=0), total)
        unit_scores.add(units, expected, by_unit)
        hospital_scores.add_crps("same model without scores", crps(bare_laws[name][0], total))
        unit_scores.add_crps("same model without scores", crps(bare_laws[name][1], by_unit))
        hospital_scores.add_crps("mean stay, Poisson", crps(plain[name], total))
        for scores, past, truth in (
            (hospital_scores, samples[name].sum(axis=1), total), (unit_scores, samples[name], by_unit),
        ):  # fmt: skip
            scores.add_crps("same weekday last week", np.abs(past[0] - truth).astype(np.float64))
            scores.add_crps("same weekday of 8 weeks", ensemble_crps(past.astype(np.float64), truth))


def summary(done: Backtest) -> dict[str, Any]:
    """The figures as plain data."""
    held = {
        "hospital": {name: _coverage(done.hospital[name], False) for name in COUNTS},
        "units": {name: _coverage(done.units[name], True) for name in COUNTS},
    }
    chance, over = (np.stack(each) for each in zip(*done.over, strict=True))
    return {
        "coverage": held,
        "within_tolerance": {
            place: {
                name: _within(held[place][name], "plain" if place == "hospital" else "randomised") for name in COUNTS
            }
            for place in held
        },
        "tolerance": TOLERANCE,
        "held_to_tolerance": "hospital: plain coverage; units, whose counts are small: randomised coverage",
        "crps": {
            "hospital": {name: _mean_crps(done.hospital[name]) for name in COUNTS},
            "units": {name: _mean_crps(done.units[name]) for name in COUNTS},
        },
        "mean_error": {name: _by_horizon(np.stack(done.hospital[name].error)) for name in COUNTS},
        "over_staffed": {
            "brier": round(float(((chance - over) ** 2).mean()), 4),
            "mean_probability": round(float(chance.mean()), 4),
            "share_over": round(float(over.mean()), 4),
        },
        "mean_patients_in": round(float(np.mean(done.patients)), 1),
        "fitted": _fitted(done.models),
    }


def _coverage(scores: Scores, by_unit: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for level in LEVELS:
        entry: dict[str, Any] = {}
        kinds = (("plain", scores.plain), ("randomised", scores.trimmed), ("stated", scores.stated))
        for kind, values in kinds:
            stacked = np.stack(values[level])
            entry[kind] = {"all": round(float(stacked.mean()), 4), "by_horizon": _by_horizon(stacked)}
            if by_unit:
                entry[kind]["by_unit"] = {
                    name: round(float(stacked[:, index].mean()), 4) for index, name in enumerate(UNITS)
                }
        found[f"{level:.0%}"] = entry
    return found


def _within(coverage: dict[str, Any], kind: str) -> bool:
    return all(abs(coverage[f"{level:.0%}"][kind]["all"] - level) <= TOLERANCE for level in LEVELS)


def _by_horizon(values: Any) -> list[float]:
    """Mean over everything but the last axis."""
    return [round(float(v), 4) for v in values.reshape(-1, values.shape[-1]).mean(axis=0)]


def _mean_crps(scores: Scores) -> dict[str, Any]:
    return {
        name: {"all": round(float(np.mean(values)), 3), "by_horizon": _by_horizon(np.stack(values))}
        for name, values in scores.crps.items()
    }


def _fitted(models: list[BedModel]) -> dict[str, float]:
    def mean(values: list[float]) -> float:
        return round(float(np.mean(values)), 4)

    return {
        "hospital_shock_sd": mean([m.shocks.hospital**0.5 for m in models]),
        "unit_shock_sd": mean([m.shocks.unit**0.5 for m in models]),
        "arrival_dispersion": mean([m.arrivals.dispersion for m in models]),
        "unit_arrival_dispersion": mean([m.arrivals.unit_dispersion for m in models]),
        "show_rate": mean([m.arrivals.show_rate for m in models]),
        "planned_today_leave_today": mean([float(m.plans.hazards[-FURTHEST_PAST, 0]) for m in models]),
    }


def backtest(hospitals: int, origins: int, every: int, first_seed: int = 1) -> dict[str, Any]:
    """Everything but the speed."""
    done = Backtest()
    for seed in range(first_seed, first_seed + hospitals):
        run_hospital(seed, origins, every, done)
    setting = {
        "hospitals": hospitals, "first_seed": first_seed, "origins_each": origins, "days_between_origins": every,
        "fit_days": FIT_DAYS, "history_days": HISTORY_DAYS, "refit_days": REFIT_DAYS, "horizon_days": HORIZON_DAYS,
        "forecasts_at": [f"{m // 60:02d}:{m % 60:02d}" for m in MINUTES], "units": list(UNITS),
        "mean_staffed_beds": round(done.beds / hospitals, 1),
    }  # fmt: skip
    return {"setting": setting} | summary(done)


def best_scores(hospitals: int, origins: int, every: int, first_seed: int = 1) -> dict[str, Any]:
    """Mean CRPS with the simulator's own probabilities as scores, and without any: what a perfect model would add."""
    done = Backtest()
    for seed in range(first_seed, first_seed + hospitals):
        run_hospital(seed, origins, every, done, score_noise=0.0)
    kept = ("forecast", "same model without scores")
    return {"hospitals": hospitals, "origins_each": origins} | {
        place: {name: {way: round(float(np.mean(scores[name].crps[way])), 3) for way in kept} for name in COUNTS}
        for place, scores in (("hospital", done.hospital), ("units", done.units))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hospitals", type=int, default=4)
    parser.add_argument("--origins", type=int, default=200)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results = backtest(arguments.hospitals, arguments.origins, arguments.every)
    few = min(arguments.hospitals, 2)
    results["true_probabilities"] = best_scores(few, arguments.origins // 2, arguments.every * 2)
    if not arguments.no_speed:
        results["speed"] = measure_speed()
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(backtest_tables(results))
    if arguments.out == RESULTS:
        write_into_docs(results)


if __name__ == "__main__":
    main()
