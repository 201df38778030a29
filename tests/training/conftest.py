from __future__ import annotations

from pathlib import Path

import pytest

from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from training.synth.config import SynthConfig
from training.synth.generate import read_notes, write_dataset
from training.tokenizer import BOS_TOKEN, train_tokenizer


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth")
    write_dataset(SynthConfig(patients=150, seed=5, mean_words=300), folder)
    return folder


@pytest.fixture(scope="session")
def note_encoder(dataset: Path) -> PromptEncoder:
    texts = read_notes(dataset, None, ["text"])["text"].to_pylist()
    questions = [task.suffix(None) for task in BUILT_IN.values()]
    return PromptEncoder(train_tokenizer([*texts, *questions], 1200), BUILT_IN, 256, BOS_TOKEN)
