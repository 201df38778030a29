"""The loop of one process: it goes on exactly, goes back on spikes, and measures what it should.

In one process over gloo; `test_workers` has the same loop on two.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from lang1.tasks import BUILT_IN
from tests.training.pretraining.conftest import tiny_recipe
from training.pretraining.checkpoints import read_weights, steps_of, trajectory_of
from training.pretraining.errors import PretrainError
from training.pretraining.journal import read_events, read_metrics
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.shards import WEB, open_tokens
from training.pretraining.world import World

pytestmark = pytest.mark.slow

KEPT = ("step", "tokens", "sample", "loss", "gradient_norm", "learning_rate", "validation", "evaluation")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield World(0, 1, torch.device("cpu"))
    dist.destroy_process_group()
    torch.set_num_threads(threads)


class KilledError(Exception):
    """Stands for the death of the process."""


def train(recipe: PretrainRecipe, data: Path, out: Path, world: World, **more: Any) -> Any:
    from training.pretraining.loop import Pretraining

    out.mkdir(exist_ok=True)
    return Pretraining(recipe, data, out, world, **{"asked_of": {}, **more}).run()


def dies_after(step: int, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The process ends when this step was taken, before anything of it is written."""
    from training.pretraining.loop import Pretraining

    taken = Pretraining._measure

    def measure(self: Any, state: Any, entry: Any) -> Any:
        if state.step == step:
            raise KilledError
        return taken(self, state, entry)

    monkeypatch.setattr(Pretraining, "_measure", measure)
    return monkeypatch


def curve(out: Path) -> list[dict[str, Any]]:
    return [{key: line[key] for key in KEPT if key in line} for line in read_metrics(out)]


@pytest.fixture(scope="module")
def unbroken(token_folder: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    recipe = tiny_recipe(
        evaluation={
            "every_steps": 12,
            "notes_per_task": 20,
            "note_tokens": 160,
            "shots": 0,
            "comprehension_questions": 20,
        },
        samples={"every_steps": 12, "tokens": 8, "prompts": ["The patient"]},
    )
    outcome = train(recipe, token_folder, out, world, asked_of={"notes": dataset})
    assert outcome.state.step == 12 and outcome.stopped is None
    return out


def test_it_learns_and_says_how_fast(unbroken: Path) -> None:
    lines = read_metrics(unbroken)
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.2
    last = lines[-1]
    assert last["tokens"] == 12 * 4 * 192 and last["tokens_per_s"] > 0 and last["eta_s"] == 0 and last["mfu"] >= 0
    assert {"clinical", "web", "mean"} == last["validation"].keys()
    assert last["validation"]["mean"] < lines[5]["validation"]["mean"]


def test_questions_are_asked(unbroken: Path) -> None:
    asked = read_metrics(unbroken)[-1]["evaluation"]
    assert asked.keys() == {*BUILT_IN, "mean_auroc"}, "64 tokens of a note state too little to be asked about"
    assert all(asked[task]["questions"] == 20 for task in BUILT_IN) and 0 <= asked["mean_auroc"] <= 1


def test_samples_go_to_a_file_for_its_owner_alone_and_not_to_the_metrics(unbroken: Path) -> None:
    path = unbroken / "samples.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    written = json.loads(path.read_text())
    assert written["prompt"] == "The patient" and written["step"] == 12
    assert written["text"] not in (unbroken / "metrics.jsonl").read_text() + (unbroken / "events.jsonl").read_text()


def test_trajectory_checkpoints_hold_weights_by_tokens_seen(unbroken: Path) -> None:
    folder = unbroken / "checkpoints"
    assert steps_of(folder) == [4, 8, 12]
    # 768 tokens a step: the first steps over 4,000 and 8,000 tokens, and the ends.
    assert trajectory_of(folder) == [0, 4608, 8448, 9216]
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".safetensors", ".json"}]


@pytest.mark.parametrize("step", [3, 4, 7, 12])
def test_a_run_that_dies_goes_on_bit_for_bit(
    step: int, unbroken: Path, token_folder: Path, tmp_path: Path, world: World
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        dies_after(step, patch)
        train(tiny_recipe(), token_folder, tmp_path / "run", world)
    train(tiny_recipe(), token_folder, tmp_path / "run", world)
    started = [event["checkpoint"] for event in read_events(tmp_path / "run") if event["event"] == "started"]
    assert started == [None, f"step-{(step - 1) // 4 * 4:08d}"]
    expected = [{key: value for key, value in line.items() if key != "evaluation"} for line in curve(unbroken)]
    assert curve(tmp_path / "run") == expected
    part = "checkpoints/step-00000012/parts/shard-00001-model-00001-of-00001.safetensors"
    ends = [load_file(out / part) for out in (unbroken, tmp_path / "run")]
    assert len(ends[0]) == 3 * 17 and all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_damaged_checkpoint_is_passed_over(unbroken: Path, token_folder: Path, tmp_path: Path, world: World) -> None:
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    part = next((out / "checkpoints" / "step-00000012" / "parts").iterdir())
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(bytes(data))
    train(tiny_recipe(), token_folder, out, world)
    events = read_events(out)
    assert [event["name"] for event in events if event["event"] == "damaged checkpoint"] == ["step-00000012"]
    assert [event["checkpoint"] for event in events if event["event"] == "started"][-1] == "step-00000008"
    assert [line["loss"] for line in read_metrics(out)] == [line["loss"] for line in read_metrics(unbroken)]


SPIKY = {
    "optimization": {"steps": 40, "batch_sequences": 4, "micro_batch_sequences": 4, "learning_rate": 0.02},
    "spikes": {"window_steps": 8, "stable_steps": 2, "max_rollbacks": 2, "deviations": 6},
    "clinical_share": 0.0,
    "checkpoints": {"every_steps": 2, "trajectory_tokens": None},
    "validation": {"every_steps": 100},
}


BAD = range(30 * 4, 31 * 4)
"""The samples of step 31."""


def _with_bad_data(tokens: Path, folder: Path, samples: range) -> None:
    """The same web tokens, but that the windows of these samples hold noise: shards that were written badly."""
    shutil.copytree(tokens, folder)
    opened = open_tokens(folder)
    recipe = tiny_recipe(**SPIKY)
    from training.pretraining.batches import mixture_of

    _, windows = mixture_of(recipe, opened).pick(np.array(samples))
    ends = np.cumsum([(shard.tokens - 1) // 192 for shard in opened.source(WEB, "train").shards])
    noise = np.random.default_rng(0)
    for window in windows.tolist():
        number = int(np.searchsorted(ends, window, side="right"))
        path = folder / opened.source(WEB, "train").shards[number].name
        ids = np.fromfile(path, dtype="<u2")
        first = (window - (int(ends[number - 1]) if number else 0)) * 192
        ids[first : first + 193] = noise.integers(600, 1150, 193)
        ids.tofile(path)


def test_a_spike_goes_back_and_skips_the_data(token_folder: Path, tmp_path: Path, world: World) -> None:
    _with_bad_data(token_folder, tmp_path / "bad", BAD)
    out = tmp_path / "run"
    outcome = train(tiny_recipe(**SPIKY), tmp_path / "bad", out, world)
    assert outcome.state.step == 40 and outcome.stopped is None
    rollbacks = [event for event in read_events(out) if event["event"] == "rollback"]
    # Checkpoints are 2 steps apart and count when 2 steps old: that of step 28, whose next sample was 112.
    found = [(event["step"], event["to_step"], event["skipped_samples"]) for event in rollbacks]
    assert found == [(31, 28, [112, 124])]
    assert rollbacks[0]["loss"] > rollbacks[0]["limit"]
    lines = read_metrics(out)
    assert [line["step"] for line in lines] == list(range(1, 41))
    assert [line["sample"] for line in lines][26:30] == [108, 112, 128, 132]
    assert max(line["loss"] for line in lines[28:]) < rollbacks[0]["limit"]


def test_a_rollback_outlives_the_process(token_folder: Path, tmp_path: Path, world: World) -> None:
    _with_bad_data(token_folder, tmp_path / "bad", BAD)
    train(tiny_recipe(**SPIKY), tmp_path / "bad", tmp_path / "whole", world)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        _dies_after_going_back(patch)
        train(tiny_recipe(**SPIKY), tmp_path / "bad", tmp_path / "run", world)
    train(tiny_recipe(**SPIKY), tmp_path / "bad", tmp_path / "run", world)
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def _dies_after_going_back(patch: pytest.MonkeyPatch) -> None:
    from training.pretraining.loop import Pretraining

    went_back = Pretraining._go_back

    def go_back(*arguments: Any) -> Any:
        went_back(*arguments)
        raise KilledError

    patch.setattr(Pretraining, "_go_back", go_back)


def test_a_run_that_only_spikes_stops_and_says_so(token_folder: Path, tmp_path: Path, world: World) -> None:
    _with_bad_data(token_folder, tmp_path / "bad", range(30 * 4, 60 * 4))
    outcome = train(tiny_recipe(**SPIKY), tmp_path / "bad", tmp_path / "run", world)
    assert outcome.failed and "2 rollbacks" in outcome.stopped
    assert steps_of(tmp_path / "run" / "checkpoints")[-1] <= 30


def test_patience_ends_a_run(token_folder: Path, tmp_path: Path, world: World) -> None:
    recipe = tiny_recipe(
        optimization={"learning_rate": 1e-9, "final_learning_rate": 0.0},
        validation={"every_steps": 1, "patience": 2},
        precision="bfloat16",
    )
    outcome = train(recipe, token_folder, tmp_path / "run", world)
    assert outcome.state.step < 12 and not outcome.failed and "2 validations" in outcome.stopped


def test_rollbacks_that_cannot_be_read_stop_the_run(
    unbroken: Path, token_folder: Path, tmp_path: Path, world: World
) -> None:
    shutil.copytree(unbroken, tmp_path / "run")
    (tmp_path / "run" / "rollbacks.json").write_text("{")
    with pytest.raises(PretrainError, match=r"rollbacks\.json"):
        train(tiny_recipe(), token_folder, tmp_path / "run", world)


@pytest.mark.parametrize(
    ("changes", "within"),
    [
        ({"sharding": "full"}, 0.0),
        ({"optimization": {"micro_batch_sequences": 4}}, 1e-5),
        ({"precision": "bfloat16"}, 0.02),
    ],
    ids=["all weights in parts", "other micro-batches", "bfloat16"],
)
def test_how_it_is_computed_changes_no_loss(
    changes: dict[str, Any], within: float, unbroken: Path, token_folder: Path, tmp_path: Path, world: World
) -> None:
    train(tiny_recipe(**changes), token_folder, tmp_path / "run", world)
    expected = [line["loss"] for line in read_metrics(unbroken)]
    assert [line["loss"] for line in read_metrics(tmp_path / "run")] == pytest.approx(expected, rel=within, abs=0)


def test_a_run_starts_from_a_checkpoint_of_the_same_shape(
    unbroken: Path, token_folder: Path, tokenizer_file: Path, tmp_path: Path, world: World
) -> None:
    from training.pretraining.convert import write_hf
    from training.pretraining.model import litgpt_config

    weights = read_weights(unbroken / "checkpoints" / "step-00000012")
    write_hf(
        tmp_path / "base", litgpt_config(tiny_recipe().model, 1200, "t"), weights, tokenizer_file, {}, torch.float32
    )
    train(tiny_recipe(base=tmp_path / "base"), token_folder, tmp_path / "run", world)
    start = read_weights(tmp_path / "run" / "checkpoints" / "tokens-000000000000000")
    assert all(torch.equal(start[name], weights[name]) for name in weights)
    assert read_metrics(tmp_path / "run")[0]["loss"] < read_metrics(unbroken)[3]["loss"]
    with pytest.raises(PretrainError, match=r"base: lm_head\.weight is"):
        train(tiny_recipe(base=tmp_path / "base", model={"hidden_size": 64}), token_folder, tmp_path / "other", world)
