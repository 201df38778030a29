"""One small synthetic hospital for all tests of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.synth import Manifest, SynthConfig, write_dataset
from training.synth.arrow import Table
from training.synth.generate import read_notes

CONFIG = SynthConfig(patients=1500, seed=11, chunk_patients=500)


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("hospital")
    return folder, write_dataset(CONFIG, folder)


@pytest.fixture(scope="session")
def notes(hospital: tuple[Path, Manifest]) -> Table:
    return read_notes(hospital[0])
