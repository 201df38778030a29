"""How well anyone could do: with the true probabilities (latent), or with what a note says in its window (visible).

The visible ceiling is the posterior mean of the truth given the context (always stated, in the first sentence), what
each slot before the cutoff told, and which slots before the cutoff told nothing. Factors are independent given the
context and slots given their factor, so each factor's posterior is exact; the mean over factors is exact for the
Charlson index and quasi-Monte Carlo (Latin hypercube) for the rest. Two small liberties: a discharge summary says that
its patient lived, and a return within 30 days has an earlier admission; neither enters the posterior.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from lang1.tasks import BUILT_IN
from training.synth import factors, truth
from training.synth.arrow import Table, epoch_seconds, pa
from training.synth.conditions import CONDITIONS
from training.synth.config import CONFIG_KEY, SynthConfig
from training.synth.eras import NO_ERA, era_of
from training.synth.hospitals import mix_of_era
from training.synth.shifts import shifts_of
from training.synth.slots import SLOTS, UNTOLD, channels

Floats = npt.NDArray[np.float32]
Posterior = npt.NDArray[np.float64]

DRAWS = 512
_BLOCK = 256


def matrix(column: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A list column whose rows are equally long as an array (N, L)."""
    rows = len(column)
    flat = column.combine_chunks().flatten() if rows else pa.array([])
    return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=dtype).reshape(rows, -1)


def visible_probabilities(
    notes: Table, cutoff_chars: npt.NDArray[np.floating], draws: int = DRAWS
) -> dict[str, Floats]:
    """Task name to float32 (N, K), the visible ceiling's prediction for each of N notes.

    `notes` has the columns note_type, context, told and ends of the dataset, and authored where it has scenarios;
    `cutoff_chars[i]` is how many characters of note i's cleaned text are kept (np.inf for all). Rows whose note type a
    task is not trained on are nan. A reader of the ceiling knows of every scenario: it is how well anyone could do.
    """
    config = config_of(notes)
    if len(cutoff_chars) != notes.num_rows:
        raise ValueError(f"cutoff_chars has {len(cutoff_chars)} entries for {notes.num_rows} notes; give one per note")
    out = {
        task.name: np.full((notes.num_rows, len(task.options)), np.nan, dtype=np.float32) for task in BUILT_IN.values()
    }
    hospital = "first" if config is None else config.hospital
    types = np.asarray(notes["note_type"].to_pylist())
    eras = _eras(config, notes)
    for loinc, era in product(SLOTS, np.unique(eras).tolist()):
        rows = np.flatnonzero((types == loinc) & (eras == era))
        if not len(rows):
            continue
        part = notes.take(pa.array(rows))
        context = matrix(part["context"], np.int8)
        told, ends = matrix(part["told"], np.int8), matrix(part["ends"], np.int32)
        wanted = [task for task in BUILT_IN.values() if task.trained_on(loinc)]
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            kept = (ends[block] >= 0) & (ends[block] <= cutoff_chars[rows[block], None])
            posterior = posteriors(loinc, context[block], told[block], kept, hospital, era)
            chance = [task.label_rule for task in wanted if task.label_rule in truth.RULES]
            shifts = truth.USUAL if config is None else _shifts(config, part.slice(start, _BLOCK), chance)
            predicted = expected_probabilities(context[block], posterior, chance, draws, shifts)
            predicted |= {
                task.name: charlson_probabilities(posterior) for task in wanted if task.label_rule not in truth.RULES
            }
            for name, values in predicted.items():
                out[name][rows[block]] = values
    return out


def config_of(notes: Table) -> SynthConfig | None:
    """The configuration that the table carries; None for a plain hospital's, whose ceilings need none."""
    found = (notes.schema.metadata or {}).get(CONFIG_KEY)
    return None if found is None else SynthConfig.model_validate_json(found)


def _days(notes: Table) -> npt.NDArray[np.int64]:
    if "authored" not in notes.column_names:
        raise ValueError("the truth of these notes depends on when they were written; read them with authored")
    return epoch_seconds(notes["authored"]) // 86_400


def _eras(config: SynthConfig | None, notes: Table) -> npt.NDArray[np.int64]:
    if config is None or not config.eras:
        return np.full(notes.num_rows, NO_ERA)
    return era_of(_days(notes))


def _shifts(config: SynthConfig, notes: Table, rules: list[str]) -> truth.Shifts:
    """The part of eras and scenarios in the truth of these notes, by the day on which each was written."""
    if not (config.eras or config.scenarios):
        return truth.USUAL
    return shifts_of(config, dict.fromkeys(rules, _days(notes)))


def latent_probabilities(notes: Table) -> dict[str, Floats]:
    """Task name to float32 (N, K): the true probabilities, nan where the task has no label on the note."""
    out = {}
    for task in BUILT_IN.values():
        column = notes[f"true_{task.name}"].combine_chunks()
        values = np.full((notes.num_rows, len(task.options)), np.nan, dtype=np.float32)
        valid = np.asarray(column.is_valid())
        values[valid] = np.asarray(column.flatten()).reshape(-1, len(task.options))
        out[task.name] = values
    return out


def posteriors(
    loinc: str,
    context: npt.NDArray[np.generic],
    told: npt.NDArray[np.generic],
    kept: npt.NDArray[np.bool_],
    hospital: str = "first",
    era: int = NO_ERA,
) -> list[Posterior]:
    """P(value | context, kept slots) of every factor, float64 (N, V), from told (N, S) and kept (N, S)."""
    age, sex, reason = context.astype(np.int64).T
    out = [prior[age, sex, reason].copy() for prior in factors.priors(mix_of_era(hospital, era))]
    for index, (slot, channel) in enumerate(zip(SLOTS[loinc], channels(loinc, hospital), strict=True)):
        said = told[:, index].astype(np.int64)
        said = np.where(said == UNTOLD, channel.shape[1] - 1, said)
        likelihood = np.where(kept[:, index, None], channel.T[said], 1.0)
        out[slot.column] *= likelihood
    return [table / table.sum(axis=1, keepdims=True) for table in out]


@cache
def _hypercube(count: int, draws: int) -> Floats:
    rng = np.random.default_rng(20240101)
    middle = (np.arange(draws) + 0.5) / draws
    return np.stack([rng.permutation(middle) for _ in range(count)]).astype(np.float32)


class _Draws(Mapping[str, npt.NDArray[np.int8]]):
    """Values (N, D) of the factors by name, drawn when asked for; the context as (N, 1)."""

    def __init__(self, context: npt.NDArray[np.int8], posterior: list[Posterior], draws: int) -> None:
        self._known: dict[str, npt.NDArray[np.int8]] = truth.context_columns(context)
        self._posterior = posterior
        self._uniform = _hypercube(len(posterior), draws)

    def __getitem__(self, name: str) -> npt.NDArray[np.int8]:
        if name not in self._known:
            index = factors.column(name)
            edges = np.cumsum(self._posterior[index], axis=1)[:, :-1].astype(np.float32)
            uniform = self._uniform[index]
            values = np.zeros((len(edges), len(uniform)), dtype=np.int8)
            for k in range(edges.shape[1]):
                values += uniform > edges[:, k : k + 1]
            self._known[name] = values
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def expected_probabilities(
    context: npt.NDArray[np.generic],
    posterior: list[Posterior],
    rules: list[str],
    draws: int,
    shifts: truth.Shifts = truth.USUAL,
) -> dict[str, Floats]:
    """Mean of the true probabilities over draws from the posterior: task name to (N, K)."""
    columns = _Draws(context.astype(np.int8), posterior, draws)
    return {name: p.mean(axis=1) for name, p in truth.probabilities(columns, rules, shifts=shifts).items()}


def charlson_probabilities(posterior: list[Posterior]) -> Floats:
    """Exact P(class) of the Charlson index by convolution, float32 (N, 5)."""
    total = np.zeros((len(posterior[0]), truth.CCI_CAP + 1))
    total[:, 0] = 1.0
    for table, points in zip(posterior[: len(CONDITIONS)], truth.charlson_weights(), strict=True):
        total = truth.convolve_points(total, table, points)
    classes = truth.charlson_class(np.arange(truth.CCI_CAP + 1))
    return (total @ np.eye(classes.max() + 1)[classes]).astype(np.float32)
