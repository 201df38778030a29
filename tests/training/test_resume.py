from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lang1.llama import PackedLlama
from lang1.note_types import HISTORY_AND_PHYSICAL
from lang1.notes import ClinicalNote
from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from tests.tiny_bundle import WORDS, tiny_model
from training.encoded import EncodedNotes, encode_notes
from training.finetune import Answers, Row, TrainingHistory, steps_of_rows, train
from training.recipe import Optimization
from training.resume import TrainingState
from training.tokenizer import BOS_TOKEN, train_tokenizer

STEPS = 9


class KilledError(Exception):
    """The process died."""


class Noisy:
    """Answers, with noise from a numpy generator, from torch's, and a head of its own: everything that has a state."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._answers, self._rng = Answers("options"), rng
        torch.manual_seed(11)
        self._head = torch.nn.Linear(1, 1)

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self._head.parameters())

    def __call__(self, model: PackedLlama, rows: list[Row]) -> dict[str, Tensor]:
        loss = self._answers(model, rows)["loss"]
        noise = torch.rand(1) + float(self._rng.random())
        return {"loss": loss + (self._head(noise) ** 2).mean()}


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    questions = [task.suffix(loinc) for task in BUILT_IN.values() for loinc in task.note_types]
    return PromptEncoder(train_tokenizer([WORDS, *questions], 500), BUILT_IN, 32, BOS_TOKEN)


@pytest.fixture(scope="module")
def notes(encoder: PromptEncoder) -> EncodedNotes:
    rng = np.random.default_rng(5)
    loinc = HISTORY_AND_PHYSICAL.loinc
    labels = {
        name: np.where(task.trained_on(loinc), rng.integers(0, len(task.options), 30), -1).astype(np.int8)
        for name, task in BUILT_IN.items()
    }
    return encode_notes((ClinicalNote(str(i), f"{WORDS} number {i}", loinc) for i in range(30)), labels, encoder)


def run(
    notes: EncodedNotes, encoder: PromptEncoder, folder: Path | None, *, matrices: str = "adamw", die_at: int = 0,
    key: str = "run", every: int = 2,
) -> tuple[dict[str, Tensor], TrainingHistory]:  # fmt: skip
    """Nine steps with a validation every second; with `die_at`, killed after that step."""
    model = tiny_model(seed=2, vocab_size=encoder.vocab_size, max_position_embeddings=256)
    rng = np.random.default_rng(7)

    def validate() -> dict[str, float]:
        # The best of them comes third, so that best weights are older than some states.
        return {"score": -abs(model.model.norm.weight.sum().item() - 4.0)}

    def log(entry: dict[str, float]) -> None:
        if entry["step"] == die_at + 1 and die_at:
            raise KilledError

    optimization = Optimization.model_validate(
        {"steps": STEPS, "batch_tokens": 900, "learning_rate": 3e-2, "layer_matrices": matrices}
    )
    state = None if folder is None else TrainingState(folder, key, {"noise": rng}, every_steps=every)
    history = train(
        model, steps_of_rows(notes, encoder, 900, np.random.default_rng(3), 0.4), optimization, Noisy(rng),
        precision="float32", validate_every_steps=2, patience_steps=100, validate=validate, log=log, state=state,
    )  # fmt: skip
    return dict(model.state_dict()), history


@pytest.mark.parametrize(("matrices", "die_at"), [("adamw", 5), ("muon", 2)])
def test_a_run_that_was_killed_ends_with_the_same_bits(
    notes: EncodedNotes, encoder: PromptEncoder, tmp_path: Path, matrices: str, die_at: int
) -> None:
    expected, whole = run(notes, encoder, None, matrices=matrices)
    with pytest.raises(KilledError):
        run(notes, encoder, tmp_path, matrices=matrices, die_at=die_at)
    assert json.loads((tmp_path / "training.json").read_text())["step"] == die_at - die_at % 2
    assert len(list(tmp_path.glob("*.safetensors"))) == 2  # the state, and the best weights
    torch.manual_seed(99)  # another process has drawn other numbers
    found, again = run(notes, encoder, tmp_path, matrices=matrices)
    assert {name for name in expected if not torch.equal(found[name], expected[name])} == set()
    assert again.best_step == whole.best_step and again.notes_seen == whole.notes_seen
    assert [each["score"] for each in again.validations] == [each["score"] for each in whole.validations]


def test_a_run_begun_anew_from_nothing_would_differ(notes: EncodedNotes, encoder: PromptEncoder) -> None:
    """The test above can fail: with another state of torch's generator the noise, and the weights, are others."""

    def norm(seed: int) -> Tensor:
        original = torch.manual_seed
        try:
            torch.manual_seed = lambda _: original(seed)  # type: ignore[assignment]
            return run(notes, encoder, None)[0]["model.norm.weight"]
        finally:
            torch.manual_seed = original

    assert torch.equal(norm(11), norm(11)) and not torch.equal(norm(11), norm(12))


@pytest.mark.parametrize("damage", ["other key", "torn state"])
def test_what_is_not_this_runs_whole_state_is_not_taken_up(
    notes: EncodedNotes, encoder: PromptEncoder, tmp_path: Path, damage: str
) -> None:
    expected, _ = run(notes, encoder, None)
    with pytest.raises(KilledError):
        run(notes, encoder, tmp_path, die_at=4)
    state = next(tmp_path.glob("state-*.safetensors"))
    if damage == "torn state":
        state.write_bytes(state.read_bytes()[:200])
    found, _ = run(notes, encoder, tmp_path, key="another" if damage == "other key" else "run")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_state_is_due_by_time_or_by_steps(tmp_path: Path) -> None:
    by_steps: Any = TrainingState(tmp_path, "k", every_steps=5)
    assert by_steps.due(10) and not by_steps.due(11)
    assert not TrainingState(tmp_path, "k", every_s=1000).due(10)
    assert TrainingState(tmp_path, "k", every_s=0).due(10)
