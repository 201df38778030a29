"""A model bundle: a folder with weights, tokenizer, manifest and card, sealed by hashes. lang1's only I/O.

`lang1.json` lists every other file with its sha256, and the bundle's own hash is the sha256 of `lang1.json`: a changed
byte anywhere is a different bundle, or one that refuses to load. Weights are safetensors; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lang1.errors import BundleError, TaskDefinitionError
from lang1.note_types import NOTE_TYPES
from lang1.prompt import suffix_sha256
from lang1.scores import Calibrator, ModelIdentity, OperatingThresholds
from lang1.tasks import BUILT_IN, Task, TaskRegistry

MANIFEST = "lang1.json"
CARD = "MODEL_CARD.md"
REPORT = "evaluation.json"
REFERENCE = "reference.json"
"""What scores and notes looked like on validation data: drift is judged against it."""
TRAINING_NOTES = "training_notes.safetensors"
"""Salted hashes of the notes that it was trained on: a gate holds its holdout against them."""
REQUIRED_FILES = ("config.json", "tokenizer.json", CARD)
"""Beside these the weights: one file, or shards with their index."""
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$")]

# Question texts depend on the note type, so a hash is kept for each, and for a note of a type we do not know.
_RENDERED_FOR: tuple[str | None, ...] = (*NOTE_TYPES, None)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainedTask(_Frozen):
    """One task as the model was trained: its definition, its rendered questions' hashes, calibrator and thresholds."""

    task: Task
    prompt_sha256: dict[str, Sha256]
    """By LOINC code; the key "other" is a note of unknown type."""
    calibrator: Calibrator = Calibrator()
    thresholds: OperatingThresholds

    @model_validator(mode="after")
    def _check(self) -> TrainedTask:
        if len(self.calibrator.offsets) not in (0, len(self.task.options)):
            raise ValueError(f"the calibrator needs {len(self.task.options)} offsets or none")
        return self


class BundleManifest(_Frozen):
    """`lang1.json`. `training` and `evaluation` are the recipe with its data's hashes, and the report's summary."""

    format_version: Literal[1] = 1
    name: PlainName
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,40}$")]
    created: datetime
    demo: bool
    """True marks every answer as a test (HTEST): trained on invented patients, never for care."""
    base: str
    """What finetuning started from."""
    max_note_tokens: Annotated[int, Field(ge=1)]
    bos_token: str | None
    tasks: tuple[TrainedTask, ...]
    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    files: dict[PlainName, Sha256]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. `sha256` is the bundle's content hash."""

    folder: Path
    manifest: BundleManifest
    sha256: str

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(self.manifest.name, self.manifest.version, self.sha256, self.manifest.demo)

    @property
    def registry(self) -> TaskRegistry:
        return TaskRegistry(trained.task for trained in self.manifest.tasks)

    @property
    def calibrators(self) -> dict[str, Calibrator]:
        return {trained.task.name: trained.calibrator for trained in self.manifest.tasks}

    @property
    def thresholds(self) -> dict[str, OperatingThresholds]:
        return {trained.task.name: trained.thresholds for trained in self.manifest.tasks}

    @property
    def card(self) -> str:
        return (self.folder / CARD).read_text(encoding="utf-8")


def load_bundle(folder: Path, registry: TaskRegistry | None = None) -> Bundle:
    """Read and verify a bundle: every listed file's hash, no unlisted file, every rendered question.

    Tasks that `registry` (the built-in ones by default) also defines must mean the same.
    Raises BundleError naming the file or the task.
    """
    path = folder / MANIFEST
    try:
        _refuse_what_is_not_a_plain_file(path)
        with path.open("rb") as file:
            raw = file.read(_MAX_MANIFEST_BYTES + 1)
        if len(raw) > _MAX_MANIFEST_BYTES:
            raise BundleError(f"{MANIFEST} is over {_MAX_MANIFEST_BYTES} bytes; this is not a bundle")
        manifest = BundleManifest.model_validate_json(raw)
    except OSError as error:
        raise BundleError(
            f"{folder}: no readable {MANIFEST} ({type(error).__name__}); give a bundle's folder"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{folder.name}/{MANIFEST}: {where}: {first['msg']}") from None
    _verify_files(folder, manifest)
    bundle = Bundle(folder, manifest, hashlib.sha256(raw).hexdigest())
    _verify_prompts(bundle, registry)
    return bundle


def _verify_files(folder: Path, manifest: BundleManifest) -> None:
    present = {entry.name for entry in folder.iterdir()} - {MANIFEST}
    if unlisted := sorted(present - manifest.files.keys()):
        raise BundleError(f"{folder.name}: {unlisted[0]} is not listed in {MANIFEST}; a bundle holds only sealed files")
    if missing := sorted({*REQUIRED_FILES} - manifest.files.keys()):
        raise BundleError(f"{folder.name}/{MANIFEST}: files: {missing[0]} is not listed; remake the bundle")
    for name, expected in manifest.files.items():
        try:
            _refuse_what_is_not_a_plain_file(folder / name)
            actual = file_sha256(folder / name)
        except OSError as error:
            raise BundleError(f"{folder.name}: {name} cannot be read ({type(error).__name__})") from None
        if actual != expected:
            raise BundleError(f"{folder.name}: {name} was changed after the bundle was sealed; take the original again")


def _refuse_what_is_not_a_plain_file(path: Path) -> None:
    """Raise BundleError for a link, pipe or device: what it leads to is not sealed. Raises OSError when absent."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise BundleError(f"{path.parent.name}: {path.name} is not a plain file; a bundle holds no links or devices")


def _verify_prompts(bundle: Bundle, registry: TaskRegistry | None) -> None:
    try:
        tasks = bundle.registry
    except TaskDefinitionError as error:
        raise BundleError(f"{bundle.folder.name}/{MANIFEST}: {error}") from None
    for trained in bundle.manifest.tasks:
        if trained.prompt_sha256 != prompt_hashes(trained.task):
            raise BundleError(
                f"task {trained.task.name}: this version of lang1 words the question otherwise than the model was "
                "trained with; retrain, or run the version that made the bundle"
            )
    for name, task in (BUILT_IN if registry is None else registry).items():
        if name in tasks and _meaning(task) != _meaning(tasks[name]):
            raise BundleError(
                f"task {name}: the bundle was trained with another definition of it; retrain, or rename it"
            )


def _meaning(task: Task) -> tuple[object, ...]:
    """What must not differ between training and serving: the question, and what its answers stand for."""
    return task.question, task.options, task.adverse_options, task.note_types, task.horizon, task.horizon_days


def prompt_hashes(task: Task) -> dict[str, str]:
    """sha256 of the task's rendered question for every known note type, and "other"."""
    return {loinc or "other": suffix_sha256(task, loinc) for loinc in _RENDERED_FOR}


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bundle(
    folder: Path,
    files: Path,
    *,
    name: str,
    version: str,
    demo: bool,
    base: str,
    max_note_tokens: int,
    bos_token: str | None,
    registry: TaskRegistry,
    calibrators: Mapping[str, Calibrator],
    thresholds: Mapping[str, OperatingThresholds],
    training: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    created: datetime | None = None,
) -> Bundle:
    """Seal the files of folder `files` (weights, config, tokenizer, card, report) as a bundle at `folder`.

    The bundle appears whole or not at all: it is written beside its place and renamed. Raises BundleError when `folder`
    exists and is not an older bundle.
    """
    if folder.exists() and not (folder / MANIFEST).exists():
        raise BundleError(f"{folder} exists and is not a bundle; give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for source in sorted(files.iterdir()):
            shutil.copyfile(source, staging / source.name)
        manifest = BundleManifest(
            name=name,
            version=version,
            created=created or datetime.now(UTC).replace(microsecond=0),
            demo=demo,
            base=base,
            max_note_tokens=max_note_tokens,
            bos_token=bos_token,
            tasks=tuple(
                TrainedTask(
                    task=task,
                    prompt_sha256=prompt_hashes(task),
                    calibrator=calibrators.get(task.name, Calibrator()),
                    thresholds=thresholds[task.name],
                )
                for task in registry.values()
            ),
            training=dict(training),
            evaluation=dict(evaluation),
            files={path.name: file_sha256(path) for path in sorted(staging.iterdir())},
        )
        text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        (staging / MANIFEST).write_text(text, encoding="utf-8")
        staging.chmod(0o755)
        # The old bundle steps aside whole, so that at no time is there half of one under the name.
        aside = staging.with_name(f"{staging.name}-old")
        if folder.exists():
            folder.replace(aside)
        staging.replace(folder)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return load_bundle(folder)
