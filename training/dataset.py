"""A dataset folder: notes.parquet with a split and labels for each note, and manifest.json.

The synthetic hospital writes one (`lang1 data synth`), a hospital's own record another (`lang1 data build`). Columns
that only a simulator can know (true probabilities, what a note states) are there or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lang1.bundle import file_sha256
from lang1.tasks import TaskRegistry
from training.recipe import Recipe, RecipeError
from training.synth.arrow import pa, pq
from training.synth.config import SIMULATOR_VERSION, SynthConfig
from training.synth.generate import MANIFEST_FILE, NOTES_FILE, Manifest, write_dataset

Say = Callable[[str], None]
TRAIN, VALIDATION, TEST = "train", "val", "test"
_NEEDED = ("note_id", "patient_id", "note_type", "text", "split")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder that training can read. `manifest` is its manifest.json; `columns` those of notes.parquet."""

    folder: Path
    notes_sha256: str
    manifest: dict[str, Any]
    columns: frozenset[str]

    @property
    def test_splits(self) -> tuple[str, ...]:
        """The splits that a report is about: held-out patients or notes, and each held-out period."""
        found = sorted(name for name in self.manifest["notes_by_split"] if name.startswith("temporal_"))
        return (TEST, *found)

    @property
    def knows_the_truth(self) -> bool:
        """Whether the true probabilities stand beside the labels."""
        return any(name.startswith("true_") for name in self.columns)

    @property
    def knows_what_is_stated(self) -> bool:
        return {"told", "ends"} <= self.columns

    def trained_tasks(self, registry: TaskRegistry) -> TaskRegistry:
        """The tasks that have labels in train, val and test: MIMIC-III, for one, has no claims. Raises RecipeError."""
        counts = self.manifest.get("label_counts")
        if counts is None:
            return registry
        parts = [counts.get(split, {}) for split in (TRAIN, VALIDATION, TEST)]
        found = [task for task in registry.values() if all(part.get(task.name) for part in parts)]
        if not found:
            raise RecipeError(f"{self.folder} has no task with labels in train, val and test")
        return TaskRegistry(found)

    def description(self) -> str:
        """One sentence for a model card."""
        if "simulator_version" in self.manifest:
            config = self.manifest["config"]
            return (
                f"The synthetic hospital of this project (simulator {self.manifest['simulator_version']}, seed "
                f"{config['seed']}, {config['patients']:,} patients, {config['first_year']} to {config['last_year']}). "
                "No real patient is in it."
            )
        notes = sum(self.manifest["notes_by_split"].values())
        return (
            f"{notes:,} notes of a hospital's own record (notes.parquet, sha256 {self.notes_sha256}). They may hold "
            "protected health information: so may the weights."
        )

    def record(self) -> dict[str, Any]:
        """What a bundle keeps of its data: counts, ratios and hashes, nothing of a patient."""
        kept = ("simulator_version", "notes_by_split", "class_ratios", "window")
        return {"notes_sha256": self.notes_sha256} | {key: self.manifest[key] for key in kept if key in self.manifest}


def open_dataset(folder: Path, registry: TaskRegistry) -> Dataset:
    """The dataset of a folder, checked: whole, with every task's labels. Raises RecipeError saying what is missing."""
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        by_split = dict(manifest["notes_by_split"])
        expected = str(manifest["notes_sha256"])
        columns = frozenset(pq.read_schema(folder / NOTES_FILE).names)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise RecipeError(
            f"{folder} is not a dataset folder ({type(error).__name__}); make one with lang1 data build or data synth"
        ) from None
    found = file_sha256(folder / NOTES_FILE)
    if found != expected:
        raise RecipeError(f"{folder / NOTES_FILE} is not the file of its manifest; build the dataset again")
    missing = [name for name in (*_NEEDED, *(f"label_{task}" for task in registry)) if name not in columns]
    if missing:
        raise RecipeError(f"{folder / NOTES_FILE} lacks {', '.join(missing)}; build it with these tasks")
    empty = [split for split in (TRAIN, VALIDATION, TEST) if not by_split.get(split)]
    if empty:
        raise RecipeError(f"{folder} has no notes in {', '.join(empty)}; training needs train, val and test")
    return Dataset(folder, found, manifest, columns)


def synthetic_dataset(config: SynthConfig, folder: Path, registry: TaskRegistry, say: Say) -> Dataset:
    """The synthetic hospital of `config` in `folder`: made there, or taken as it is when its manifest fits."""
    path = folder / MANIFEST_FILE
    if path.exists():
        found = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        fits = found.config == config and found.simulator_version == SIMULATOR_VERSION
        if fits and file_sha256(folder / NOTES_FILE) == found.notes_sha256:
            say(f"data: {found.notes:,} notes taken from {folder}")
            return open_dataset(folder, registry)
    made = write_dataset(config, folder)
    say(f"data: {made.notes:,} notes of {made.patients:,} invented patients written to {folder}")
    return open_dataset(folder, registry)


def dataset_of(recipe: Recipe, given: Path | None, work: Path, registry: TaskRegistry, say: Say) -> Dataset:
    """The folder given, or the recipe's synthetic hospital. Raises RecipeError when there is neither or both."""
    if given is None and recipe.synth is None:
        raise RecipeError("the recipe has no synth section; give the notes with --data")
    if given is not None and recipe.synth is not None:
        raise RecipeError(f"{recipe.name} makes its own notes; take synth out of the recipe to train on --data")
    if given is not None:
        dataset = open_dataset(given, registry)
    else:
        assert recipe.synth is not None
        dataset = synthetic_dataset(recipe.synth, work / "data", registry, say)
    if recipe.comprehension is not None and not dataset.knows_what_is_stated:
        raise RecipeError("comprehension: these notes come without what they state; take the section out of the recipe")
    return dataset
