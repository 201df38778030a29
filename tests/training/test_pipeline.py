from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny_bundle import tiny_model
from training.pipeline import Checkpoints
from training.recipe import RecipeError, load_recipe


def test_a_finished_phase_is_found_again_for_the_same_work_alone(tmp_path: Path) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, "data-hash")
    trained, other = tiny_model(seed=1), tiny_model(seed=2)
    checkpoints.save("comprehension", {"steps": 3}, trained, {"notes_seen": 7})
    assert checkpoints.load("comprehension", {"steps": 4}, other, said.append) is None
    assert Checkpoints(tmp_path, "other-hash").load("comprehension", {"steps": 3}, other, said.append) is None
    assert checkpoints.load("finetuning", {"steps": 3}, other, said.append) is None
    assert not said and not torch.equal(other.model.embed_tokens.weight, trained.model.embed_tokens.weight)
    assert checkpoints.load("comprehension", {"steps": 3}, other, said.append) == {"notes_seen": 7}
    for name, tensor in trained.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_the_shipped_recipe_is_valid() -> None:
    recipe = load_recipe("demo")
    assert recipe.demo and recipe.max_note_tokens == 512


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("hidden_size: 192", "hidden_size: 190"), "hidden_size"),
        (("num_key_value_heads: 3", "num_key_value_heads: 2"), "num_key_value_heads"),
        (("steps: 4600", "steps: 0"), "finetuning.optimization.steps"),
        (("layer: 1", "layer: 3"), "comprehension.layer"),
        (("answer_space: options", "answer_space: letters"), "finetuning.answer_space"),
        (("patients: 60000", "patient: 60000"), "synth.patient"),
    ],
)
def test_an_impossible_recipe_names_the_key(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    source = (Path(__file__).parents[2] / "training" / "recipes" / "demo.yaml").read_text()
    assert change[0] in source
    path = tmp_path / "wrong.yaml"
    path.write_text(source.replace(*change))
    with pytest.raises(RecipeError, match=named):
        load_recipe(str(path))


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="shipped: demo"):
        load_recipe("none")
