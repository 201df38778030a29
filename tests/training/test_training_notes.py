from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lang1.bundle import MANIFEST, TRAINING_NOTES, Bundle, file_sha256, load_bundle
from lang1.errors import BundleError
from tests.tiny_bundle import make_tiny_bundle
from training.training_notes import TrainingNotes, Window, read_training_notes, training_notes

SALT = bytes(range(16))
TEXTS = ["Mrs. Smith was admitted with chest pain", "Mr. Jones went home"]
WINDOW = {"length_of_stay": Window(first_day="2024-01-01", last_day="2024-03-31")}


def sealed(folder: Path, evidence: TrainingNotes | bytes | None, seed: int = 0) -> Bundle:
    """A bundle with this evidence, its manifest told of the file."""
    make_tiny_bundle(folder, seed=seed)
    if evidence is None:
        return load_bundle(folder)
    if isinstance(evidence, bytes):
        (folder / TRAINING_NOTES).write_bytes(evidence)
    else:
        evidence.save(folder / TRAINING_NOTES)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][TRAINING_NOTES] = file_sha256(folder / TRAINING_NOTES)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return load_bundle(folder)


def test_evidence_finds_its_notes_again_and_tells_nothing_of_them(tmp_path: Path) -> None:
    bundle = sealed(tmp_path / "b", training_notes(TEXTS[:1], TEXTS[1:], WINDOW, salt=SALT))
    found = read_training_notes(bundle)
    assert found is not None and found.windows == WINDOW and found.unknown_bases == ()
    # As they are cleaned for the model, not as they were typed.
    same = ["Mrs. Smith  was admitted\nwith chest pain", "Mr. Jones went home", "Mr. Jones went home again"]
    assert found.overlap(same).tolist() == [True, True, False]
    data = (bundle.folder / TRAINING_NOTES).read_bytes()
    assert len(data) < 1000 and all(word not in data for word in (b"Smith", b"Jones", b"chest"))


def test_another_salt_gives_other_hashes() -> None:
    one, other = (training_notes(TEXTS, [], {}, salt=salt) for salt in (SALT, bytes(16)))
    assert not np.isin(one.train, other.train).any()
    assert not np.isin(training_notes(TEXTS, [], {}).train, training_notes(TEXTS, [], {}).train).any()


def test_what_the_base_was_trained_on_counts_too(tmp_path: Path) -> None:
    base = sealed(tmp_path / "base", training_notes(TEXTS[:1], [], WINDOW, salt=SALT))
    later = {"length_of_stay": Window(first_day="2024-03-01", last_day="2024-06-30"),
             "insurance_denial": Window(first_day="2024-02-01", last_day="2024-02-29")}  # fmt: skip
    found = training_notes(TEXTS[1:], [], later, salt=bytes(16), base=base)
    assert found.overlap(TEXTS).all() and found.unknown_bases == ()
    assert found.windows["length_of_stay"] == Window(first_day="2024-01-01", last_day="2024-06-30")
    assert found.windows["insurance_denial"] == later["insurance_denial"]


def test_a_base_without_evidence_is_named(tmp_path: Path) -> None:
    base = sealed(tmp_path / "base", None)
    child = training_notes(TEXTS, [], WINDOW, salt=SALT, base=base)
    assert child.unknown_bases == (base.sha256,)
    grandchild = training_notes(TEXTS, [], WINDOW, base=sealed(tmp_path / "child", child, seed=1))
    assert grandchild.unknown_bases == (base.sha256,)


def test_the_same_evidence_is_the_same_file(tmp_path: Path) -> None:
    for name, texts in (("one", TEXTS), ("two", TEXTS[::-1])):
        training_notes(texts, [], WINDOW, salt=SALT).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("data", [b"", b"\x80\x04 a pickle", b"\xff" * 8 + b"{}"])
def test_a_file_that_is_no_evidence_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_training_notes(sealed(tmp_path / "b", data))


def test_evidence_of_another_form_is_an_error(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    good = training_notes(TEXTS, [], WINDOW, salt=SALT)
    path = tmp_path / "evidence"
    about = json.dumps({"salt": "0" * 32, "windows": {}, "unknown_bases": []})
    floats = {"train": good.train.astype(np.float32), "validation": good.validation}
    save_file(floats, path, metadata={"lang1": about})
    with pytest.raises(BundleError, match="cannot be read"):
        read_training_notes(sealed(tmp_path / "b", path.read_bytes()))
    save_file({"train": good.train, "validation": good.validation}, path, metadata={"other": "x"})
    shutil.rmtree(tmp_path / "b")
    with pytest.raises(BundleError, match="cannot be read"):
        read_training_notes(sealed(tmp_path / "b", path.read_bytes()))


def test_the_demo_bundle_carries_none() -> None:
    from lang1 import DEMO_BUNDLE

    assert read_training_notes(load_bundle(DEMO_BUNDLE)) is None
