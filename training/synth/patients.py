"""Draw patients and their encounters: context, factors, outcomes and dates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from training.synth import factors, truth
from training.synth.conditions import CONDITIONS
from training.synth.config import SynthConfig
from training.synth.eras import NO_ERA, era_of
from training.synth.factors import AGE_BANDS, DISEASE_REASONS, REASONS, SEX_PRIOR, USUAL_MIX, CaseMix
from training.synth.hospitals import hospital_of, mix_of_era
from training.synth.shifts import shifts_of

Ints = npt.NDArray[np.int8]
Days = npt.NDArray[np.int64]

MAX_ENCOUNTERS = 3
RETURNS = (0.36, 0.30)
"""Chance of a second and of a third recorded encounter; a readmission always has its encounter, up to the third."""
# Factors that belong to the person: every encounter reads them off the same draw.
PERSONAL = frozenset((*(condition.name for condition in CONDITIONS), "payer", "support", "substance", "code_status"))
DAYS_A_YEAR = 365.25
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
    born: Days
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
def _cumulative_priors(mix: CaseMix = USUAL_MIX) -> tuple[npt.NDArray[np.float64], ...]:
    return tuple(np.cumsum(prior, axis=-1) for prior in factors.priors(mix))


def _values(context: Ints, uniform: npt.NDArray[np.float64], mix: CaseMix = USUAL_MIX) -> Ints:
    """Inverse-CDF draw of every factor: context (N, 3) and uniforms (N, F) to values (N, F)."""
    age, sex, reason = context.T
    out = np.empty(uniform.shape, dtype=np.int8)
    for index, cumulative in enumerate(_cumulative_priors(mix)):
        # The top of the distribution is the rare end, so that a higher prior only adds disease to the same person.
        edges = cumulative[age, sex, reason][:, :-1]
        out[:, index] = (uniform[:, index : index + 1] > edges).sum(axis=1)
    return out


def _values_on(config: SynthConfig, context: Ints, uniform: npt.NDArray[np.float64], days: Days) -> Ints:
    """The factors' values of stays that begin on `days` (N,), by the case mix of hospital and era."""
    eras = era_of(days) if config.eras else np.full(len(days), NO_ERA)
    out = np.empty(uniform.shape, dtype=np.int8)
    for era in np.unique(eras).tolist():
        here = eras == era
        out[here] = _values(context[here], uniform[here], mix_of_era(config.hospital, era))
    return out


def _pick(rng: np.random.Generator, table: npt.NDArray[np.float64]) -> Ints:
    """One draw per row of a (N, V) table of probabilities."""
    above = rng.random((len(table), 1)) > np.cumsum(table, axis=1)[:, :-1]
    return np.asarray(above.sum(axis=1), dtype=np.int8)


def _contexts(rng: np.random.Generator, n: int, mix: CaseMix = USUAL_MIX) -> Ints:
    age = rng.choice(len(AGE_BANDS), size=n, p=factors.age_prior(mix))
    sex = rng.choice(2, size=n, p=SEX_PRIOR)
    return np.stack([age, sex, _pick(rng, factors.reasons_by_age(mix)[age])], axis=1).astype(np.int8)


def draw_population(rng: np.random.Generator, n: int) -> Population:
    """`n` independent encounters, for calibration and tests."""
    context = _contexts(rng, n)
    return Population(context, _values(context, rng.random((n, len(factors.all_factors())))))


def _next_reason(rng: np.random.Generator, context: Ints, mix: CaseMix) -> Ints:
    """A later encounter's context: a disease keeps its reason; the others are drawn anew among themselves."""
    table = factors.reasons_by_age(mix)[context[:, 0]]
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
    start, end = _first_day(config.first_year - config.warm_up_years), _first_day(config.last_year + 1)
    mix = hospital_of(config).mix
    context = _contexts(rng, n, mix)
    ages = np.array(AGE_BANDS)[context[:, 0]]
    age = rng.integers(ages[:, 0], ages[:, 1] + 1)
    person = rng.random((n, len(factors.all_factors())))
    personal = np.array([factor.name in PERSONAL for factor in factors.all_factors()])
    here = np.arange(n)
    admitted = rng.integers(start, end, size=n)
    born = _born(config, chunk, age, admitted)
    rounds: list[Encounters] = []
    soon, left = np.zeros(n, dtype=np.bool_), admitted
    for ordinal in range(MAX_ENCOUNTERS):
        uniform = np.where(personal, person[here], rng.random((len(here), len(personal))))
        # Of a later stay: as of the discharge before it, to know how soon it comes.
        values = _values_on(config, context, uniform, left)
        if ordinal:
            # Someone who is back within 30 days has been admitted in the last half year.
            used = factors.column("prior_use")
            values[:, used] = np.where(soon, np.maximum(values[:, used], 1), values[:, used])
            gap = np.where(soon, rng.integers(2, 31, len(here)), _gap(rng, values[:, used]))
            admitted = left + gap
            if config.true_calendar or config.eras:
                context = _grown(context, _age(born[here], admitted)) if config.true_calendar else context
                used_before = values[:, used]
                values = _values_on(config, context, uniform, admitted)
                values[:, used] = used_before
        years = _age(born[here], admitted) if config.true_calendar else age[here]
        who = first + here, np.full(len(here), ordinal), years, born[here]
        encounters = _outcomes(config, rng, Population(context, values), who, admitted)
        keep = encounters.admitted < end
        rounds.append(take(encounters, keep))
        if ordinal + 1 == MAX_ENCOUNTERS:
            break
        soon = encounters.readmitted == 1
        again = keep & ~encounters.died & (soon | (rng.random(len(here)) < RETURNS[ordinal]))
        here, soon, left = here[again], soon[again], encounters.discharged[again]
        context = _next_reason(rng, context[again], mix)
    drawn = concatenate(rounds)
    return take(drawn, drawn.admitted >= _first_day(config.first_year)) if config.warm_up_years else drawn


def _born(config: SynthConfig, chunk: int, age: Days, admitted: Days) -> Days:
    """The day of birth of patients who are `age` years old on their first admission."""
    into_year = np.random.default_rng([config.seed, chunk, 5]).integers(1, 365, len(age))
    return np.asarray(admitted - np.floor(age * DAYS_A_YEAR).astype(np.int64) - into_year)


def _grown(context: Ints, age: Days) -> Ints:
    """The context with the band of the age on admission."""
    after = context.copy()
    after[:, 0] = np.searchsorted([low for low, _ in AGE_BANDS], age, side="right") - 1
    return after


def _age(born: Days, day: Days) -> Days:
    """Full years of age on a day."""
    return np.asarray(np.floor((day - born) / DAYS_A_YEAR), dtype=np.int64)


def _first_day(year: int) -> int:
    return int((np.datetime64(f"{year}-01-01") - np.datetime64("1970-01-01")).astype(np.int64))


def _gap(rng: np.random.Generator, prior_use: Ints) -> Days:
    """Days to the next admission, consistent with what it will say of the last 12 months."""
    recent = rng.integers(31, 330, len(prior_use))
    return np.where(prior_use > 0, recent, rng.integers(370, 1400, len(prior_use)))


def _outcomes(
    config: SynthConfig,
    rng: np.random.Generator,
    population: Population,
    who: tuple[Days, Days, Days, Days],
    admitted: Days,
) -> Encounters:
    """The encounters of `who` (patient, ordinal, age, born; each (N,)) with what comes of them."""
    n = len(admitted)
    columns = population.columns()
    at_admission = dict.fromkeys((rule for rule in truth.RULES if rule != "readmission"), admitted)
    shifts = shifts_of(config, at_admission)
    true = {name: p[:, 0] for name, p in truth.probabilities(columns, at_admission, shifts=shifts).items()}
    died = rng.random(n) < true[truth.task_name("in_hospital_mortality")][:, 1]
    comes_back = rng.random(n)
    denied = (rng.random(n) < true[truth.task_name("insurance_denial")][:, 1]).astype(np.int8)
    score = truth.stay_score(columns, truth.CONSTANTS, shifts)
    alive = truth.los_given_alive(score, truth.CONSTANTS, shifts.los_steps)[:, 0]
    los_class = _pick(rng, np.where(died[:, None], truth.LOS_GIVEN_DEATH, alive).astype(np.float64))
    bounds = np.array(_DAYS_OF_CLASS)[los_class]
    days = rng.integers(bounds[:, 0], bounds[:, 1])
    # Whether somebody comes back is told from the discharge summary, so its day decides.
    at_discharge = shifts_of(config, {"readmission": admitted + days})
    for name, p in truth.probabilities(columns, ("readmission",), shifts=at_discharge).items():
        true[name] = p[:, 0]
        readmitted = (comes_back < p[:, 0, 1]).astype(np.int8)
    cci = truth.charlson_index(population.values)
    true[truth.task_name("charlson_comorbidity_index")] = np.eye(5, dtype=np.float32)[truth.charlson_class(cci)]
    return Encounters(
        population, *who, admitted, admitted + days, died,
        np.where(died, -1, readmitted).astype(np.int8), los_class, cci, denied, true,
    )  # fmt: skip


def take(e: Encounters, keep: npt.NDArray[np.bool_]) -> Encounters:
    """Those of the encounters (N,) that `keep` names."""
    return Encounters(
        Population(e.population.context[keep], e.population.values[keep]), e.patient[keep], e.ordinal[keep],
        e.age[keep], e.born[keep], e.admitted[keep], e.discharged[keep], e.died[keep], e.readmitted[keep],
        e.los_class[keep], e.cci[keep], e.denied[keep], {name: p[keep] for name, p in e.true.items()},
    )  # fmt: skip


def concatenate(parts: list[Encounters]) -> Encounters:
    """The encounters of all parts."""

    def join(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    population = Population(
        np.concatenate([part.population.context for part in parts]),
        np.concatenate([part.population.values for part in parts]),
    )
    names = (
        "patient", "ordinal", "age", "born", "admitted", "discharged", "died", "readmitted", "los_class", "cci",
        "denied",
    )  # fmt: skip
    true = {name: np.concatenate([part.true[name] for part in parts]) for name in parts[0].true}
    columns = {name: join(name) for name in names}
    return Encounters(population=population, true=true, **columns)  # type: ignore[arg-type]
