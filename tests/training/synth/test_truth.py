"""The outcomes come in the paper's ratios of 2024, and the Charlson index is exact."""

from __future__ import annotations

import numpy as np
import pytest

from lang1.discrimination import macro_auroc
from training.synth import SynthConfig, factors, truth
from training.synth.conditions import CONDITIONS
from training.synth.patients import Encounters, draw_chunk

# Lang1 paper, class ratios of the temporal test 2024, by label rule.
RATIOS = {
    "readmission": (0.887, 0.113),
    "in_hospital_mortality": (0.9822, 0.0178),
    "length_of_stay": (0.456, 0.145, 0.160, 0.239),
    "charlson_comorbidity_index": (0.684, 0.217, 0.0675, 0.0294, 0.0017),
    "insurance_denial": (0.861, 0.139),
}
AUROC = {
    "readmission": 0.83, "in_hospital_mortality": 0.93, "length_of_stay": 0.79, "charlson_comorbidity_index": 0.999,
    "insurance_denial": 0.86,
}  # fmt: skip


@pytest.fixture(scope="module")
def encounters() -> Encounters:
    return draw_chunk(SynthConfig(patients=60_000, chunk_patients=60_000, seed=3), 0)


@pytest.mark.parametrize("rule", RATIOS)
def test_class_ratios_are_the_papers(rule: str, encounters: Encounters) -> None:
    probabilities = encounters.true[truth.task_name(rule)]
    if rule == "readmission":
        probabilities = probabilities[~encounters.died]
    for found, wanted in zip(probabilities.mean(axis=0), RATIOS[rule], strict=True):
        # The rarest class is 0.17%: about 150 rows here, so its own sampling noise is allowed beside the tolerance.
        noise = 2 * np.sqrt(wanted / len(probabilities)) if rule == "charlson_comorbidity_index" else 0.0
        assert abs(found - wanted) < (0.01 if wanted >= 0.05 else 0.2 * wanted + noise)


@pytest.mark.parametrize("rule", RATIOS)
def test_truth_separates_well(rule: str, encounters: Encounters) -> None:
    probabilities = encounters.true[truth.task_name(rule)]
    assert macro_auroc(probabilities, probabilities) > AUROC[rule]


def test_labels_follow_the_truth(encounters: Encounters) -> None:
    dies = encounters.true[truth.task_name("in_hospital_mortality")][:, 1]
    assert abs(encounters.died.mean() - dies.mean()) < 4 * np.sqrt(dies.mean() / len(dies))
    at_death = np.bincount(encounters.los_class[encounters.died], minlength=4) / encounters.died.sum()
    assert np.abs(at_death - truth.LOS_GIVEN_DEATH).max() < 0.05
    assert (encounters.discharged >= encounters.admitted).all()


def test_charlson_index_counts_the_severe_form_once() -> None:
    values = np.zeros((1, len(factors.all_factors())), dtype=np.int8)
    values[0, factors.column("liver")] = 2
    values[0, factors.column("tumor")] = 4
    values[0, factors.column("diabetes")] = 1
    index = truth.charlson_index(values)
    assert index.tolist() == [3 + 6 + 1]
    assert truth.charlson_class(np.arange(10)).tolist() == [0, 1, 1, 2, 2, 3, 3, 3, 4, 4]
    assert sum(len(condition.levels) for condition in CONDITIONS) == 19


def test_every_effect_has_one_weight_per_value() -> None:
    levels = {factor.name: factor.levels for factor in factors.all_factors()}
    levels |= {"age_band": len(factors.AGE_BANDS), "reason": len(factors.REASONS), "sex": 2}
    for effects in (truth.READMISSION, truth.MORTALITY, truth.LENGTH_OF_STAY, truth.DENIAL):
        for name, weights in effects.items():
            assert len(weights) == levels[name], name
