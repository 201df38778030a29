"""The file of a retraining job: where the record is, what may be tried, and what a challenger must show. YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.bundle import PlainName
from training.recipe import Finetuning, Lora
from training.retraining.bounds import Bounds
from training.retraining.errors import SpecError
from training.synth.config import SynthConfig

Kind = Literal["recalibrate", "lora", "full"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Frozen):
    """The record: one of a dataset folder, a mapping file of an export, or a synthetic hospital."""

    dataset: Path | None = None
    mapping: Path | None = None
    synth: SynthConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Data:
        if sum(each is not None for each in (self.dataset, self.mapping, self.synth)) != 1:
            raise ValueError("give one of dataset (a folder), mapping (a YAML file) and synth (a synthetic hospital)")
        return self


class HoldoutPlan(_Frozen):
    """The last mature days of each task, of which all events (to a limit) and some controls are drawn."""

    days: Annotated[int, Field(ge=7)] = 182
    """Length of each task's window, which ends with its last mature week."""
    max_events: Annotated[int, Field(ge=10)] = 3000
    """Adverse outcomes a task that are drawn, at most. More of them cost time and gain certainty."""
    controls_per_case: Annotated[float, Field(ge=1)] = 5.0
    patients: Literal["report", "forbid", "allow"] = "report"
    """Patients of the holdout with earlier notes: trained on and reported apart, not trained on, or trained on."""


class TrainingPlan(_Frozen):
    """Which notes before the holdout are learned from, validated with and tested on."""

    days: Annotated[int, Field(ge=7)] | None = None
    """How far back each task's training labels go from its holdout; all by default."""
    recent_days: Annotated[int, Field(ge=7)] = 182
    """Before each task's holdout: validation and test labels are of these days, so that calibration is of now."""
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Of the recent stays; early stopping, calibration and thresholds read them."""
    test_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Of the recent stays; whether a remedy suffices is judged on them."""
    max_notes: Annotated[int, Field(ge=100)] | None = None
    """Training notes drawn, at most."""
    max_validation_notes: Annotated[int, Field(ge=100)] = 20_000
    """Of validation notes, and of test notes."""
    min_events: Annotated[int, Field(ge=1)] = 30
    """Adverse outcomes and others of each task, in validation and in test, under which the job is held."""


class Remedy(_Frozen):
    """One thing to try. `recalibrate` keeps the weights; `lora` and `full` go on from the champion's."""

    kind: Kind
    finetuning: Finetuning | None = None
    """Of lora and full."""
    lora: Lora | None = None
    """Of lora; the paper's by default."""

    @model_validator(mode="after")
    def _check(self) -> Remedy:
        if (self.kind == "recalibrate") != (self.finetuning is None):
            raise ValueError("lora and full need finetuning, and recalibrate has none")
        if self.kind != "lora" and self.lora is not None:
            raise ValueError("lora goes with kind lora")
        return self


class Sufficiency(_Frozen):
    """When a remedy suffices, so that the next larger one is not tried: on the recent test notes, for every task, the
    upper bound of the AUROC is not under the champion's own figure less `max_auroc_drop` (the monitor's alarm)."""

    max_auroc_drop: Annotated[float, Field(ge=0)] = 0.02


class RetrainSpec(_Frozen):
    """A whole job. Paths are relative to the spec's folder."""

    name: PlainName | None = None
    """Of the challengers; the champion's by default."""
    data: Data
    registry: Path
    work: Path
    """Each job gets a folder of its own in it, by its as-of time."""
    tasks: Path | None = None
    """YAML file of tasks beside the built-in ones."""
    seed: Annotated[int, Field(ge=0)] = 3407
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    holdout: HoldoutPlan = HoldoutPlan()
    training: TrainingPlan = TrainingPlan()
    sufficient: Sufficiency = Sufficiency()
    gate: Bounds = Bounds()
    remedies: Annotated[tuple[Remedy, ...], Field(min_length=1)]
    """Smallest first."""
    request_shadow: bool = True
    """Ask the registry for a shadow rollout of the challenger that passed."""
    keep_training_notes: bool = False
    """Leave the training notes in the job's folder at its end; the holdout always stays, for `lang1 retrain gate`."""
    checkpoint_every_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps between two states of a training that is under way; every two minutes by default."""

    @model_validator(mode="after")
    def _check(self) -> RetrainSpec:
        order = [("recalibrate", "lora", "full").index(each.kind) for each in self.remedies]
        if order != sorted(order):
            raise ValueError("remedies go from the smallest to the largest: recalibrate, lora, full")
        if self.holdout.max_events < self.gate.min_events:
            raise ValueError("holdout.max_events is below gate.min_events: the gate would always hold")
        return self

    def located(self, folder: Path) -> RetrainSpec:
        """The same with absolute paths."""
        place = folder.expanduser().absolute()
        data = self.data.model_copy(
            update={
                key: place / value for key in ("dataset", "mapping") if (value := getattr(self.data, key)) is not None
            }
        )
        moved: dict[str, object] = {"data": data, "registry": place / self.registry, "work": place / self.work}
        if self.tasks is not None:
            moved["tasks"] = place / self.tasks
        return self.model_copy(update=moved)


def load_spec(path: Path) -> RetrainSpec:
    """The spec of a YAML file, with absolute paths. Raises SpecError naming the file and the key."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as YAML ({type(error).__name__}); send a UTF-8 YAML file") from None
    try:
        return RetrainSpec.model_validate(document, strict=False).located(path.parent)
    except ValidationError as error:
        # A misspelt key also misses its right spelling; the wrong one is the better thing to name.
        first = min(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"]) or "spec"
        raise SpecError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
