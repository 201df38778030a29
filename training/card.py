"""The model card: what the model is for, what it was trained on, what it measured, and where it must not be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lang1.note_types import NOTE_TYPES
from lang1.tasks import TaskRegistry
from training.recipe import Recipe


def model_card(recipe: Recipe, registry: TaskRegistry, parameters: int, data: str, report: Mapping[str, Any]) -> str:
    """MODEL_CARD.md as text; every figure comes from `report`. `data` says in a sentence what the notes are."""
    warmed = recipe.comprehension is not None
    head = f"# {recipe.name} {recipe.version}\n\n"
    head += (
        "**A demonstration. It was trained on invented patients of a simulator and must not be used for care.** Every "
        "answer it gives is tagged as a test (HTEST).\n\n"
        if recipe.demo
        else ""
    )
    return head + "\n".join(
        [
            "## What it is\n",
            f"A Llama-architecture decoder of {parameters / 1e6:.2f} million parameters, trained jointly on "
            f"{len(registry)} tasks. It reads the first {recipe.max_note_tokens} tokens of a clinical note and answers "
            "one multiple-choice question a task in a single packed forward pass. After the paper "
            '"Generalist Foundation Models Are Not Clinical Enough for Hospital Operations" (arXiv 2511.13703).\n',
            "## Intended use\n",
            "Decision support for hospital operations: discharge planning, bed planning, case management, claim "
            "review. A person decides. It is not a medical device, does not diagnose, and must not be used to deny, "
            "delay or end care, to choose treatment, or on patients and note types it was not evaluated on.\n",
            _tasks_table(registry),
            "## Training data\n",
            data
            + (
                " Beside the outcomes, the model learned what the simulator had written in the training notes and "
                "where it stood; the heads that told it are not in the bundle. The TF-IDF baseline has had no such "
                "help.\n"
                if warmed
                else "\n"
            ),
            *[_results(_split_title(split), entries, registry) for split, entries in report.items()],
            "## Limits\n",
            (
                "- Notes of the simulator are simpler than a hospital's: these figures say that the pipeline works, "
                "not how it would do on real notes.\n"
                if recipe.synth is not None
                else "- It was evaluated on the record it was trained on; another hospital must evaluate it anew.\n"
            )
            + f"- What stands after the first {recipe.max_note_tokens} tokens is not read; an answer says how much was "
            "cut.\n"
            "- A task asked of a note type it was not trained on is marked (`note_type_match: false`).\n"
            "- No analysis by subgroup yet.\n",
            "## Remake\n",
            f"```\nlang1 train finetune --recipe {recipe.name.removeprefix('lang1-')} --out FOLDER\n```\n",
        ]
    )


def _split_title(split: str) -> str:
    if split.startswith("temporal_"):
        # As in the paper: a later year keeps patients who were seen before.
        return f"The later year {split.removeprefix('temporal_')}, patients seen in training kept"
    return "Patients not seen in training"


def _tasks_table(registry: TaskRegistry) -> str:
    rows = ["| task | read from | options |", "|---|---|---|"]
    for task in registry.values():
        types = ", ".join(NOTE_TYPES[loinc].display if loinc in NOTE_TYPES else loinc for loinc in task.note_types)
        rows.append(f"| `{task.name}` | {types} | {'; '.join(option.text for option in task.options)} |")
    return "\n".join(rows) + "\n"


def _results(title: str, split: Mapping[str, Any], registry: TaskRegistry) -> str:
    """One split's table. Where the true probabilities are known, AUROC against them and the ceilings stand beside."""
    soft = any("soft" in entry for entry in split.values())
    told = "AUROC on outcomes with its 95% interval, patients resampled whole; "
    if soft:
        told = (
            "AUROC on drawn outcomes with its 95% interval, patients resampled whole; then AUROC against the true "
            "probabilities (soft labels) of the model, a TF-IDF + logistic regression baseline, the visible ceiling "
            "(the best possible from the facts in the tokens read) and the latent one (the true probabilities). "
        )
    else:
        told += "beside it a TF-IDF + logistic regression baseline. "
    compared = ("soft: model", "TF-IDF", "visible", "latent") if soft else ("TF-IDF",)
    rows = [
        f"## {title}\n",
        f"{told}ECE stands beside the 99th percentile of a perfectly calibrated model on as many notes.\n",
        f"| task | notes | AUROC | {' | '.join(compared)} | ECE-15 (perfect, 99th) |",
        "|---" * (4 + len(compared)) + "|",
    ]
    for name in registry:
        if name not in split:
            continue
        entry = split[name]
        auroc = entry["auroc"]
        found = (
            [entry["soft"].get(key) for key in ("model", "tfidf", "visible", "latent")]
            if soft
            else [entry.get("tfidf_auroc")]
        )
        cells = " | ".join("" if value is None else f"{value:.3f}" for value in found)
        measured = "{value:.3f} ({low:.3f} to {high:.3f})".format(**auroc) if None not in auroc.values() else "too few"
        rows.append(
            f"| `{name}` | {entry['notes']:,} | {measured} | {cells} | "
            f"{entry['ece_15']:.3f} ({entry['ece_15_perfect_99th']:.3f}) |"
        )
    return "\n".join(rows) + "\n"
