"""What can be done about a worse model, smallest first: new calibrators, LoRA, all weights. Each gives a bundle.

All begin from the champion and keep its tokenizer, tasks and note length. Recalibration keeps the very files of its
weights; the others go on from them, and resume in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from lang1.bundle import Bundle
from lang1.prompt import PromptEncoder
from lang1.scorer import PackedScorer
from training.dataset import VALIDATION, open_dataset
from training.notes import load_split
from training.pipeline import run_recipe
from training.recipe import Finetuning, Lora, Optimization, Recipe
from training.retraining.spec import Kind, Remedy
from training.sealing import Seal, Trained, notes_of, seal_model

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a remedy starts from, and how its bundle is named. `about` goes into the bundle's manifest."""

    champion: Bundle
    data: Path
    """A dataset folder of train, val and test notes."""
    name: str
    version: str
    created: datetime
    salt: bytes
    seed: int
    precision: Literal["float32", "bfloat16"]
    about: Mapping[str, Any]
    checkpoint_every_steps: int | None = None


def version_of(champion: str, day: str, kind: Kind) -> str:
    """A version that says what it came from: `1.2.0` becomes `1.2.0+20260930.lora`. day: ISO 8601."""
    stem = champion.partition("+")[0]
    return f"{stem[:20]}+{day.replace('-', '')}.{kind}"


def apply(remedy: Remedy, attempt: Attempt, out: Path, work: Path, say: Say) -> Bundle:
    """Make the remedy's bundle at `out`; `work` keeps what is made on the way. Raises RecipeError, BundleError."""
    if remedy.kind == "recalibrate":
        return _recalibrate(attempt, out, say)
    assert remedy.finetuning is not None
    recipe = _recipe(attempt, remedy.finetuning, (remedy.lora or Lora()) if remedy.kind == "lora" else None)
    return run_recipe(recipe, out, work, say, attempt.champion.registry, attempt.data, seal=_seal(attempt))


def _recalibrate(attempt: Attempt, out: Path, say: Say) -> Bundle:
    """The champion with calibrators and thresholds of the recent validation notes."""
    champion = attempt.champion
    registry = champion.registry
    scorer = PackedScorer.load(champion.folder)
    dataset = open_dataset(attempt.data, registry)
    encoder: PromptEncoder = scorer.encoder
    validation = load_split(dataset.folder, (VALIDATION,), encoder, registry)
    evidence = notes_of(dataset, registry, champion, attempt.salt, splits=(VALIDATION,))
    # A recipe that trains nothing: it carries names and limits to the bundle.
    idle = Finetuning(optimization=Optimization(steps=1, batch_tokens=64, learning_rate=1e-9))
    recipe = _recipe(attempt, idle, None)
    trained = Trained(scorer.model, encoder, {"recalibration": {"validation_notes": len(validation.notes)}}, evidence,
                      files_of=champion)  # fmt: skip
    return seal_model(recipe, trained, dataset, validation, out, _seal(attempt, trains=False), say)


def _recipe(attempt: Attempt, finetuning: Finetuning, lora: Lora | None) -> Recipe:
    manifest = attempt.champion.manifest
    return Recipe(
        name=attempt.name, version=attempt.version, demo=manifest.demo, seed=attempt.seed, precision=attempt.precision,
        max_note_tokens=manifest.max_note_tokens, base=attempt.champion.folder, finetuning=finetuning, lora=lora,
    )  # fmt: skip


def _seal(attempt: Attempt, *, trains: bool = True) -> Seal:
    return Seal(
        created=attempt.created, salt=attempt.salt, baseline=False, with_minutes=False, with_recipe=trains,
        checkpoint_every_steps=attempt.checkpoint_every_steps, about=attempt.about,
    )  # fmt: skip
