from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from lang1.bundle import Bundle
from tests.training.retraining.hospital import Hospital, write_hospital
from training.pipeline import run_recipe
from training.recipe import Recipe

SHAPE = {
    "vocab_size": 700, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip


@pytest.fixture(scope="session")
def old_notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the champion learned from: 2023."""
    return write_hospital(
        Hospital(date(2023, 1, 2), date(2023, 12, 10), 1500, seed=1), tmp_path_factory.mktemp("old") / "notes"
    )


@pytest.fixture(scope="session")
def champion(old_notes: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A champion that reads the words of 2023."""
    place = tmp_path_factory.mktemp("champion")
    recipe = Recipe.model_validate(
        {
            "name": "short-notes", "version": "1.0.0", "demo": True, "precision": "float32", "max_note_tokens": 48,
            "tokenizer_notes": 600, "evaluation_notes": 800, "model": SHAPE,
            "finetuning": {
                "answer_space": "options", "validate_every_steps": 60, "validation_notes": 300, "patience_steps": 400,
                "optimization": {
                    "steps": 180, "batch_tokens": 3000, "learning_rate": 6e-3, "max_gradient_norm": 1.0,
                    "warmup_steps": 10, "layer_matrices": "muon",
                },
            },
        }
    )  # fmt: skip
    return run_recipe(recipe, place / "bundle", place / "work", say=lambda _: None, data=old_notes)
