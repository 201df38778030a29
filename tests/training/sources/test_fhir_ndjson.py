"""A FHIR export to labelled notes: the simulator's own labels come back, and bad records are named, never echoed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lang1.cli.main import app
from lang1.tasks import BUILT_IN
from training.dataset import open_dataset
from training.sources.dataset import DatasetManifest, write_source
from training.sources.errors import MappingError, SourceError
from training.sources.fhir_ndjson import read_fhir
from training.sources.fhir_source import FhirSource, load_fhir_source
from training.synth import SynthConfig, truth, write_dataset
from training.synth.fhir_export import FhirOptions
from training.synth.generate import read_notes

CONFIG = SynthConfig(patients=40, seed=31, mean_words=280, first_year=2014, last_year=2017, temporal_years=())
DENIAL = truth.task_name("insurance_denial")
Resource = dict[str, Any]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_dataset(CONFIG, folder, fhir=FhirOptions())
    return folder


def built(folder: Path, out: Path, **knobs: Any) -> DatasetManifest:
    source = FhirSource(**{"observed_until": date(2017, 12, 31), **knobs})
    return write_source(read_fhir(folder, source, BUILT_IN), out, source.policy(), source.splits, BUILT_IN)


def labels_by_note(folder: Path) -> dict[str, Resource]:
    return {row["note_id"]: row for row in read_notes(folder).to_pylist()}


def compare(hospital: Path, out: Path) -> Counter[str]:
    """How labels from the export stand to the simulator's own; every one that is there must be the same."""
    known, found = labels_by_note(hospital), labels_by_note(out)
    counts: Counter[str] = Counter()
    for note_id, row in known.items():
        for task in BUILT_IN:
            own, other = row[f"label_{task}"], found[note_id][f"label_{task}"] if note_id in found else -1
            assert other in (own, -1), (task, note_id)
            counts[f"{task} {'same' if other >= 0 else 'none'}"] += own >= 0
    for note_id, row in found.items():
        assert row["text"] == known[note_id]["text"].replace("\n", " ")
    return counts


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**20),
    calendar=st.booleans(),
    house=st.sampled_from(["first", "second"]),
    binaries=st.booleans(),
)
def test_labels_are_the_simulators_own(
    seed: int, calendar: bool, house: str, binaries: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("property")
    knobs = {"seed": seed, "true_calendar": calendar, "hospital": house, "patients": 25, "warm_up_years": 2}
    write_dataset(CONFIG.model_copy(update=knobs), folder, fhir=FhirOptions(binaries=binaries))
    built(folder / "fhir", folder / "out")
    counts = compare(folder, folder / "out")
    for task in BUILT_IN:
        # Only what was not over, or not yet final, on the last day has none.
        assert counts[f"{task} none"] <= 0.25 * counts[f"{task} same"]


def test_an_export_trains(hospital: Path, tmp_path: Path) -> None:
    manifest = built(hospital / "fhir", tmp_path)
    counts = compare(hospital, tmp_path)
    assert sum(counts[f"{task} same"] for task in BUILT_IN) > 200
    assert manifest.source == "fhir"
    assert manifest.dropped.keys() <= {"notes"}
    assert open_dataset(tmp_path, BUILT_IN).test_splits == ("test",)
    assert {each.name for each in manifest.inputs} >= {"Encounter.ndjson", "DocumentReference.ndjson"}


def test_a_later_last_day_makes_more_labels_final(hospital: Path, tmp_path: Path) -> None:
    early = built(hospital / "fhir", tmp_path / "early", observed_until=date(2016, 6, 30))
    late = built(hospital / "fhir", tmp_path / "late")
    assert sum(early.label_counts["train"].values()) < sum(late.label_counts["train"].values())
    compare(hospital, tmp_path / "early")


def changed(hospital: Path, out: Path, kind: str, change: Callable[[list[Resource]], list[Resource]]) -> Path:
    """A copy of the export in which the resources of one type are changed."""
    out.mkdir()
    for path in (hospital / "fhir").glob("*.ndjson"):
        lines = path.read_text(encoding="ascii").splitlines()
        if path.stem == kind:
            lines = [json.dumps(each) for each in change([json.loads(line) for line in lines])]
        (out / path.name).write_text("\n".join(lines) + "\n", encoding="ascii")
    return out


def test_the_newest_version_counts_and_what_was_an_error_is_gone(hospital: Path, tmp_path: Path) -> None:
    def twice(stays: list[Resource]) -> list[Resource]:
        first = stays[0]
        wrong = {**first, "meta": {**first["meta"], "lastUpdated": "2013-01-01T00:00:00Z"}, "class": {"code": "AMB"}}
        removed = {**stays[1], "status": "entered-in-error"}
        removed["meta"] = {**removed["meta"], "lastUpdated": "2017-12-30T00:00:00Z"}
        return [*stays, wrong, removed]

    folder = changed(hospital, tmp_path / "export", "Encounter", twice)
    manifest = built(folder, tmp_path / "out")
    compare(hospital, tmp_path / "out")
    stays = {row["encounter_id"] for row in labels_by_note(tmp_path / "out").values()}
    ids = [json.loads(line)["id"] for line in (folder / "Encounter.ndjson").read_text().splitlines()]
    assert ids[0] in stays and ids[1] not in stays
    assert manifest.dropped["DocumentReference"]["encounter not taken"] >= 1
    assert manifest.dropped["Condition"]["of no stay that was taken"] >= 1


def test_documents_that_are_not_scored_are_not_learned_from(hospital: Path, tmp_path: Path) -> None:
    def marked(documents: list[Resource]) -> list[Resource]:
        documents[0]["status"] = "superseded"
        documents[1]["docStatus"] = "preliminary"
        documents[2]["type"] = {"coding": [{"system": "http://loinc.org", "code": "11506-3"}]}
        replacing = {**documents[3], "id": "newer", "identifier": [{"system": "urn:x", "value": "newer"}]}
        replacing["relatesTo"] = [
            {"code": "replaces", "target": {"reference": f"DocumentReference/{documents[3]['id']}"}}
        ]
        return [*documents, replacing]

    folder = changed(hospital, tmp_path / "export", "DocumentReference", marked)
    manifest = built(folder, tmp_path / "out")
    assert manifest.dropped["DocumentReference"] == {
        "DocumentReference.status: business-rule": 1,
        "DocumentReference.docStatus: business-rule": 1,
        "of no note type that a task is trained on": 1,
        "replaced by another document": 1,
    }
    assert "newer" in labels_by_note(tmp_path / "out")


def test_a_denial_that_nothing_follows_is_final_after_180_days(hospital: Path, tmp_path: Path) -> None:
    def silent(answers: list[Resource]) -> list[Resource]:
        return [each for each in answers if each["id"].endswith("-1")]

    folder = changed(hospital, tmp_path / "export", "ClaimResponse", silent)
    (folder / "ExplanationOfBenefit.ndjson").write_text("", encoding="ascii")
    built(folder, tmp_path / "out")
    counts = compare(hospital, tmp_path / "out")
    assert counts[f"{DENIAL} same"] > 30
    open_ended = {"outcomes": {"denials_final_after_days": None}}
    never = built(folder, tmp_path / "never", **open_ended)
    assert never.missing[DENIAL]["claim not final"] > 3
    positive = [row for row in labels_by_note(tmp_path / "never").values() if row[f"label_{DENIAL}"] == 1]
    assert positive == []


def test_an_appeal_goes_on_with_the_claim_it_is_about(hospital: Path, tmp_path: Path) -> None:
    def unlinked(claims: list[Resource]) -> list[Resource]:
        return [{name: value for name, value in each.items() if name != "related"} for each in claims]

    apart = changed(hospital, tmp_path / "apart", "Claim", unlinked)
    counts = []
    for folder in (hospital / "fhir", apart):
        claims = read_fhir(folder, FhirSource(observed_until=date(2017, 12, 31)), BUILT_IN).hospital.claims
        assert claims is not None
        counts.append((len(set(claims.encounter.tolist())), len(set(claims.claim.tolist()))))
    appeals = (hospital / "fhir" / "Claim.ndjson").read_text(encoding="ascii").count('"related"')
    assert appeals > 1
    assert counts[0][0] == counts[0][1] == counts[1][0] == counts[1][1] - appeals


@pytest.mark.parametrize(
    ("kind", "spoil", "says"),
    [
        ("Encounter", lambda each: each.pop("subject"), r"Encounter.ndjson: line 1: Encounter.subject"),
        ("Encounter", lambda each: each["period"].update(start="2014-03-05"), r"Encounter.period.start is not a time"),
        ("ClaimResponse", lambda each: each.update(outcome="done"), r"ClaimResponse.ndjson: line 1: .*outcome"),
        ("DocumentReference", lambda each: each.pop("date") and each["content"][0]["attachment"].pop("creation"),
         r"DocumentReference.ndjson: line 1: neither date nor"),
        ("DocumentReference", lambda each: each["content"][0]["attachment"].update(data="%%"), r"line 1: .*base64"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named_or_counted(
    kind: str, spoil: Callable[[Resource], Any], says: str, hospital: Path, tmp_path: Path
) -> None:
    secret = "Zq7-Unrepeatable"

    def first(found: list[Resource]) -> list[Resource]:
        spoil(found[0])
        found[0]["language"] = secret
        return found

    folder = changed(hospital, tmp_path / "export", kind, first)
    with pytest.raises(SourceError, match=says) as caught:
        built(folder, tmp_path / "out")
    assert secret not in str(caught.value)
    built(folder, tmp_path / "out", bad_rows="drop")


def test_lines_that_are_no_json_and_folders_without_stays(hospital: Path, tmp_path: Path) -> None:
    folder = changed(hospital, tmp_path / "export", "Encounter", lambda found: found)
    with (folder / "Encounter.ndjson").open("a", encoding="ascii") as file:
        file.write('{"resourceType": "Encounter", \n')
    with pytest.raises(SourceError, match=r"Encounter.ndjson: line \d+: the body is not JSON"):
        built(folder, tmp_path / "out")
    empty = changed(hospital, tmp_path / "none", "Encounter", lambda _: [])
    with pytest.raises(SourceError, match="no Encounter that has begun"):
        built(empty, tmp_path / "out")
    (tmp_path / "bare").mkdir()
    with pytest.raises(SourceError, match=r"\.ndjson"):
        built(tmp_path / "bare", tmp_path / "out")


def test_a_note_in_a_binary_that_is_missing_is_an_error(hospital: Path, tmp_path: Path) -> None:
    def linked(documents: list[Resource]) -> list[Resource]:
        attachment = documents[0]["content"][0]["attachment"]
        attachment.pop("data")
        attachment["url"] = "Binary/nowhere"
        return documents

    folder = changed(hospital, tmp_path / "export", "DocumentReference", linked)
    with pytest.raises(SourceError, match="Binary that the export does not hold"):
        built(folder, tmp_path / "out")


def test_html_and_full_urls_are_read(hospital: Path, tmp_path: Path) -> None:
    base = "https://ehr.example/fhir"

    def html(documents: list[Resource]) -> list[Resource]:
        attachment = documents[0]["content"][0]["attachment"]
        text = base64.b64decode(attachment["data"]).decode().replace("\n", "<br>")
        attachment |= {"contentType": "text/html", "data": base64.b64encode(f"<p>{text}</p>".encode()).decode()}
        for each in documents:
            encounter = each["context"]["encounter"][0]
            encounter["reference"] = f"{base}/{encounter['reference']}"
        return documents

    folder = changed(hospital, tmp_path / "export", "DocumentReference", html)
    built(folder, tmp_path / "out", base_url=base)
    counts = compare(hospital, tmp_path / "out")
    assert sum(counts[f"{task} same"] for task in BUILT_IN) > 200


def test_the_command(hospital: Path, tmp_path: Path) -> None:
    config = tmp_path / "source.yaml"
    config.write_text(
        "observed_until: 2017-12-31\nsplits: {temporal_years: [2017], unit: patient}\n"
        "outcomes: {claim_words: {approved: paid, denied: denied, denial upheld: final-adverse, "
        "denial overturned: final-favourable}}\n", encoding="utf-8",
    )  # fmt: skip
    call = ["data", "build", "--fhir", str(hospital / "fhir"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*call, "--fhir-config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    assert "temporal_2017" in json.loads(done.stdout)["notes_by_split"]
    for wrong in ([], ["--observed-until", "2017-12-31", "--fhir-config", str(config)], ["--seed", "3"]):
        assert CliRunner().invoke(app, [*call, *wrong]).exit_code == 2
    config.write_text("observed_until: 2017-12-31\ntimezone: Nowhere/Else\n", encoding="utf-8")
    with pytest.raises(MappingError, match="timezone"):
        load_fhir_source(config)
