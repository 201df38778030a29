"""`python -m training.synth --patients N --out DIR --seed S`: write a synthetic hospital."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.synth.config import SynthConfig
from training.synth.generate import write_dataset


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.synth", description="Write a synthetic hospital.")
    parser.add_argument("--patients", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    defaults = SynthConfig.model_fields
    parser.add_argument("--seed", type=int, default=defaults["seed"].default)
    parser.add_argument("--mean-words", type=int, default=defaults["mean_words"].default)
    given = parser.parse_args()
    config = SynthConfig(patients=given.patients, seed=given.seed, mean_words=given.mean_words)

    def show(done: int, total: int) -> None:
        sys.stderr.write(f"\r{done:,} of {total:,} patients")
        sys.stderr.flush()

    manifest = write_dataset(config, given.out, show)
    sys.stderr.write("\n")
    print(f"{manifest.notes:,} notes of {manifest.encounters:,} encounters, {manifest.mean_words} words a note")


if __name__ == "__main__":
    main()
