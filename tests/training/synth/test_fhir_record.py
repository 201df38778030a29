"""The export: valid R4 to two validators that are not ours, whole, in order of time, and what the stays were."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lang1.charlson import IcdVersion, charlson_index, is_code
from lang1.tasks import BUILT_IN
from tests.node_validator import validate_r4
from training.synth import SynthConfig, write_dataset
from training.synth.arrow import pq
from training.synth.conditions import CONDITIONS
from training.synth.fhir_export import FhirOptions, fhir_feed
from training.synth.icd import COMMON, CONDITION_CODES, FIRST_DAY_OF_ICD_10, REASON_CODES, version_on

CONFIG = SynthConfig(patients=90, seed=12, mean_words=280, first_year=2014, last_year=2017, temporal_years=())
Resource = dict[str, Any]
Export = dict[str, list[Resource]]


def exported(folder: Path) -> Export:
    return {
        path.stem: [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
        for path in sorted((folder / "fhir").glob("*.ndjson"))
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fhir")
    write_dataset(CONFIG, made, fhir=FhirOptions())
    return made


@pytest.fixture(scope="module")
def export(folder: Path) -> Export:
    return exported(folder)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_two_validators_find_nothing(export: Export) -> None:
    sample = [each for kind in export.values() for each in kind[:8]]
    sample += [each for each in export["Encounter"] if each["status"] == "in-progress"][:5]
    sample += [each for each in export["Claim"] if "related" in each][:5]
    sample += [each for each in export["Patient"] if "deceasedDateTime" in each][:5]
    assert {each["resourceType"] for each in sample} >= {"Patient", "Claim", "ExplanationOfBenefit", "Location"}
    for each, problems in zip(sample, validate_r4(sample), strict=True):
        assert problems == [], each["resourceType"]
    for each in sample:
        kind = each["resourceType"]
        getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind).model_validate(each)


def test_every_reference_is_in_the_export(export: Export) -> None:
    ids = {f"{kind}/{each['id']}" for kind, found in export.items() for each in found}
    assert len(ids) == sum(map(len, export.values()))
    named = {name for found in export.values() for each in found for name in references(each)}
    # The end of the record cuts off what a claim or a code would still refer to, never the other way round.
    assert named <= ids
    assert all(each["meta"]["security"][0]["code"] == "HTEST" for found in export.values() for each in found)


def test_diagnoses_are_the_charlson_index_of_the_notes_table(export: Export, folder: Path) -> None:
    codes: dict[str, list[tuple[str, IcdVersion]]] = defaultdict(list)
    for each in export["Condition"]:
        [coding] = each["code"]["coding"]
        version = IcdVersion.ICD_10_CM if coding["system"].endswith("icd-10-cm") else IcdVersion.ICD_9_CM
        assert is_code(coding["code"], version)
        codes[each["encounter"]["reference"].removeprefix("Encounter/")].append((coding["code"], version))
    ended = {each["id"]: each["period"].get("end", "9999") for each in export["Encounter"]}
    task = next(task for task in BUILT_IN.values() if task.label_rule == "charlson_comorbidity_index")
    label, bounds, checked = f"label_{task.name}", (0, 2, 4, 7), 0
    for row in pq.read_table(folder / "notes.parquet").to_pylist():
        if row[label] >= 0 and row["encounter_id"] in codes:
            found = codes[row["encounter_id"]]
            [version] = {version for _, version in found}
            assert (version is IcdVersion.ICD_10_CM) == (ended[row["encounter_id"]] >= "2015-10-01")
            index = charlson_index([code for code, _ in found], version)
            assert sum(index > bound for bound in bounds) == row[label]
            checked += 1
    assert checked > 60
    assert version_on(FIRST_DAY_OF_ICD_10 - 1) is IcdVersion.ICD_9_CM


@pytest.mark.parametrize("version", IcdVersion)
def test_every_code_weighs_what_its_condition_does(version: IcdVersion) -> None:
    for condition in CONDITIONS:
        for form, coded in zip(condition.levels, CONDITION_CODES[condition.name], strict=True):
            for code in coded.codes(version):
                assert (charlson_index([code], version), is_code(code, version)) == (form.weight, True), code
    for coded in (*REASON_CODES.values(), *(each for each, _ in COMMON)):
        for code in coded.codes(version):
            assert (charlson_index([code], version), is_code(code, version)) == (0, True), code


def test_the_feed_is_in_order_and_ends_where_the_export_does(export: Export) -> None:
    latest: dict[tuple[str, str], Resource] = {}
    before = datetime(1970, 1, 1, tzinfo=UTC)
    for at, each in fhir_feed(CONFIG, date(2014, 1, 1), date(2017, 12, 31)):
        assert before <= at
        before = at
        key = each["resourceType"], each["id"]
        assert key not in latest or int(each["meta"]["versionId"]) > int(latest[key]["meta"]["versionId"])
        latest[key] = each
    assert latest == {(each["resourceType"], each["id"]): each for found in export.values() for each in found}
    assert all(
        at.date() == date(2016, 3, 1)
        for at, each in fhir_feed(
            CONFIG, date(2016, 3, 1), date(2016, 3, 1), lambda each: each["resourceType"] == "Claim"
        )
    )


def test_an_export_knows_nothing_of_later_days(tmp_path: Path, export: Export) -> None:
    # The middle of a long stay.
    stays = [each["period"] for each in export["Encounter"] if "end" in each["period"]]
    days = [(date.fromisoformat(each["start"][:10]), date.fromisoformat(each["end"][:10])) for each in stays]
    day = next(start for start, end in days if (end - start).days > 4) + timedelta(days=2)
    write_dataset(CONFIG, tmp_path, fhir=FhirOptions(as_of=day, binaries=True))
    export = exported(tmp_path)
    assert all(each["meta"]["lastUpdated"] < day.isoformat() for found in export.values() for each in found)
    states = {each["status"] for each in export["Encounter"]}
    assert states == {"finished", "in-progress"}
    for each in export["Encounter"]:
        assert (each["status"] == "finished") == ("end" in each["period"])
    texts = {each["id"]: each["data"] for each in export["Binary"]}
    for each in export["DocumentReference"]:
        attachment = each["content"][0]["attachment"]
        assert "data" not in attachment and attachment["url"].removeprefix("Binary/") in texts


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"chunk_patients": 20, "scenarios": ()})
    one = write_dataset(config, tmp_path / "one", fhir=FhirOptions())
    two = write_dataset(config, tmp_path / "two", fhir=FhirOptions(), workers=2)
    assert (one.notes_sha256, one.files_sha256) == (two.notes_sha256, two.files_sha256)
