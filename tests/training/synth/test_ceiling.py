"""The visible ceiling: what the note says, weighed exactly; never above the truth itself."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.discrimination import macro_auroc
from lang1.note_types import HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN, Task
from training.synth import ceiling, factors, latent_probabilities, visible_probabilities
from training.synth.arrow import Table
from training.synth.slots import HP_SLOTS, SLOTS, UNTOLD, channels

TASKS = tuple(BUILT_IN.values())
VISIBLE_FLOOR = {
    "readmission": 0.78, "in_hospital_mortality": 0.88, "length_of_stay": 0.75, "charlson_comorbidity_index": 0.95,
    "insurance_denial": 0.82,
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_latent_beats_visible_beats_a_short_window(task: Task, notes: Table) -> None:
    everything = visible_probabilities(notes, np.full(notes.num_rows, np.inf), draws=256)[task.name]
    short = visible_probabilities(notes, np.full(notes.num_rows, 400.0), draws=256)[task.name]
    truth = latent_probabilities(notes)[task.name]
    here = ~np.isnan(truth[:, 0])
    assert (np.isnan(everything[:, 0]) == ~here).all()
    latent, visible, cut = (macro_auroc(p[here], truth[here]) for p in (truth, everything, short))
    assert latent > visible - 0.005
    assert visible > cut + 0.02
    assert visible > VISIBLE_FLOOR[task.label_rule] - 0.02
    # A posterior mean is calibrated: its average is the truth's.
    assert np.abs(everything[here].mean(axis=0) - truth[here].mean(axis=0)).max() < 0.012
    assert np.allclose(everything[here].sum(axis=1), 1, atol=1e-4)


def test_nothing_read_gives_the_prior_of_the_context(notes: Table) -> None:
    part = notes.slice(0, 200)
    hp = part.filter([loinc == HISTORY_AND_PHYSICAL.loinc for loinc in part["note_type"].to_pylist()])
    context = ceiling.matrix(hp["context"], np.int8)
    told, ends = ceiling.matrix(hp["told"], np.int8), ceiling.matrix(hp["ends"], np.int32)
    found = ceiling.posteriors(HISTORY_AND_PHYSICAL.loinc, context, told, ends <= 0)
    for table, prior in zip(found, factors.priors(), strict=True):
        assert np.allclose(table, prior[context[:, 0], context[:, 1], context[:, 2]])


def test_silence_counts_as_evidence_of_absence() -> None:
    context = np.array([[2, 0, 1]], dtype=np.int8)
    told = np.full((1, len(HP_SLOTS)), UNTOLD, dtype=np.int8)
    read, unread = (
        ceiling.posteriors(HISTORY_AND_PHYSICAL.loinc, context, told, np.full(told.shape, kept))
        for kept in (True, False)
    )
    at = factors.column("pulmonary")
    assert read[at][0, 1] < 0.2 * unread[at][0, 1]


def test_charlson_is_certain_when_every_condition_is_known() -> None:
    known = [np.eye(factor.levels)[[0]] for factor in factors.all_factors()]
    known[factors.column("diabetes")] = np.eye(3)[[2]]
    known[factors.column("infarction")] = np.eye(2)[[1]]
    assert np.allclose(ceiling.charlson_probabilities(known), [[0, 0, 1, 0, 0]])


@pytest.mark.parametrize("loinc", SLOTS)
def test_channels_are_distributions(loinc: str) -> None:
    for table in channels(loinc):
        assert np.allclose(table.sum(axis=1), 1)
        assert (table >= 0).all()


def test_a_cutoff_per_note_is_asked_for(notes: Table) -> None:
    with pytest.raises(ValueError, match="one per note"):
        visible_probabilities(notes.slice(0, 3), np.zeros(2))
