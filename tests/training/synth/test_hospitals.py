"""The second hospital and the paper's years: other patients and other notes, the same exact ceilings."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from lang1.discrimination import macro_auroc
from lang1.note_types import HISTORY_AND_PHYSICAL
from lang1.notes import check_scorable, clean_text
from lang1.tasks import BUILT_IN
from training.synth import SynthConfig, factors, generate, latent_probabilities, truth, visible_probabilities
from training.synth.arrow import Table
from training.synth.calibrate_eras import TARGETS
from training.synth.ceiling import charlson_probabilities, posteriors
from training.synth.chunk import split_on
from training.synth.config import HeldOut
from training.synth.eras import ERAS
from training.synth.hospitals import HOSPITALS
from training.synth.patients import concatenate, draw_chunk
from training.synth.presets import PRESETS
from training.synth.slots import HP_SLOTS, UNTOLD

SECOND = SynthConfig(patients=350, seed=21, hospital="second", mean_words=300, first_year=2022, last_year=2023)


@pytest.fixture(scope="module")
def second() -> Table:
    return next(iter(generate(SECOND)))


def test_the_second_house_has_other_patients(second: Table) -> None:
    here, there = (
        draw_chunk(SynthConfig(patients=20_000, chunk_patients=20_000, seed=3, hospital=name), 0)
        for name in ("first", "second")
    )
    assert there.age.mean() > here.age.mean() + 3
    index = {name: each.cci.mean() for name, each in (("first", here), ("second", there))}
    assert index["second"] > index["first"] * 1.1
    dies = truth.task_name("in_hospital_mortality")
    assert there.true[dies][:, 1].mean() > here.true[dies][:, 1].mean() * 1.2
    # The truth of how outcomes come about is the same.
    again = truth.probabilities(there.population.columns(), ["in_hospital_mortality"])[dies][:, 0]
    assert np.array_equal(again, there.true[dies])


def test_the_second_house_writes_otherwise(second: Table) -> None:
    first = next(iter(generate(SECOND.model_copy(update={"hospital": "first", "patients": 30}))))
    heads = [
        {line.split(":")[0] for text in t["text"].to_pylist() for line in text.splitlines()} for t in (first, second)
    ]
    assert len(heads[0] & heads[1]) < 3
    for text in second["text"].to_pylist():
        assert clean_text(text) == text.replace("\n", " ")
        check_scorable(clean_text(text))


@pytest.mark.parametrize("cut", [np.inf, 900.0])
def test_the_ceiling_of_the_second_house_is_calibrated(second: Table, cut: float) -> None:
    visible = visible_probabilities(second, np.full(second.num_rows, cut), draws=256)
    latent = latent_probabilities(second)
    for task in BUILT_IN:
        here = ~np.isnan(latent[task][:, 0])
        miss = visible[task][here] - latent[task][here]
        assert (np.abs(miss.mean(axis=0)) < 0.004 + 4 * miss.std(axis=0) / np.sqrt(len(miss))).all(), task
        assert macro_auroc(visible[task][here], latent[task][here]) > 0.6


def test_with_nothing_read_the_ceiling_is_the_houses_own_prior(second: Table) -> None:
    visible = visible_probabilities(second, np.zeros(second.num_rows), draws=64)
    context = np.array(second["context"].to_pylist()).T
    priors = [table[tuple(context)] for table in factors.priors(HOSPITALS["second"].mix)]
    name = truth.task_name("charlson_comorbidity_index")
    here = ~np.isnan(visible[name][:, 0])
    assert np.allclose(visible[name][here], charlson_probabilities(priors)[here], atol=1e-6)
    told = np.full((1, len(HP_SLOTS)), UNTOLD, dtype=np.int8)
    silent = [
        posteriors(HISTORY_AND_PHYSICAL.loinc, np.array([[2, 0, 1]]), told, told == told, house)[
            factors.column("frailty")
        ]
        for house in ("first", "second")
    ]
    # A house that nearly always writes of frailty is believed when it does not.
    assert silent[1][0, 0] != pytest.approx(silent[0][0, 0], abs=0.01)


@pytest.mark.parametrize("era", range(len(ERAS)))
def test_ratios_are_the_papers_of_each_period(era: int) -> None:
    """Within 1 point; classes under 5% within a fifth of their size."""
    year, readmission, mortality, denial, stays_ratio, index = TARGETS[era]
    knobs = PRESETS["full"] | {"temporal_years": (), "held_out": (), "chunk_patients": 50_000}
    config = SynthConfig(patients=100_000, seed=1, **knobs | {"first_year": year, "last_year": year})
    stays = concatenate([draw_chunk(config, number) for number in range(2)])
    wanted = {
        "readmission": (readmission,), "in_hospital_mortality": (mortality,), "insurance_denial": (denial,),
        "length_of_stay": stays_ratio, "charlson_comorbidity_index": index,
    }  # fmt: skip
    for rule, ratios in wanted.items():
        true = stays.true[truth.task_name(rule)]
        found = (true[~stays.died] if rule == "readmission" else true).mean(axis=0)
        for value, ratio in zip(found[-len(ratios) :], ratios, strict=True):
            # Of the rarest class there are about 50 here: its own sampling noise is allowed beside.
            noise = 2 * np.sqrt(ratio / len(true)) if rule == "charlson_comorbidity_index" else 0.0
            assert abs(value - ratio) < (0.01 if ratio >= 0.05 else 0.2 * ratio + noise), (rule, found, ratios)


def test_long_notes_are_long_and_their_facts_late() -> None:
    knobs = PRESETS["full"] | {"chunk_patients": 60, "first_year": 2023, "spread_words": 0.1}
    config = SynthConfig(patients=60, seed=2, **knobs)
    notes = next(iter(generate(config)))
    words = [text.count(" ") + 1 for text in notes["text"].to_pylist()]
    assert 900 < np.mean(words) < 1100
    hp = notes.filter([loinc == HISTORY_AND_PHYSICAL.loinc for loinc in notes["note_type"].to_pylist()])
    latent, chars = latent_probabilities(hp), np.full(hp.num_rows, 3000.0)
    # Truncation costs something.
    whole, cut = (visible_probabilities(hp, each, draws=128) for each in (chars * np.inf, chars))
    task = truth.task_name("insurance_denial")
    assert macro_auroc(whole[task], latent[task]) > macro_auroc(cut[task], latent[task]) + 0.02
    for text in notes["text"].to_pylist():
        assert clean_text(text) == text.replace("\n", " ")


def test_people_grow_older_and_summaries_follow_admissions() -> None:
    config = SynthConfig(patients=3000, seed=6, true_calendar=True, chunk_patients=3000)
    stays = draw_chunk(config, 0)
    ages = (stays.admitted - stays.born) / 365.25
    assert np.array_equal(np.floor(ages), stays.age)
    assert (np.diff(stays.age[np.lexsort((stays.ordinal, stays.patient))]) > 0).any()
    bands = np.searchsorted([18, 35, 50, 65, 80], stays.age, side="right") - 1
    assert np.array_equal(bands, stays.population.context[:, 0])
    notes = next(iter(generate(config.model_copy(update={"patients": 300, "mean_words": 280}))))
    first: dict[str, object] = {}
    for row in notes.select(["encounter_id", "authored", "note_type"]).to_pylist():
        if row["note_type"] == HISTORY_AND_PHYSICAL.loinc:
            first[row["encounter_id"]] = row["authored"]
        else:
            assert row["authored"] > first[row["encounter_id"]]


def test_a_hospital_at_rest_has_returns_from_the_first_month() -> None:
    usual = SynthConfig(patients=20_000, chunk_patients=20_000, first_year=2022, last_year=2022, temporal_years=())
    share = []
    for warm_up in (0, 4):
        stays = draw_chunk(usual.model_copy(update={"warm_up_years": warm_up}), 0)
        days = stays.admitted - np.datetime64("2022-01-01").astype(np.int64)
        assert days.min() >= 0
        share.append([(stays.ordinal[(days // 91) == quarter] > 0).mean() for quarter in (0, 3)])
    assert share[0][0] < 0.6 * share[0][1]
    assert abs(share[1][0] - share[1][1]) < 0.03


def test_held_out_periods_are_splits_of_their_own() -> None:
    autumn = HeldOut(name="temporal_2021", first_day=date(2021, 6, 1), last_day=date(2021, 12, 31))
    config = SynthConfig(patients=1, held_out=(autumn,))
    assert split_on(config, "p", date(2021, 6, 1)) == "temporal_2021"
    assert split_on(config, "p", date(2021, 5, 31)) in ("train", "val", "test")
    assert split_on(config, "p", date(2024, 1, 1)) == "temporal_2024"
