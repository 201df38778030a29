"""The gate on bundles and a holdout folder: what may not be compared, what is held, and where the reason is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lang1.bundle import MANIFEST, Bundle, load_bundle
from lang1.registry import Registry
from lang1.tasks import BUILT_IN, TaskRegistry
from tests.tiny_bundle import make_tiny_bundle
from tests.training.retraining.hospital import Hospital, write_hospital
from tests.training.test_training_notes import SALT, sealed
from training.retraining.bounds import Bounds
from training.retraining.commands import gate_challenger, make_holdout
from training.retraining.errors import HoldoutError
from training.retraining.gate import GateReport, judge
from training.retraining.holdout import Holdout, open_holdout
from training.retraining.predictions import Probabilities, predict, read_predictions, save_predictions
from training.retraining.spec import RetrainSpec
from training.retraining.subgroups import Verdict
from training.training_notes import TrainingNotes, Window, training_notes

AS_OF = datetime(2024, 12, 30, tzinfo=UTC)
FEW = Bounds(min_events=10, min_class_rows=2, resamples=200)


@dataclass
class Place:
    registry: Registry
    champion: Bundle
    holdout: Holdout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A champion of random weights, and a holdout of a small hospital."""
    place = tmp_path_factory.mktemp("gate")
    champion = make_tiny_bundle(place / "champion", seed=1)
    registry = Registry.create(place / "registry")
    registry.set_champion(registry.add(champion, actor="t", reason="first"), actor="t", reason="first")
    notes = write_hospital(Hospital(date(2024, 1, 1), date(2024, 12, 29), 400, seed=7), place / "notes")
    spec = RetrainSpec.model_validate(
        {"data": {"dataset": str(notes)}, "registry": str(place / "registry"), "work": str(place),
         "gate": {"min_events": 10},
         "holdout": {"days": 120, "max_events": 15, "controls_per_case": 1}, "remedies": [{"kind": "recalibrate"}]}
    )  # fmt: skip
    make_holdout(spec, AS_OF, place / "holdout")
    return champion, place / "holdout"


@pytest.fixture
def place(drawn: tuple[Path, Path], tmp_path: Path) -> Place:
    registry = Registry.create(tmp_path / "registry")
    sha256 = registry.add(drawn[0], actor="t", reason="first")
    registry.set_champion(sha256, actor="t", reason="first")
    return Place(registry, registry.bundle(sha256), open_holdout(drawn[1]))


def evidence(texts: list[str] | None = None, last_day: str = "2024-03-31") -> TrainingNotes:
    windows = {name: Window(first_day="2024-01-01", last_day=last_day) for name in BUILT_IN}
    return training_notes(texts or ["another note"], [], windows, salt=SALT)


def gated(place: Place, challenger: Path, bounds: Bounds = FEW) -> GateReport:
    """Through the registry, as the command does it."""
    sha256 = place.registry.add(challenger, actor="t", reason="to be judged")
    return gate_challenger(place.registry, sha256, place.holdout, bounds, actor="ana", device="cpu")


def last_line(place: Place) -> tuple[str, str, str]:
    entry = place.registry.log()[-1]
    return entry.actor, entry.action, entry.reason


def test_one_trained_on_test_data_is_refused_with_the_reason_in_the_log(place: Place, tmp_path: Path) -> None:
    seen = place.holdout.table["text"].to_pylist()[:3]
    report = gated(place, sealed(tmp_path / "b", evidence(seen), seed=2).folder)
    assert report.verdict is Verdict.FAIL and report.tasks == ()
    actor, action, reason = last_line(place)
    assert (actor, action) == ("ana", "gate-fail")
    assert reason.startswith("trained on test data: 3 of the holdout's")
    assert all(text not in reason for text in seen)


def test_validation_notes_count_as_seen(place: Place, tmp_path: Path) -> None:
    seen = place.holdout.table["text"].to_pylist()[:1]
    windows = {name: Window(first_day="2024-01-01", last_day="2024-03-31") for name in BUILT_IN}
    bundle = sealed(tmp_path / "b", training_notes(["x"], seen, windows, salt=SALT), seed=2)
    assert "trained on test data: 1 of" in gated(place, bundle.folder).reasons[0]


def test_one_evaluated_on_too_few_events_is_held(place: Place, tmp_path: Path) -> None:
    report = gated(place, sealed(tmp_path / "b", evidence(), seed=2).folder, Bounds(min_events=1000))
    assert report.verdict is Verdict.HOLD
    assert {each.verdict for each in report.tasks} == {Verdict.HOLD} and len(report.tasks) == len(BUILT_IN)
    _, action, reason = last_line(place)
    assert action == "gate-hold" and "15 events" in reason and "1,000 of each are needed" in reason
    assert place.registry.latest_gate(report.challenger)["verdict"] == "hold"  # type: ignore[index]


def test_a_tampered_one_is_refused_on_the_way_in_and_in_the_registry(place: Place, tmp_path: Path) -> None:
    good = sealed(tmp_path / "b", evidence(), seed=2)
    sha256 = place.registry.add(good.folder, actor="t", reason="to be judged")
    weights = place.registry.path(sha256) / "model.safetensors"
    weights.chmod(0o600)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    report = gate_challenger(place.registry, sha256, place.holdout, FEW, actor="ana", device="cpu")
    assert report.verdict is Verdict.FAIL and [each.name for each in report.checks] == ["integrity"]
    assert last_line(place)[1] == "gate-fail" and "model.safetensors was changed" in last_line(place)[2]
    # Another bundle under its name.
    shutil.rmtree(place.registry.path(sha256))
    shutil.copytree(place.champion.folder, place.registry.path(sha256))
    report = gate_challenger(place.registry, sha256, place.holdout, FEW, actor="ana", device="cpu")
    assert "the bundle's hash is" in report.reasons[0]


def good_predictions(holdout: Holdout) -> Probabilities:
    """A champion that knows most of the answers."""
    rng = np.random.default_rng(1)
    found = {}
    for name, task in BUILT_IN.items():
        labels = holdout.table[f"label_{name}"].to_numpy()
        logits = np.eye(len(task.options))[np.maximum(labels, 0)] * 3 + rng.normal(
            size=(len(labels), len(task.options))
        )
        found[name] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return found


def test_a_worse_challenger_is_refused(place: Place, tmp_path: Path) -> None:
    """Random weights against good answers. With a trained champion: test_job."""
    bundle = sealed(tmp_path / "b", evidence(), seed=2)
    report = judge(place.champion, bundle.folder, bundle.sha256, place.holdout, FEW,
                   champion_predictions=good_predictions(place.holdout), device="cpu")  # fmt: skip
    assert report.verdict is Verdict.FAIL
    assert all(each.verdict is Verdict.PASS for each in report.checks)
    assert any("the lower bound of the difference" in reason for reason in report.reasons)
    assert {each.task for each in report.tasks} == set(BUILT_IN)
    json.dumps(report.model_dump(mode="json"), allow_nan=False)


def test_a_pass_says_how_close_it_was(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = good_predictions(place.holdout)
    monkeypatch.setattr("training.retraining.gate.predict", lambda *_, **__: predictions)
    lenient = Bounds(
        min_events=10,
        min_class_rows=2,
        resamples=200,
        intercept_tolerance=9,
        slope_low=1e-9,
        slope_high=9999,
        brier_margin=9,
    )
    bundle = sealed(tmp_path / "b", evidence(), seed=2)
    report = judge(place.champion, bundle.folder, bundle.sha256, place.holdout, lenient, device="cpu")
    assert report.verdict is Verdict.PASS, report.reasons
    assert "the lowest bound of an AUROC difference is +0.0000" in report.reasons[0]


def test_a_bundle_without_evidence_is_refused_unless_it_is_the_champion(place: Place, tmp_path: Path) -> None:
    report = gated(place, make_tiny_bundle(tmp_path / "b", seed=2))
    assert report.verdict is Verdict.FAIL and "does not say which notes it was trained on" in report.reasons[0]
    itself = gate_challenger(place.registry, place.champion.sha256, place.holdout, FEW, actor="ana", device="cpu")
    assert all(each.verdict is Verdict.PASS for each in itself.checks)
    assert all(each.auroc is not None and each.auroc.difference == 0 for each in itself.tasks)


@pytest.mark.parametrize(("base", "excused"), [("champion", True), ("stranger", False)])
def test_a_base_without_evidence_is_excused_where_it_is_the_champion(
    place: Place, tmp_path: Path, base: str, excused: bool
) -> None:
    parent = place.champion if base == "champion" else load_bundle(make_tiny_bundle(tmp_path / "stranger", seed=5))
    windows = {name: Window(first_day="2024-01-01", last_day="2024-03-31") for name in BUILT_IN}
    child = sealed(tmp_path / "b", training_notes(["a note"], [], windows, salt=SALT, base=parent), seed=2)
    report = judge(place.champion, child.folder, child.sha256, place.holdout, FEW, device="cpu",
                   champion_predictions=good_predictions(place.holdout))  # fmt: skip
    said = [each for each in report.checks if "it began from bundle" in each.reason]
    assert (not said) == excused


def test_one_trained_on_later_days_is_refused(place: Place, tmp_path: Path) -> None:
    report = gated(place, sealed(tmp_path / "b", evidence(last_day="2024-12-01"), seed=2).folder)
    assert (
        report.verdict is Verdict.FAIL and "trained on notes up to 2024-12-01, the holdout begins" in report.reasons[0]
    )
    undated = sealed(tmp_path / "c", training_notes(["x"], [], {}, salt=SALT), seed=3)
    assert "has no days of the training notes" in gated(place, undated.folder).reasons[0]


def test_other_tasks_or_questions_are_refused(place: Place, tmp_path: Path) -> None:
    fewer = TaskRegistry(list(BUILT_IN.values())[:4])
    report = gated(place, make_tiny_bundle(tmp_path / "b", seed=2, registry=fewer))
    assert "it lacks insurance_denial" in report.reasons[0]


def test_a_demonstration_never_replaces_a_model_in_use(place: Place, tmp_path: Path) -> None:
    manifest = json.loads((place.champion.folder / MANIFEST).read_text())
    real = tmp_path / "real"
    shutil.copytree(place.champion.folder, real)
    real.chmod(0o700)
    (real / MANIFEST).chmod(0o600)
    (real / MANIFEST).write_text(json.dumps(manifest | {"demo": False}))
    champion = load_bundle(real)
    bundle = sealed(tmp_path / "b", evidence(), seed=2)
    report = judge(champion, bundle.folder, bundle.sha256, place.holdout, FEW, device="cpu")
    assert report.verdict is Verdict.FAIL and "demonstration" in report.reasons[0]


@pytest.fixture
def copied(place: Place, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "holdout"
    shutil.copytree(place.holdout.folder, folder)
    yield folder


def test_a_holdout_that_was_changed_is_refused(copied: Path) -> None:
    notes = copied / "notes.parquet"
    notes.write_bytes(notes.read_bytes()[:-1] + b"X")
    with pytest.raises(HoldoutError, match="changed after the holdout was drawn"):
        open_holdout(copied)
    (copied / "holdout.json").write_text("{}")
    with pytest.raises(HoldoutError, match="is not a holdout"):
        open_holdout(copied)


def test_predictions_are_those_of_the_service_and_are_found_again(place: Place, tmp_path: Path) -> None:
    from lang1.notes import ClinicalNote, clean_text
    from lang1.scorer import PackedScorer

    found = predict(place.champion, place.holdout, device="cpu")
    scorer = PackedScorer.load(place.champion.folder, device="cpu")
    row = 0
    table = place.holdout.table
    asked = [name for name in BUILT_IN if table[f"label_{name}"][row].as_py() >= 0]
    note = ClinicalNote("n", clean_text(table["text"][row].as_py()), table["note_type"][row].as_py())
    served: Any = scorer.score([scorer.prepare(note, asked)])[0]
    for risk in served.risks:
        assert found[risk.task][row].tolist() == pytest.approx(risk.probabilities, abs=1e-6)
    path = tmp_path / "p.safetensors"
    save_predictions(path, found, bundle="b" * 64, holdout="h" * 64)
    again = read_predictions(path, bundle="b" * 64, holdout="h" * 64)
    assert again is not None and all(np.array_equal(again[name], found[name], equal_nan=True) for name in found)
    assert read_predictions(path, bundle="c" * 64, holdout="h" * 64) is None
    path.write_bytes(b"torn")
    assert read_predictions(path, bundle="b" * 64, holdout="h" * 64) is None
