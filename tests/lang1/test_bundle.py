from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lang1.bundle import MANIFEST, Bundle, load_bundle
from lang1.errors import BundleError, ScoringError
from lang1.notes import ClinicalNote
from lang1.scorer import PackedScorer
from lang1.tasks import BUILT_IN, TaskRegistry
from tests.tiny_bundle import make_tiny_bundle

NOTE = ClinicalNote("n", "the patient was admitted with chest pain and a history of heart failure", "34117-2")


@pytest.fixture
def own_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_sealed_bundle_loads_and_scores(tiny_bundle: Path) -> None:
    scorer = PackedScorer.load(tiny_bundle, device="cpu")
    scores = scorer.score_notes([NOTE])[0]
    assert [risk.task for risk in scores.risks] == list(BUILT_IN)
    assert all(sum(risk.probabilities) == pytest.approx(1) for risk in scores.risks)
    assert {risk.task for risk in scores.risks if not risk.note_type_match} == {"readmission_30d"}


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "MODEL_CARD.md"])
def test_a_changed_byte_is_refused(own_bundle: Path, name: str) -> None:
    path = own_bundle / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} was changed"):
        load_bundle(own_bundle)


def test_a_missing_and_an_added_file_are_refused(own_bundle: Path) -> None:
    (own_bundle / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match="not listed"):
        load_bundle(own_bundle)
    (own_bundle / "extra.bin").unlink()
    (own_bundle / "model.safetensors").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(own_bundle)


def test_other_questions_are_refused(own_bundle: Path) -> None:
    manifest = json.loads((own_bundle / MANIFEST).read_text())
    manifest["tasks"][0]["task"]["question"] = "Given the above {note} of the patient, all well?"
    (own_bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="readmission_30d"):
        load_bundle(own_bundle)


def test_a_registry_with_another_question_is_refused(tiny_bundle: Path) -> None:
    task = BUILT_IN["length_of_stay"].model_copy(update={"question": "How long will the {note} patient stay?"})
    with pytest.raises(BundleError, match="length_of_stay"):
        load_bundle(tiny_bundle, TaskRegistry([task]))


@pytest.mark.parametrize("field", ["format_version", "files", "tasks"])
def test_a_broken_manifest_names_the_field(own_bundle: Path, field: str) -> None:
    manifest = json.loads((own_bundle / MANIFEST).read_text())
    manifest[field] = "wrong"
    (own_bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=field):
        load_bundle(own_bundle)


def test_a_file_outside_the_folder_cannot_be_named(own_bundle: Path) -> None:
    manifest = json.loads((own_bundle / MANIFEST).read_text())
    manifest["files"]["../elsewhere"] = "0" * 64
    (own_bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="files"):
        load_bundle(own_bundle)


@pytest.mark.parametrize("name", ["model.safetensors", MANIFEST])
def test_links_and_pipes_are_refused(own_bundle: Path, tmp_path: Path, name: str) -> None:
    elsewhere = (own_bundle / name).rename(tmp_path / "elsewhere")
    (own_bundle / name).symlink_to(elsewhere)
    with pytest.raises(BundleError, match="not a plain file"):
        load_bundle(own_bundle)
    (own_bundle / name).unlink()
    os.mkfifo(own_bundle / name)
    with pytest.raises(BundleError, match="not a plain file"):
        load_bundle(own_bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["tasks"][0]["calibrator"].update(offsets=[0, 0, 0]), "offsets"),
        (lambda m: m["tasks"][0]["thresholds"].update(moderate=0.9, high=0.1), "moderate"),
        (lambda m: m["files"].pop("MODEL_CARD.md"), "MODEL_CARD"),
        (lambda m: m["tasks"][0]["task"].update(adverse_options=[0]), "another definition"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    own_bundle: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    manifest = json.loads((own_bundle / MANIFEST).read_text())
    change(manifest)
    (own_bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        load_bundle(own_bundle)


def test_weights_swapped_during_the_load_are_noticed(
    own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tiny_bundle(tmp_path / "other", seed=9) / "model.safetensors"

    def verify_then_swap(folder: Path, registry: TaskRegistry | None = None) -> Bundle:
        verified = load_bundle(folder, registry)
        shutil.copy(other, folder / "model.safetensors")
        return verified

    monkeypatch.setattr("lang1.scorer.load_bundle", verify_then_swap)
    with pytest.raises(BundleError, match="changed while"):
        PackedScorer.load(own_bundle, device="cpu")


def test_a_bundle_is_replaced_whole(tmp_path: Path) -> None:
    folder = make_tiny_bundle(tmp_path / "b", seed=1)
    first = load_bundle(folder).sha256
    make_tiny_bundle(folder, seed=2)
    assert load_bundle(folder).sha256 != first
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no readable lang1\.json"):
        load_bundle(tmp_path / "none")


def test_nan_logits_raise(tmp_path: Path) -> None:
    scorer = PackedScorer.load(make_tiny_bundle(tmp_path / "poisoned", poison=True), device="cpu")
    with pytest.raises(ScoringError, match="not finite"):
        scorer.score_notes([NOTE])


def test_transformers_loads_the_weights(tiny_bundle: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(tiny_bundle)
    scorer = PackedScorer.load(tiny_bundle, device="cpu")
    prompt = scorer.prepare(NOTE)
    suffix = prompt.suffixes[2]
    with torch.no_grad():
        logits = reference(torch.tensor([[*prompt.prefix_ids, *suffix.token_ids]])).logits[0, -1]
    theirs = torch.softmax(logits[list(suffix.option_ids)], 0).tolist()
    assert scorer.score([prompt])[0].risks[2].probabilities == pytest.approx(theirs, abs=1e-5)
