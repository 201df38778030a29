"""A job's record opened by its spec, and how far the champion's own training goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from lang1.bundle import Bundle
from lang1.tasks import TaskRegistry
from training.dataset import open_dataset, synthetic_dataset
from training.retraining.folder_source import FolderSource
from training.retraining.mapping_source import MappingSource
from training.retraining.source import NoteSource
from training.retraining.spec import RetrainSpec
from training.training_notes import read_training_notes

Say = Callable[[str], None]


def open_source(spec: RetrainSpec, work: Path, known: TaskRegistry, asked: TaskRegistry, say: Say) -> NoteSource:
    """The record that the spec names, with labels of the `asked` tasks; `known` are those that a mapping may name.

    Raises RecipeError, MappingError or SourceError.
    """
    if spec.data.mapping is not None:
        return MappingSource(spec.data.mapping, known, spec.seed)
    if spec.data.synth is not None:
        return FolderSource(synthetic_dataset(spec.data.synth, work / "source", asked, say), asked, spec.seed)
    assert spec.data.dataset is not None
    return FolderSource(open_dataset(spec.data.dataset, asked), asked, spec.seed)


def trained_until_s(champion: Bundle) -> dict[str, float]:
    """Task to the midnight after the champion's last training note of it, seconds since 1970 UTC; none where its bundle
    does not say."""
    evidence = read_training_notes(champion)
    return {} if evidence is None else {name: _after(each.last_day) for name, each in evidence.windows.items()}


def _after(day: str) -> float:
    return datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(0), tzinfo=UTC).timestamp()
