"""The synthetic hospital: how long it takes to write, how much memory, and how well anyone could do on it.

    python -m bench.synth_speed [--patients 20000] [--workers 2] [--only full]

Each hospital is written to a temporary folder, with a FHIR export; then the true ratios and the ceilings of its
latest notes are taken: with the truth, with all that notes say, and with what they say in the first 512 tokens of the
demo bundle's tokenizer. CPU seconds are of all processes and depend on the machine alone; wall seconds depend on what
else it does (`load_before`: runnable processes). Memory is the largest of the processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lang1 import DEMO_BUNDLE
from lang1.bundle import load_bundle
from lang1.discrimination import macro_auroc
from lang1.prompt import PromptEncoder
from training.notes import kept_characters
from training.synth import SynthConfig, latent_probabilities, visible_probabilities, write_dataset
from training.synth.fhir_export import FhirOptions
from training.synth.generate import read_notes
from training.synth.presets import PRESETS

RESULT = Path(__file__).parent / "results" / "synth.json"
HOSPITALS: dict[str, dict[str, Any]] = {
    "plain": PRESETS["plain"],
    "full": PRESETS["full"],
    "full, second hospital": PRESETS["full"] | {"hospital": "second"},
}
SPLIT = "temporal_2024"
CEILING_NOTES = 2_000


def _cpu_s() -> float:
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _memory_mb() -> float:
    """The largest resident size of a process so far, ours or of a worker."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def ceilings(folder: Path) -> dict[str, dict[str, float]]:
    """Task to AUROC against the true probabilities: of the truth, of the whole note, of its first 512 tokens."""
    notes = read_notes(folder, [SPLIT]).slice(0, CEILING_NOTES)
    bundle = load_bundle(DEMO_BUNDLE)
    manifest = bundle.manifest
    encoder = PromptEncoder.from_file(
        bundle.folder / "tokenizer.json", bundle.registry, manifest.max_note_tokens, manifest.bos_token
    )
    latent = latent_probabilities(notes)
    whole = visible_probabilities(notes, np.full(notes.num_rows, np.inf))
    window = visible_probabilities(notes, kept_characters(notes, encoder))
    found = {}
    for task, truth in latent.items():
        here = ~np.isnan(truth[:, 0])
        found[task] = {
            "latent": round(macro_auroc(truth[here], truth[here]), 4),
            "visible": round(macro_auroc(whole[task][here], truth[here]), 4),
            "visible_512_tokens": round(macro_auroc(window[task][here], truth[here]), 4),
        }
    return found


def measure(name: str, patients: int, workers: int, folder: Path) -> dict[str, Any]:
    config = SynthConfig(patients=patients, **HOSPITALS[name])
    load, cpu, start = os.getloadavg()[0], _cpu_s(), time.perf_counter()
    manifest = write_dataset(config, folder, fhir=FhirOptions(), workers=workers)
    wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - cpu
    return {
        "patients": patients,
        "stays": manifest.encounters,
        "notes": manifest.notes,
        "mean_words": manifest.mean_words,
        "notes_mb": round((folder / "notes.parquet").stat().st_size / 1e6, 1),
        "fhir_mb": round(sum(path.stat().st_size for path in (folder / "fhir").iterdir()) / 1e6, 1),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "load_before": round(load, 1),
        "largest_process_mb": round(_memory_mb()),
        "class_ratios": manifest.class_ratios,
        "ceilings": ceilings(folder),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the synthetic hospitals and measure.")
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=HOSPITALS)
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"hospitals": {}}
    found["hardware"] = {
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
    for name in [given.only] if given.only else HOSPITALS:
        with tempfile.TemporaryDirectory() as folder:
            found["hospitals"][name] = {"workers": given.workers} | measure(
                name, given.patients, given.workers, Path(folder)
            )
        print(
            name, json.dumps({key: value for key, value in found["hospitals"][name].items() if key != "class_ratios"})
        )
        RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
