"""Draw patients and their encounters: context, factors, outcomes and dates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from training.synth import factors, truth
from training.synth.conditions import CONDITIONS
from training.synth.config import SynthConfig
from training.synth.factors import AGE_BANDS, AGE_PRIOR, DISEASE_REASONS, REASONS, SEX_PRIOR

Ints = npt.NDArray[np.int8]
Days = npt.NDArray[np.int64]

MAX_ENCOUNTERS = 3
RETURNS = (0.36, 0.30)
"""Chance of a second and of a third recorded encounter; a readmission always has its encounter, up to the third."""
# Factors that belong to the person: every encounter reads them off the same draw.
PERSONAL = frozenset((*(condition.name for condition in CONDITIONS), "payer", "support", "substance", "code_status"))
_DAYS_OF_CLASS = ((0, 3), (3, 4), (4, 6), (6, 22))


@dataclass(frozen=True, slots=True)
class Population:
    """N encounters. `context` (N, 3) is age band, sex, reason; `values` (N, F) the factors in column order."""

    context: Ints
    values: Ints

    def columns(self) -> dict[str, Ints]:
        """Context and factors as named columns of shape (N, 1)."""
        named = {f.name: self.values[:, i : i + 1] for i, f in enumerate(factors.all_factors())}
        return named | truth.context_columns(self.context)


@dataclass(frozen=True, slots=True)
class Encounters:
    """Encounters with outcomes. Dates are days since 1970-01-01. `readmitted` is -1 for those who died."""

    population: Population
    patient: npt.NDArray[np.int64]
    ordinal: npt.NDArray[np.int64]
    age: npt.NDArray[np.int64]
    admitted: Days
    discharged: Days
    died: npt.NDArray[np.bool_]
    readmitted: Ints
    los_class: Ints
    cci: npt.NDArray[np.int64]
    denied: Ints
    true: dict[str, npt.NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.patient)


@cache
def _cumulative_priors() -> tuple[npt.NDArray[np.float64], ...]:
    return tuple(np.cumsum(prior, axis=-1) for prior in factors.priors())


def _values(context: Ints, uniform: npt.NDArray[np.float64]) -> Ints:
    """Inverse-CDF draw of every factor: context (N, 3) and uniforms (N, F) to values (N, F)."""
    age, sex, reason = context.T
    out = np.empty(uniform.shape, dtype=np.int8)
    for index, cumulative in enumerate(_cumulative_priors()):
        # The top of the distribution is the rare end, so that a higher prior only adds disease to the same person.
        edges = cumulative[age, sex, reason][:, :-1]
        out[:, index] = (uniform[:, index : index + 1] > edges).sum(axis=1)
    return out


def _pick(rng: np.random.Generator, table: npt.NDArray[np.float64]) -> Ints:
    """One draw per row of a (N, V) table of probabilities."""
    above = rng.random((len(table), 1)) > np.cumsum(table, axis=1)[:, :-1]
    return np.asarray(above.sum(axis=1), dtype=np.int8)


def _contexts(rng: np.random.Generator, n: int) -> Ints:
    age = rng.choice(len(AGE_BANDS), size=n, p=AGE_PRIOR)
    sex = rng.choice(2, size=n, p=SEX_PRIOR)
    return np.stack([age, sex, _pick(rng, factors.reason_prior()[age])], axis=1).astype(np.int8)


def draw_population(rng: np.random.Generator, n: int) -> Population:
    """`n` independent encounters, for calibration and tests."""
    context = _contexts(rng, n)
    return Population(context, _values(context, rng.random((n, len(factors.all_factors())))))


def _next_reason(rng: np.random.Generator, context: Ints) -> Ints:
    """A later encounter's context: a disease keeps its reason; the others are drawn anew among themselves."""
    table = factors.reason_prior()[context[:, 0]]
    stays = np.array([name in DISEASE_REASONS for name in REASONS])
    table = np.where(stays, 0.0, table)
    drawn = _pick(rng, table / table.sum(axis=1, keepdims=True))
    after = context.copy()
    after[:, 2] = np.where(stays[context[:, 2]], context[:, 2], drawn)
    return after


def draw_chunk(config: SynthConfig, chunk: int) -> Encounters:
    """The encounters of one chunk of patients, from a random stream of its own: (seed, chunk)."""
    rng = np.random.default_rng([config.seed, chunk, 1])
    first = chunk * config.chunk_patients
    n = min(config.chunk_patients, config.patients - first)
    start = (np.datetime64(f"{config.first_year}-01-01") - np.datetime64("1970-01-01")).astype(np.int64)
    end = (np.datetime64(f"{config.last_year + 1}-01-01") - np.datetime64("1970-01-01")).astype(np.int64)
    context = _contexts(rng, n)
    ages = np.array(AGE_BANDS)[context[:, 0]]
    age = rng.integers(ages[:, 0], ages[:, 1] + 1)
    person = rng.random((n, len(factors.all_factors())))
    personal = np.array([factor.name in PERSONAL for factor in factors.all_factors()])
    here = np.arange(n)
    admitted = rng.integers(start, end, size=n)
    rounds: list[Encounters] = []
    soon, left = np.zeros(n, dtype=np.bool_), admitted
    for ordinal in range(MAX_ENCOUNTERS):
        uniform = np.where(personal, person[here], rng.random((len(here), len(personal))))
        values = _values(context, uniform)
        if ordinal:
            # Someone who is back within 30 days has been admitted in the last half year.
            used = factors.column("prior_use")
            values[:, used] = np.where(soon, np.maximum(values[:, used], 1), values[:, used])
            gap = np.where(soon, rng.integers(2, 31, len(here)), _gap(rng, values[:, used]))
            admitted = left + gap
        encounters = _outcomes(rng, Population(context, values), first + here, ordinal, age[here], admitted)
        keep = encounters.admitted < end
        rounds.append(_take(encounters, keep))
        if ordinal + 1 == MAX_ENCOUNTERS:
            break
        soon = encounters.readmitted == 1
        again = keep & ~encounters.died & (soon | (rng.random(len(here)) < RETURNS[ordinal]))
        here, soon, left = here[again], soon[again], encounters.discharged[again]
        context = _next_reason(rng, context[again])
    return _concatenate(rounds)


def _gap(rng: np.random.Generator, prior_use: Ints) -> Days:
    """Days to the next admission, consistent with what it will say of the last 12 months."""
    recent = rng.integers(31, 330, len(prior_use))
    return np.where(prior_use > 0, recent, rng.integers(370, 1400, len(prior_use)))


def _outcomes(
    rng: np.random.Generator, population: Population, patient: Days, ordinal: int, age: Days, admitted: Days
) -> Encounters:
    n = len(patient)
    true = {name: p[:, 0] for name, p in truth.probabilities(population.columns()).items()}
    died = rng.random(n) < true[truth.task_name("in_hospital_mortality")][:, 1]
    readmitted = (rng.random(n) < true[truth.task_name("readmission")][:, 1]).astype(np.int8)
    denied = (rng.random(n) < true[truth.task_name("insurance_denial")][:, 1]).astype(np.int8)
    score = truth.linear_score(truth.LENGTH_OF_STAY, population.columns())[:, 0]
    alive = truth.los_given_alive(score, truth.CONSTANTS)
    los_class = _pick(rng, np.where(died[:, None], truth.LOS_GIVEN_DEATH, alive).astype(np.float64))
    bounds = np.array(_DAYS_OF_CLASS)[los_class]
    days = rng.integers(bounds[:, 0], bounds[:, 1])
    cci = truth.charlson_index(population.values)
    true[truth.task_name("charlson_comorbidity_index")] = np.eye(5, dtype=np.float32)[truth.charlson_class(cci)]
    return Encounters(
        population, patient, np.full(n, ordinal), age, admitted, admitted + days, died,
        np.where(died, -1, readmitted).astype(np.int8), los_class, cci, denied, true,
    )  # fmt: skip


def _take(e: Encounters, keep: npt.NDArray[np.bool_]) -> Encounters:
    return Encounters(
        Population(e.population.context[keep], e.population.values[keep]), e.patient[keep], e.ordinal[keep],
        e.age[keep], e.admitted[keep], e.discharged[keep], e.died[keep], e.readmitted[keep], e.los_class[keep],
        e.cci[keep], e.denied[keep], {name: p[keep] for name, p in e.true.items()},
    )  # fmt: skip


def _concatenate(parts: list[Encounters]) -> Encounters:
    def join(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    population = Population(
        np.concatenate([part.population.context for part in parts]),
        np.concatenate([part.population.values for part in parts]),
    )
    names = ("patient", "ordinal", "age", "admitted", "discharged", "died", "readmitted", "los_class", "cci", "denied")
    true = {name: np.concatenate([part.true[name] for part in parts]) for name in parts[0].true}
    columns = {name: join(name) for name in names}
    return Encounters(population=population, true=true, **columns)  # type: ignore[arg-type]
