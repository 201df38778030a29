"""The task registry: the one home of every fact about a task.

Serving, training, evaluation, metrics, the CapabilityStatement and the README's table iterate over `TaskRegistry`;
no other file types a task's name. The five tasks and their option order are the paper's (Appendix H, 5.2.2); where the
paper contradicts itself the decision stands beside the task. A hospital adds a sixth task with a YAML file
(`load_tasks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.errors import TaskDefinitionError, UnknownTaskError
from lang1.note_types import DISCHARGE_SUMMARY, HISTORY_AND_PHYSICAL, prompt_name

OPTION_LETTERS = "ABCDEFGHIJ"
NOTE_NAME_FIELD = "{note}"

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,62}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Loinc = Annotated[str, Field(pattern=r"^\d{1,7}-\d$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Horizon(StrEnum):
    """When the predicted outcome happens: what goes into `prediction.when[x]`, and when a label can exist."""

    AFTER_DISCHARGE = "after_discharge"
    """Within `horizon_days` days after discharge."""
    ENCOUNTER = "encounter"
    """During this encounter, however long it lasts."""
    CLAIM = "claim"
    """When the claim of this encounter is adjudicated."""


class Option(_Frozen):
    """One answer. `text` is printed in the prompt; `code` and `display` are the outcome's FHIR coding."""

    text: str = Field(min_length=1, max_length=80)
    code: Code
    display: str = Field(min_length=1, max_length=120)


class Task(_Frozen):
    """A multiple-choice question about a note, and everything the system must know about it.

    `question` holds `{note}` where the note type's name goes. `options` are in prompt order (A, B, ...), K of them.
    `adverse_options` are the indices whose summed probability is "the risk": the positive class of a binary task.
    `note_types` are the LOINC codes the task is trained on. `label_rule` names the function that makes its label.
    `horizon_days` counts from discharge. `label_maturity_days` is when a cohort's labels may be read.
    """

    name: Slug
    version: int = Field(default=1, ge=1)
    title: str = Field(min_length=1, max_length=80)
    description: str = Field(min_length=1, max_length=400)
    question: str = Field(min_length=1, max_length=600)
    options: tuple[Option, ...] = Field(min_length=2, max_length=len(OPTION_LETTERS))
    adverse_options: tuple[int, ...] = Field(min_length=1)
    adverse_label: str = Field(min_length=1, max_length=80)
    note_types: tuple[Loinc, ...] = Field(min_length=1)
    label_rule: Slug
    horizon: Horizon
    horizon_days: int | None = Field(default=None, ge=1, le=3650)
    label_maturity_days: int = Field(ge=0, le=3650)
    high_risk_fraction: float = Field(default=0.10, gt=0, lt=1)
    """Share of notes that the `high` operating threshold is set to flag on validation data (capacity, not accuracy)."""
    moderate_risk_fraction: float = Field(default=0.30, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Task:
        if self.question.count(NOTE_NAME_FIELD) != 1 or set(self.question.replace(NOTE_NAME_FIELD, "")) & set("{}"):
            raise ValueError(f"question must name the note once as {NOTE_NAME_FIELD} and hold no other braces")
        if any(not 0 <= i < len(self.options) for i in self.adverse_options):
            raise ValueError(f"adverse_options must index the {len(self.options)} options")
        if len(set(self.adverse_options)) != len(self.adverse_options) or len(self.adverse_options) == len(
            self.options
        ):
            raise ValueError("adverse_options must be distinct and leave at least one option out")
        if len({option.code for option in self.options}) != len(self.options):
            raise ValueError("option codes must differ")
        if (self.horizon is Horizon.AFTER_DISCHARGE) != (self.horizon_days is not None):
            raise ValueError("horizon_days goes with horizon after_discharge, and only with it")
        if self.high_risk_fraction >= self.moderate_risk_fraction:
            raise ValueError("high_risk_fraction must be below moderate_risk_fraction")
        return self

    @property
    def kind(self) -> Literal["binary", "multiclass"]:
        return "binary" if len(self.options) == 2 else "multiclass"

    @property
    def letters(self) -> str:
        """The option letters, in order: "AB" for a binary task."""
        return OPTION_LETTERS[: len(self.options)]

    @property
    def positive_option(self) -> int | None:
        """Index of the positive option of a binary task; None for a multi-class one."""
        return self.adverse_options[0] if self.kind == "binary" else None

    @property
    def code(self) -> str:
        """The task's code in the CodeSystem and in metrics: its name with hyphens."""
        return self.name.replace("_", "-")

    def trained_on(self, loinc: str | None) -> bool:
        """Whether the task was trained on notes of this type (`note_type_match` in an answer)."""
        return loinc in self.note_types

    def suffix(self, loinc: str | None) -> str:
        """The prompt text after the note, for a note of this type: question, options, "Answer:". Paper, Appendix H."""
        lines = [f"Question: {self.question.replace(NOTE_NAME_FIELD, prompt_name(loinc))}"]
        lines += [f"{letter}. {option.text}" for letter, option in zip(self.letters, self.options, strict=True)]
        return "\n" + "\n".join(lines) + "\nAnswer:"


class TaskRegistry(Mapping[str, Task]):
    """An ordered, immutable set of tasks by name. Iterate `registry.values()`; never type a task's name."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks: dict[str, Task] = {}
        for task in tasks:
            if task.name in self._tasks:
                raise TaskDefinitionError(f"task {task.name!r} is defined twice; give one of them another name")
            self._tasks[task.name] = task
        if not self._tasks:
            raise TaskDefinitionError("a registry needs at least one task")

    def __getitem__(self, name: str) -> Task:
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"TaskRegistry({', '.join(self)})"

    def select(self, names: Iterable[str] | None) -> tuple[Task, ...]:
        """The named tasks in registry order; all of them for None. Raises UnknownTaskError naming the known ones."""
        if names is None:
            return tuple(self.values())
        wanted = list(names)
        for name in wanted:
            if name not in self:
                # The name is the caller's words, so it is not echoed: it may hold anything.
                raise UnknownTaskError(f"unknown task (entry {wanted.index(name)}); known: {', '.join(self)}")
        return tuple(task for task in self.values() if task.name in wanted)

    def with_tasks(self, tasks: Iterable[Task]) -> TaskRegistry:
        """This registry and more tasks after its own."""
        return TaskRegistry([*self.values(), *tasks])


def _binary(no: str, yes: str) -> tuple[Option, ...]:
    return (Option(text="no", code="no", display=no), Option(text="yes", code="yes", display=yes))


BUILT_IN = TaskRegistry(
    (
        Task(
            name="readmission_30d",
            title="30-day readmission",
            description="An inpatient encounter of the same patient starts within 30 days of discharge, for any cause.",
            question=(
                "Given the above {note} of the patient, will the patient be readmitted to the hospital within 30 days "
                "of discharge?"
            ),
            options=_binary("No readmission within 30 days", "Readmission within 30 days"),
            adverse_options=(1,),
            adverse_label="readmitted",
            note_types=(DISCHARGE_SUMMARY.loinc,),
            label_rule="readmission",
            horizon=Horizon.AFTER_DISCHARGE,
            horizon_days=30,
            label_maturity_days=37,
        ),
        # The abstract says 30-day mortality, the methods say in-hospital: in-hospital is what the labels are.
        Task(
            name="in_hospital_mortality",
            title="In-hospital mortality",
            description="The patient dies before discharge from this encounter.",
            question="Given the above {note} of the patient, will the patient die during the hospital admission?",
            options=_binary("Leaves hospital alive", "Dies in hospital"),
            adverse_options=(1,),
            adverse_label="dies",
            note_types=(HISTORY_AND_PHYSICAL.loinc,),
            label_rule="in_hospital_mortality",
            horizon=Horizon.ENCOUNTER,
            label_maturity_days=180,
        ),
        # Fixed bins of midnights crossed. The paper calls them quantiles; its class sizes are not quartiles.
        Task(
            name="length_of_stay",
            title="Length of stay",
            description="Midnights crossed between admission and discharge.",
            question="Given the above {note} of the patient, how long will the patient stay at the hospital?",
            options=(
                Option(text="0 to 2 days", code="days-0-2", display="0 to 2 days"),
                Option(text="3 days", code="days-3", display="3 days"),
                Option(text="4 to 5 days", code="days-4-5", display="4 to 5 days"),
                Option(text="more than 5 days", code="days-over-5", display="More than 5 days"),
            ),
            adverse_options=(3,),
            adverse_label="over 5 days",
            note_types=(HISTORY_AND_PHYSICAL.loinc,),
            label_rule="length_of_stay",
            horizon=Horizon.ENCOUNTER,
            label_maturity_days=180,
        ),
        # The paper's prompt prints "4 to 7" for D while its labels are 5 to 7; the labels are followed. No age points.
        Task(
            name="charlson_comorbidity_index",
            title="Charlson Comorbidity Index",
            description="Charlson index of the encounter's diagnosis codes, without age points.",
            question="Given the above {note} of the patient, what's the Charlson Comorbidity Index of the patient?",
            options=(
                Option(text="score 0", code="cci-0", display="Charlson index 0"),
                Option(text="score 1 to 2", code="cci-1-2", display="Charlson index 1 to 2"),
                Option(text="score 3 to 4", code="cci-3-4", display="Charlson index 3 to 4"),
                Option(text="score 5 to 7", code="cci-5-7", display="Charlson index 5 to 7"),
                Option(text="score more than 7", code="cci-over-7", display="Charlson index over 7"),
            ),
            adverse_options=(3, 4),
            adverse_label="index 5 or more",
            note_types=(HISTORY_AND_PHYSICAL.loinc,),
            label_rule="charlson_comorbidity_index",
            horizon=Horizon.ENCOUNTER,
            label_maturity_days=30,
        ),
        # The paper's prompt says "discharge note" while its data are H&P notes: the prompt names the note it is given.
        Task(
            name="insurance_denial",
            title="Insurance denial",
            description="The claim ends in an adverse determination, or was denied first and won on appeal.",
            question="Given the above {note} of the patient, will the insurance claim of the patient be denied?",
            options=_binary("Claim not denied", "Claim denied"),
            adverse_options=(1,),
            adverse_label="denied",
            note_types=(HISTORY_AND_PHYSICAL.loinc,),
            label_rule="insurance_denial",
            horizon=Horizon.CLAIM,
            label_maturity_days=180,
        ),
    )
)


class _TaskFile(_Frozen):
    tasks: tuple[Task, ...] = Field(min_length=1)


def load_tasks(path: Path, base: TaskRegistry = BUILT_IN) -> TaskRegistry:
    """`base` and the tasks of a hospital's YAML file (top-level key `tasks`, a list of entries like the ones above).

    Raises TaskDefinitionError naming the file, the entry and the field.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        # JSON mode: a YAML list is a tuple, a YAML string an enum value; numbers and strings stay strict.
        parsed = _TaskFile.model_validate_json(_as_json(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise TaskDefinitionError(f"{path}: {where}: {first['msg']}") from None
    except (OSError, yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise TaskDefinitionError(
            f"{path}: cannot be read as YAML ({type(error).__name__}); send a UTF-8 YAML file"
        ) from None
    return base.with_tasks(parsed.tasks)


def _as_json(document: object) -> str:
    import json

    return json.dumps(document, default=str)
