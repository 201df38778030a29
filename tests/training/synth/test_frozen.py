"""Bundles were trained on the hospital as it was: what a configuration gave once, it gives for ever."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from training.synth import SynthConfig, read_notes, write_dataset
from training.synth.arrow import pa

# pyarrow that wrote the file hashes; another may order the bytes of a file otherwise, but not its rows.
WRITTEN_BY = "26.0.1"
FROZEN: tuple[tuple[dict[str, Any], str, str], ...] = (
    (
        {"patients": 60, "seed": 5, "chunk_patients": 25},
        "d4e67e0189dbb27dbd7180b7f2505dcf1d0c364812352c912263709910b864bd",
        "4d4016e49ecc03fcb24b7a1a14a55b4b7c220e26465e4a69eec10de8d410f074",
    ),
    (
        {"patients": 40, "seed": 3407, "mean_words": 280, "contrast_rate": 0.35},
        "3fe36b43bf372a774cc5226c5143aed9a60f6b4f06b4a198fadeffc54f391800",
        "7ea58e6a876302f9c7e123e1da10e29ef7a4b3d947fed4ed551f5b7cc4762d46",
    ),
    (
        {"patients": 30, "seed": 9, "mean_words": 700, "max_words": 2000, "shuffle_rate": 1.0,
         "misspelling_rate": 0.5, "first_year": 2020, "last_year": 2021, "temporal_years": (2021,)},
        "641e31d1e4577d50efc6098ed73d33e27725df20b58900e03fef718f8703903a",
        "72b825d096d4ee7adabdbe20b80f2db40f951d5af6a14fd9f144da9f9d902374",
    ),
)  # fmt: skip
# A run's checkpoints are found by its configuration as it is written.
WRITTEN = (
    '{"patients":1,"seed":3407,"mean_words":380,"spread_words":0.45,"max_words":900,"contrast_rate":0.6,'
    '"misspelling_rate":0.04,"shuffle_rate":0.3,"first_year":2013,"last_year":2024,"temporal_years":[2024],'
    '"chunk_patients":2000}'
)


@pytest.mark.parametrize(("knobs", "rows_sha256", "file_sha256"), FROZEN)
def test_the_plain_hospital_is_frozen(
    knobs: dict[str, Any], rows_sha256: str, file_sha256: str, tmp_path: Path
) -> None:
    manifest = write_dataset(SynthConfig(**knobs), tmp_path)
    rows = json.dumps(read_notes(tmp_path).to_pylist(), default=str, sort_keys=True)
    assert hashlib.sha256(rows.encode()).hexdigest() == rows_sha256
    if pa.__version__ == WRITTEN_BY:
        assert manifest.notes_sha256 == file_sha256


def test_a_plain_configuration_is_written_as_it_always_was() -> None:
    assert SynthConfig(patients=1).model_dump_json() == WRITTEN
    assert SynthConfig.model_validate_json(WRITTEN) == SynthConfig(patients=1)
