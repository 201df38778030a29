"""Scenarios change what they say they change, from their day on, and nothing before or beside it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lang1.discrimination import macro_auroc, soft_auroc
from lang1.note_types import HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN
from training.synth import SynthConfig, generate, latent_probabilities, truth, visible_probabilities
from training.synth.arrow import Table, pa
from training.synth.config_file import SynthConfigError, synth_config
from training.synth.patients import draw_chunk
from training.synth.scenarios import MissingSections, NewVocabulary, NoteTemplate, PayerPolicy, PrevalenceShift
from training.synth.shifts import shifts_of
from training.synth.slots import SLOTS, UNTOLD

DAY = date(2022, 7, 1)
CONFIG = SynthConfig(patients=120, seed=4, first_year=2022, last_year=2022, temporal_years=(), mean_words=300)
DENIAL, READMISSION = truth.task_name("insurance_denial"), truth.task_name("readmission")
NOTE_COLUMNS = ["note_id", "text", "told", "ends"]


def made(*scenarios: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = next(iter(generate(CONFIG.model_copy(update={"scenarios": scenarios})))).to_pylist()
    return rows


@pytest.fixture(scope="module")
def usual() -> list[dict[str, Any]]:
    return made()


def halves(rows: list[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows by id, before DAY and from then on."""
    parts: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]] = ({}, {})
    for row in rows:
        parts[row["authored"].date() >= DAY][row["note_id"]] = row
    return parts


@pytest.mark.parametrize(
    "scenario", [NoteTemplate(first_day=DAY), NewVocabulary(first_day=DAY), PayerPolicy(first_day=DAY),
                 MissingSections(first_day=DAY, sections=("coverage", "history"), size=0.5)],
    ids=lambda scenario: scenario.kind,
)  # fmt: skip
def test_until_its_day_nothing_changes(scenario: Any, usual: list[dict[str, Any]]) -> None:
    changed = made(scenario)
    before, after = halves(usual)
    assert len(before) > 50
    assert halves(changed)[0] == before
    assert halves(changed)[1] != after


def test_a_template_and_new_words_tell_the_same_facts(usual: list[dict[str, Any]]) -> None:
    rows = made(NoteTemplate(first_day=DAY), NewVocabulary(first_day=DAY, size=1.0))
    for row, old in zip(rows, usual, strict=True):
        assert (row["told"], row["values"], row[f"label_{DENIAL}"]) == (
            old["told"],
            old["values"],
            old[f"label_{DENIAL}"],
        )
        if row["authored"].date() >= DAY:
            assert row["text"].startswith("[REASON FOR VISIT]")
            if row["note_type"] == HISTORY_AND_PHYSICAL.loinc:
                assert row["text"].splitlines()[-1].startswith("[PATIENT ACCESS]")
    after = [row["text"] for row in halves(rows)[1].values()]
    assert sum("portal status" in text or "case number" in text for text in after) > len(after) / 10
    assert not any("portal status" in row["text"] for row in halves(rows)[0].values())


def test_sizes_are_shares_of_the_notes(usual: list[dict[str, Any]]) -> None:
    rows = made(NoteTemplate(first_day=DAY, size=0.3), MissingSections(first_day=DAY, sections=("history",), size=0.6))
    after = list(halves(rows)[1].values())
    assert abs(np.mean(["[REASON FOR VISIT]" in row["text"] for row in after]) - 0.3) < 0.12
    gone = [row["ends"][0] == -1 for row in after]
    assert abs(np.mean(gone) - 0.6) < 0.12


def test_a_missing_section_tells_nothing_and_hides_nothing_else(usual: list[dict[str, Any]]) -> None:
    rows = made(MissingSections(first_day=DAY, sections=("coverage",), size=1.0, last_day=date(2022, 9, 30)))
    seen = 0
    for row, old in zip(rows, usual, strict=True):
        there = not DAY <= row["authored"].date() <= date(2022, 9, 30) or row["note_type"] != HISTORY_AND_PHYSICAL.loinc
        assert there == (row["text"] == old["text"])
        for slot, told, end, before in zip(SLOTS[row["note_type"]], row["told"], row["ends"], old["told"], strict=True):
            if there or slot.section != "coverage":
                assert told == before and end >= 0
            else:
                assert (told, end) == (UNTOLD, -1)
                seen += 1
    assert seen > 50


def test_what_a_note_lacks_is_no_evidence() -> None:
    """Silence in a section that is there speaks against a thing; a section that is not there says nothing."""
    table = pa.Table.from_pylist(made(MissingSections(first_day=date(2022, 1, 1), sections=("history",), size=1.0)))
    hp = table.filter([loinc == HISTORY_AND_PHYSICAL.loinc for loinc in table["note_type"].to_pylist()])
    whole = visible_probabilities(hp, np.full(hp.num_rows, np.inf))
    name = truth.task_name("charlson_comorbidity_index")
    # Background alone is left, which tells few: the mean stays that of all patients.
    assert abs(whole[name][:, 0].mean() - latent_probabilities(hp)[name][:, 0].mean()) < 0.06


def test_a_payer_policy_is_concept_drift_on_denial_alone(usual: list[dict[str, Any]]) -> None:
    rows = made(PayerPolicy(first_day=DAY))
    for row, old in zip(rows, usual, strict=True):
        assert {key: row[key] for key in NOTE_COLUMNS} == {key: old[key] for key in NOTE_COLUMNS}
        for task in BUILT_IN:
            if task != DENIAL:
                assert row[f"true_{task}"] == old[f"true_{task}"]
    later = [
        (row, old)
        for row, old in zip(rows, usual, strict=True)
        if row[f"true_{DENIAL}"] and row["authored"].date() >= DAY
    ]
    assert all(row[f"true_{DENIAL}"] != old[f"true_{DENIAL}"] for row, old in later)
    stays = draw_chunk(SynthConfig(patients=20_000, chunk_patients=20_000, seed=8), 0)
    columns = stays.population.columns()
    share = np.full((len(stays), 1), 0.5, dtype=np.float32)
    before, after = (
        truth.probabilities(columns, ["insurance_denial"], shifts=shifts)[DENIAL][:, 0, 1]
        for shifts in (truth.USUAL, truth.Shifts(policy=share))
    )
    # A perfect model of the old rules keeps its scores, and with them what it expects of itself.
    assert soft_auroc(before, before) > 0.88 > 0.72 > soft_auroc(before, after)
    assert 0.17 < after.mean() < 0.21
    # There is still something to learn.
    assert soft_auroc(after, after) > 0.76


@pytest.mark.parametrize("task", ["readmission_30d", "in_hospital_mortality", "insurance_denial"])
def test_a_prevalence_shift_adds_to_the_logit_of_its_task(task: str) -> None:
    config = CONFIG.model_copy(update={"patients": 2000, "scenarios": (PrevalenceShift(first_day=DAY, task=task),)})
    stays = draw_chunk(config, 0)
    expected = truth.probabilities(stays.population.columns(), [BUILT_IN[task].label_rule])[task][:, 0, 1]
    day = (stays.discharged if task == READMISSION else stays.admitted).astype("datetime64[D]")
    logit = {name: np.log(p / (1 - p)) for name, p in (("old", expected), ("new", stays.true[task][:, 1]))}
    shift = np.where(day >= np.datetime64(DAY), 0.7, 0.0)
    usual = np.abs(logit["old"]) < 9
    assert np.allclose((logit["new"] - logit["old"])[usual], shift[usual], atol=2e-2)
    assert 0.2 < (shift > 0).mean() < 0.8


def test_longer_stays_by_a_shift_and_two_scenarios_at_once() -> None:
    longer = PrevalenceShift(first_day=DAY, task="length_of_stay", size=1.0)
    rarer = PrevalenceShift(first_day=DAY, task="length_of_stay", size=-1.0, last_day=date(2022, 8, 31))
    days = np.array([(each - date(1970, 1, 1)).days for each in (date(2022, 6, 30), DAY, date(2022, 9, 1))])
    config = CONFIG.model_copy(update={"scenarios": (longer, rarer)})
    assert shifts_of(config, {"length_of_stay": days}).logit["length_of_stay"].ravel().tolist() == [0.0, 0.0, 1.0]
    half = PayerPolicy(first_day=DAY)
    both = shifts_of(config.model_copy(update={"scenarios": (half, half)}), {"insurance_denial": days}).policy
    assert both is not None and both.ravel().tolist() == [0.0, 0.75, 0.75]
    stays = draw_chunk(config.model_copy(update={"patients": 2000, "scenarios": (longer,)}), 0)
    late = stays.admitted.astype("datetime64[D]") >= np.datetime64(DAY)
    over = stays.true["length_of_stay"][:, 3]
    assert over[late].mean() > over[~late].mean() + 0.08


def test_the_ceilings_know_every_scenario() -> None:
    scenarios = (
        PayerPolicy(first_day=DAY, size=1.0), NoteTemplate(first_day=DAY), NewVocabulary(first_day=DAY),
        MissingSections(first_day=DAY, sections=("coverage",), size=0.3),
        PrevalenceShift(first_day=DAY, task=READMISSION, size=1.5),
    )  # fmt: skip
    config = CONFIG.model_copy(update={"patients": 700, "scenarios": scenarios})
    notes: Table = next(iter(generate(config)))
    late = notes.filter([each.date() >= DAY for each in notes["authored"].to_pylist()])
    visible = visible_probabilities(late, np.full(late.num_rows, np.inf), draws=256)
    latent = latent_probabilities(late)
    for task in BUILT_IN:
        here = ~np.isnan(latent[task][:, 0])
        miss = visible[task][here] - latent[task][here]
        assert (np.abs(miss.mean(axis=0)) < 0.004 + 4 * miss.std(axis=0) / np.sqrt(len(miss))).all(), task
        assert macro_auroc(latent[task][here], latent[task][here]) > macro_auroc(
            visible[task][here], latent[task][here]
        )
    with pytest.raises(ValueError, match="authored"):
        visible_probabilities(late.drop_columns(["authored"]), np.full(late.num_rows, np.inf))


def test_first_and_last_day_are_included() -> None:
    scenario = PayerPolicy(first_day=DAY, last_day=date(2022, 7, 2))
    days = np.array(
        [(date(2022, month, day) - date(1970, 1, 1)).days for month, day in ((6, 30), (7, 1), (7, 2), (7, 3))]
    )
    assert scenario.holds(days).tolist() == [False, True, True, False]


def test_a_file_of_knobs(tmp_path: Path) -> None:
    file = tmp_path / "knobs.yaml"
    file.write_text(
        "mean_words: 300\nscenarios:\n  - {kind: payer_policy, first_day: 2020-01-01, size: 0.4}\n", "utf-8"
    )
    config = synth_config("plain", file, {"seed": 9}, patients=50)
    assert (config.patients, config.seed, config.mean_words) == (50, 9, 300)
    assert config.scenarios == (PayerPolicy(first_day=date(2020, 1, 1), size=0.4),)
    assert SynthConfig.model_validate_json(config.model_dump_json()) == config
    file.write_text("scenarios: [{kind: note_template, first_day: 2020-01-01, late: [story]}]", "utf-8")
    with pytest.raises(SynthConfigError, match=r"knobs.yaml: scenarios.0.note_template.late.0"):
        synth_config("plain", file, {}, patients=50)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "payer_policy", "first_day": "2030-01-01"},
     {"kind": "payer_policy", "first_day": "2020-01-01", "size": 0},
     {"kind": "prevalence_shift", "first_day": "2020-01-01", "task": "charlson_comorbidity_index"},
     {"kind": "note_template", "first_day": "2020-01-01", "last_day": "2019-01-01"},
     {"kind": "missing_sections", "first_day": "2020-01-01", "sections": ["story"]}],
)  # fmt: skip
def test_impossible_scenarios_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SynthConfig.model_validate({"patients": 1, "scenarios": [wrong]}, strict=False)
