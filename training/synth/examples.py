"""The two example notes of the demo: an H&P and a discharge summary of one invented stay, as DocumentReferences.

    python -m training.synth.examples serve/examples

The stay comes from a seed that no recipe uses, so the demo model has not seen it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN
from training.synth.config import SynthConfig
from training.synth.fhir import document_reference
from training.synth.generate import generate

SEED = 20_131_511
FILES = {HISTORY_AND_PHYSICAL.loinc: "history-and-physical.json", DISCHARGE_SUMMARY.loinc: "discharge-summary.json"}
# A stay worth looking at: more likely than most to come back, to stay long and to be refused, and not dead.
LEAST = {"readmission": 0.3, "length_of_stay": 0.5, "insurance_denial": 0.25}


def example_stay() -> dict[str, dict[str, Any]]:
    """File name to DocumentReference of the first stay whose true adverse probabilities reach LEAST."""
    config = SynthConfig(patients=4000, seed=SEED, mean_words=280, contrast_rate=0.35, chunk_patients=500)
    for table in generate(config):
        stays: dict[str, dict[str, dict[str, Any]]] = {}
        for row in table.to_pylist():
            stays.setdefault(row["encounter_id"], {})[row["note_type"]] = row
        for rows in stays.values():
            if rows.keys() == FILES.keys() and _reaches(rows):
                return {FILES[loinc]: _document(row, rows) for loinc, row in rows.items()}
    raise LookupError("no stay of this hospital reaches the probabilities asked for; lower them")


def _reaches(rows: dict[str, dict[str, Any]]) -> bool:
    for task in BUILT_IN.values():
        true = next(row[f"true_{task.name}"] for loinc, row in rows.items() if task.trained_on(loinc))
        if sum(true[i] for i in task.adverse_options) < LEAST.get(task.label_rule, 0.0):
            return False
    return all(len(row["text"].split()) < 330 for row in rows.values())


def _document(row: dict[str, Any], rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    document = document_reference(row)
    period = {"start": rows[HISTORY_AND_PHYSICAL.loinc]["authored"].isoformat().replace("+00:00", "Z")}
    if row["note_type"] == DISCHARGE_SUMMARY.loinc:
        period["end"] = row["authored"].isoformat().replace("+00:00", "Z")
    document["context"]["period"] = period
    return document


def main(folder: Path) -> None:
    """Write the example files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in example_stay().items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
