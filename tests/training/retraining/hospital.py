"""A hospital of short notes whose words tell the outcomes, more or less: a small model learns it in seconds.

Each answer of each task has a word of its own, and half of a note's words are those of other answers or of none. From
`new_words_from` on the words are others, so a model that learned the old ones no longer ranks.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL
from lang1.tasks import BUILT_IN
from training.synth.arrow import pa, pq
from training.synth.generate import MANIFEST_FILE, NOTES_FILE

STEMS = dict(zip(BUILT_IN, ("kal", "mor", "pid", "ruf", "tes"), strict=True))
ENDINGS = ("ola", "emi", "uti", "ano", "ipo")
NEW_ENDINGS = ("arb", "esk", "ind", "olf", "unt")
SHARES = {
    "readmission_30d": (0.7, 0.3), "in_hospital_mortality": (0.75, 0.25), "length_of_stay": (0.4, 0.2, 0.15, 0.25),
    "charlson_comorbidity_index": (0.4, 0.2, 0.15, 0.15, 0.1), "insurance_denial": (0.7, 0.3),
}  # fmt: skip
TOLD = 0.75
"""Share of the notes that tell the right word; the others tell one of any answer."""
FILLER = [
    "the",
    "patient",
    "was",
    "admitted",
    "and",
    "seen",
    "on",
    "the",
    "ward",
    "and",
    "was",
    "well",
    "and",
    "had",
    "a",
    "walk",
    "then",
    "sat",
    "up",
    "and",
    "ate",
    "and",
    "slept",
]


@dataclass(frozen=True)
class Hospital:
    first_day: date
    last_day: date
    stays: int
    seed: int = 1
    new_words_from: date | None = None
    patients: int | None = None
    """Half as many as stays, by default."""


def write_hospital(hospital: Hospital, folder: Path) -> Path:
    """Write a dataset folder with known outcomes: notes.parquet, manifest.json and outcomes.parquet."""
    rng = np.random.default_rng(hospital.seed)
    days = (hospital.last_day - hospital.first_day).days + 1
    start = datetime.combine(hospital.first_day, datetime.min.time(), tzinfo=UTC)
    people = hospital.patients or hospital.stays // 2
    rows: list[dict[str, object]] = []
    outcomes: list[dict[str, object]] = []
    for stay in range(hospital.stays):
        admitted = start + timedelta(days=int(rng.integers(0, days)), hours=int(rng.integers(1, 20)))
        labels = {name: int(rng.choice(len(share), p=share)) for name, share in SHARES.items()}
        left = admitted + timedelta(days=(1, 3, 5, 9)[labels["length_of_stay"]])
        person, encounter = f"p{int(rng.integers(0, people))}-{hospital.seed}", f"e{stay}-{hospital.seed}"
        band = str(rng.choice(["young", "old"]))
        for loinc, written in ((HISTORY_AND_PHYSICAL.loinc, admitted), (DISCHARGE_SUMMARY.loinc, left)):
            asked = [task for task in BUILT_IN.values() if task.trained_on(loinc)]
            new = hospital.new_words_from is not None and written.date() >= hospital.new_words_from
            rows.append(
                {
                    "note_id": f"n{stay}-{hospital.seed}-{loinc}", "patient_id": person, "encounter_id": encounter,
                    "note_type": loinc, "authored": written,
                    "text": _text(rng, {task.name: labels[task.name] for task in asked}, new, f"{stay}{hospital.seed}"),
                    "split": ("train", "train", "train", "val", "test")[stay % 5], "group_band": band,
                    **{f"label_{name}": labels[name] if BUILT_IN[name] in asked else -1 for name in BUILT_IN},
                }
            )  # fmt: skip
        known = {"readmission_30d": left + timedelta(days=31), "insurance_denial": left + timedelta(days=40),
                 "charlson_comorbidity_index": left + timedelta(days=5)}  # fmt: skip
        outcomes += [
            {"encounter": encounter, "task": name, "value": str(labels[name]), "known_at": known.get(name, left),
             "discharged_at": left}
            for name in BUILT_IN
        ]  # fmt: skip
    folder.mkdir(parents=True)
    when = pa.timestamp("s", tz="UTC")
    table = pa.Table.from_pylist(rows)
    table = table.set_column(table.column_names.index("authored"), "authored", table["authored"].cast(when))
    for name in BUILT_IN:
        at = table.column_names.index(f"label_{name}")
        table = table.set_column(at, f"label_{name}", table[f"label_{name}"].cast(pa.int8()))
    pq.write_table(table, folder / NOTES_FILE, row_group_size=500)
    pq.write_table(pa.Table.from_pylist(outcomes), folder / "outcomes.parquet")
    split = np.asarray(table["split"].to_pylist())
    manifest = {
        "notes_by_split": {name: int((split == name).sum()) for name in ("train", "val", "test")},
        "notes_sha256": hashlib.sha256((folder / NOTES_FILE).read_bytes()).hexdigest(),
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def _text(rng: np.random.Generator, labels: dict[str, int], new: bool, unique: str) -> str:
    endings = NEW_ENDINGS if new else ENDINGS
    words = []
    for name, label in labels.items():
        said = label if rng.random() < TOLD else int(rng.integers(0, len(SHARES[name])))
        words.append(STEMS[name] + endings[said])
    rng.shuffle(words)
    filler = list(rng.choice(FILLER, 12))
    return " ".join([*words, *filler, "number", *unique])
