"""Whole jobs on a hospital whose words change: real training, a real registry, and processes that are killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from lang1.bundle import Bundle, load_bundle
from lang1.registry import Registry
from tests.training.retraining.hospital import Hospital, write_hospital
from training.retraining.errors import RetrainingError
from training.retraining.job import run_job, status
from training.retraining.report import JobReport, Outcome
from training.retraining.spec import RetrainSpec

# Trains models.
pytestmark = pytest.mark.slow

AS_OF = datetime(2024, 12, 30, tzinfo=UTC)
FINETUNING = {
    "answer_space": "options", "validate_every_steps": 40, "validation_notes": 300, "patience_steps": 400,
    "optimization": {
        "steps": 160, "batch_tokens": 3000, "learning_rate": 6e-3, "max_gradient_norm": 1.0, "warmup_steps": 10,
        "layer_matrices": "muon",
    },
}  # fmt: skip
ADAPTERS = {
    **FINETUNING,
    "optimization": {"steps": 12, "batch_tokens": 3000, "learning_rate": 1e-3, "max_gradient_norm": 1.0},
}
LENIENT = {
    "min_events": 100, "resamples": 300, "auroc_margin": 0.08, "intercept_tolerance": 0.5, "slope_low": 0.2,
    "slope_high": 5.0, "brier_margin": 0.2,
}  # fmt: skip


@dataclass
class Place:
    """A registry whose champion reads the old words, and a job's spec."""

    folder: Path
    registry: Registry
    champion: str

    def spec(self, hospital: Path, remedies: list[dict[str, Any]], **changes: Any) -> RetrainSpec:
        return RetrainSpec.model_validate(
            {
                "data": {"dataset": str(hospital)}, "registry": str(self.folder / "registry"),
                "work": str(self.folder / "jobs"), "precision": "float32", "gate": LENIENT, "remedies": remedies,
                "holdout": {"days": 90, "max_events": 400, "controls_per_case": 2},
                "training": {"recent_days": 90, "min_events": 5, "validation_share": 0.2, "test_share": 0.2,
                             "max_notes": 2500, "max_validation_notes": 700},
                **changes,
            }
        )  # fmt: skip


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2024, with new words from April on."""
    plan = Hospital(date(2024, 1, 1), date(2024, 12, 29), 4000, seed=2, new_words_from=date(2024, 4, 1))
    return write_hospital(plan, tmp_path_factory.mktemp("changed") / "notes")


@pytest.fixture
def place(champion: Bundle, tmp_path: Path) -> Place:
    registry = Registry.create(tmp_path / "registry")
    sha256 = registry.add(champion.folder, actor="test", reason="the first")
    registry.set_champion(sha256, actor="test", reason="the first")
    return Place(tmp_path, registry, sha256)


def run(place: Place, spec: RetrainSpec, after_step: Callable[[str], None] = lambda _: None) -> JobReport:
    said: list[str] = []
    return run_job(spec, AS_OF, actor="test", reason="drift", say=said.append, after_step=after_step)


ALL = [{"kind": "recalibrate"}, {"kind": "lora", "finetuning": ADAPTERS}, {"kind": "full", "finetuning": FINETUNING}]


def test_the_smallest_remedy_that_suffices_goes_into_shadow(place: Place, changed: Path) -> None:
    report = run(place, place.spec(changed, ALL, sufficient={"max_auroc_drop": 0.1}))
    assert report.outcome is Outcome.SHADOW, report.reasons
    assert [each.kind for each in report.tried] == ["recalibrate", "lora", "full"]
    # New words: calibrators cannot help, and twelve steps of LoRA neither.
    assert [each.sufficient for each in report.tried] == [False, False, True]
    assert [each.gate for each in report.tried] == [None, None, "pass"]
    channels = place.registry.channels()
    assert (channels.champion, channels.challenger, channels.stage) == (place.champion, report.challenger, "shadow")
    bundle = place.registry.bundle(report.challenger or "")
    assert bundle.manifest.version.endswith("+20241230.full")
    assert bundle.manifest.base == place.champion
    gate = place.registry.latest_gate(bundle.sha256)
    assert gate is not None and gate["verdict"] == "pass"
    for task in gate["tasks"]:
        assert task["auroc"]["challenger"] > task["auroc"]["champion"] + 0.05
    actions = [entry.action for entry in place.registry.log()]
    assert actions[-4:] == ["retraining", "add", "gate-pass", "shadow"]
    place.registry.verify_log()


def test_recalibration_keeps_the_weights(place: Place, old_like: Path) -> None:
    report = run(place, place.spec(old_like, [{"kind": "recalibrate"}]))
    assert report.outcome is Outcome.SHADOW, report.reasons
    old, new = place.registry.bundle(place.champion), place.registry.bundle(report.challenger or "")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert new.manifest.files[name] == old.manifest.files[name]
    assert new.calibrators != old.calibrators


@pytest.fixture(scope="module")
def old_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2024 with the old words."""
    plan = Hospital(date(2024, 1, 1), date(2024, 12, 29), 3000, seed=3)
    return write_hospital(plan, tmp_path_factory.mktemp("oldlike") / "notes")


QUICK = [
    {"kind": "recalibrate"},
    {"kind": "full", "finetuning": {**FINETUNING, "validate_every_steps": 4,
                                    "optimization": {**FINETUNING["optimization"], "steps": 12}}},
]  # fmt: skip
# Whatever comes of so few steps passes: these tests are about crashes.
ANYTHING = {"min_events": 100, "resamples": 200, "auroc_margin": 0.49, "intercept_tolerance": 9.0, "slope_low": 1e-9,
            "slope_high": 99.0, "brier_margin": 9.0, "subgroup_max_drop": 0.9, "subgroup_min_auroc": 0.0}  # fmt: skip


def _killed_after(folder: Path, hospital: Path, step: str | None, training_state: int | None) -> None:
    """In a process of its own: run the job and die at once after a step, or after the n-th state of a training."""
    import torch

    import training.resume as resume

    torch.set_num_threads(1)
    saved = 0
    write = resume.TrainingState.save

    def save(self: resume.TrainingState, *arguments: Any) -> None:
        nonlocal saved
        write(self, *arguments)
        saved += 1
        if saved == training_state:
            os._exit(9)

    resume.TrainingState.save = save  # type: ignore[method-assign]

    def after(name: str) -> None:
        if name == step:
            os._exit(9)

    _run_here(folder, hospital, after)


def _run_here(folder: Path, hospital: Path, after: Callable[[str], None] = lambda _: None) -> JobReport:
    place = Place(folder, Registry.open(folder / "registry"), "")
    spec = place.spec(hospital, QUICK, gate=ANYTHING, sufficient={"max_auroc_drop": 0.0}, checkpoint_every_steps=3)
    return run_job(spec, AS_OF, actor="test", reason="crashes", say=lambda _: None, after_step=after)


def test_a_job_killed_anywhere_goes_on_and_ends_with_the_same_bundle(
    place: Place, changed: Path, tmp_path: Path
) -> None:
    """Killed after every step and in the middle of training, by os._exit; each rerun begins where the last one died."""
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(place.folder / "registry", undisturbed / "registry")
    seen: list[str] = []
    expected = _run_here(undisturbed, changed, seen.append)
    assert expected.outcome is Outcome.SHADOW
    assert seen[:3] == ["data", "split", "champion"] and seen[-1] == "end"

    context = multiprocessing.get_context("spawn")
    deaths: list[tuple[str | None, int | None]] = [(None, 1), (None, 2), *((step, None) for step in seen[:-1])]
    order = sorted(deaths, key=lambda each: seen.index(each[0]) if each[0] else seen.index("remedy-2-full") - 0.5)
    for step, state in order:
        process = context.Process(target=_killed_after, args=(place.folder, changed, step, state))
        process.start()
        process.join(600)
        assert process.exitcode == 9, (step, state)
        channels = Registry.open(place.folder / "registry").channels()
        assert channels.champion == place.champion
        assert (channels.stage is None) == (step != "shadow")
    steps: list[str] = []
    found = _run_here(place.folder, changed, steps.append)
    assert steps == ["end"]
    assert found.challenger == expected.challenger
    actions = [entry.action for entry in place.registry.log()]
    assert actions.count("retraining") == actions.count("shadow") == actions.count("gate-pass") == 1
    place.registry.verify_log()


def test_a_finished_job_is_not_done_again(place: Place, old_like: Path) -> None:
    spec = place.spec(old_like, [{"kind": "recalibrate"}])
    first = run(place, spec)
    log = len(place.registry.log())
    steps: list[str] = []
    assert run(place, spec, steps.append) == first
    assert steps == [] and len(place.registry.log()) == log
    found = status(place.folder / "jobs" / "20241230T000000Z")
    assert found["outcome"] == "shadow" and not found["running"]
    assert not (place.folder / "jobs" / "20241230T000000Z" / "data").exists()


def test_too_few_events_hold_before_anything_is_trained(place: Place, old_like: Path) -> None:
    spec = place.spec(
        old_like, ALL, gate={"min_events": 1000}, holdout={"days": 90, "max_events": 1000, "controls_per_case": 2}
    )
    steps: list[str] = []
    report = run(place, spec, steps.append)
    assert report.outcome is Outcome.HELD
    assert "1,000 of each are needed" in report.reasons[0]
    assert steps == ["data", "split", "end"]
    last = place.registry.log()[-1]
    assert last.action == "retraining-held" and "1,000 of each are needed" in last.reason
    assert place.registry.channels().stage is None


def test_a_bundle_changed_in_the_job_is_refused_by_the_gate(place: Place, old_like: Path) -> None:
    bundle = place.folder / "jobs" / "20241230T000000Z" / "remedies" / "1-recalibrate" / "bundle"

    def tamper(step: str) -> None:
        if step == "evaluate-1":
            weights = bundle / "model.safetensors"
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)

    report = run(place, place.spec(old_like, [{"kind": "recalibrate"}]), tamper)
    assert report.outcome is Outcome.REFUSED
    refusal = next(entry for entry in place.registry.log() if entry.action == "challenger-refused")
    assert "changed after the bundle was sealed" in refusal.reason
    assert place.registry.channels().stage is None


def test_a_worse_challenger_is_refused(place: Place, old_like: Path) -> None:
    ruinous = {
        **FINETUNING, "validate_every_steps": 500,
        "optimization": {**FINETUNING["optimization"], "steps": 25, "learning_rate": 0.3, "warmup_steps": 0},
    }  # fmt: skip
    report = run(
        place, place.spec(old_like, [{"kind": "full", "finetuning": ruinous}], gate=LENIENT | {"auroc_margin": 0.02})
    )
    assert report.outcome is Outcome.REFUSED
    refusal = next(entry for entry in place.registry.log() if entry.action == "challenger-refused")
    assert "the lower bound of the difference" in refusal.reason
    assert place.registry.channels().challenger is None


def test_another_spec_in_the_folder_of_a_job_is_refused(place: Place, old_like: Path) -> None:
    run(place, place.spec(old_like, [{"kind": "recalibrate"}]))
    with pytest.raises(RetrainingError, match="another spec"):
        run(place, place.spec(old_like, [{"kind": "recalibrate"}], seed=9))


def test_a_champion_that_changed_ends_the_job(place: Place, old_like: Path, champion: Bundle, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(champion.folder, other)
    manifest = json.loads((other / "lang1.json").read_text())
    manifest["version"] = "9.9.9"
    (other / "lang1.json").write_text(json.dumps(manifest))
    sha256 = place.registry.add(other, actor="test", reason="by hand")
    assert load_bundle(other).sha256 == sha256

    class CrashError(Exception):
        pass

    def crash(step: str) -> None:
        raise CrashError

    with pytest.raises(CrashError):
        run(place, place.spec(old_like, [{"kind": "recalibrate"}]), crash)
    place.registry.set_champion(sha256, actor="test", reason="by hand")
    with pytest.raises(RetrainingError, match="the champion changed"):
        run(place, place.spec(old_like, [{"kind": "recalibrate"}]))
