"""Which notes a bundle was trained on, as evidence that can be checked and tells nothing of them.

`training_notes.safetensors` is sealed in the bundle: salted 64-bit hashes of the cleaned texts of its training and its
validation notes (calibration, thresholds and early stopping read those), and for each task the days between which
those with a label of it were written. A bundle that began from another one carries that one's notes too. Eight bytes a
note; a text cannot be had from its hash, and no patient is named.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lang1.bundle import TRAINING_NOTES, Bundle
from lang1.errors import BundleError
from lang1.notes import clean_text

SALT_BYTES = 16
_METADATA = "lang1"
_MAX_NOTES = 200_000_000
Hashes = npt.NDArray[np.uint64]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class Window(BaseModel):
    """First and last day, UTC, on which notes were written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_day: Day
    last_day: Day

    def joined(self, other: Window) -> Window:
        """The days of both."""
        return Window(first_day=min(self.first_day, other.first_day), last_day=max(self.last_day, other.last_day))


class _Metadata(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    hash: Literal["blake2b-64"] = "blake2b-64"
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    windows: dict[str, Window]
    unknown_bases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingNotes:
    """The evidence. Hashes are sorted and unique.

    windows: task to the days of its notes; none for notes without dates. unknown_bases: sha256 of bundles
    among the ancestors that carried no evidence, so that nobody can say what they were trained on.
    """

    salt: bytes
    train: Hashes
    validation: Hashes
    windows: Mapping[str, Window] = field(default_factory=dict)
    unknown_bases: tuple[str, ...] = ()

    def hashes(self, texts: Iterable[str]) -> Hashes:
        """(n,) hashes of texts, cleaned as they are before a model reads them, with this evidence's salt."""
        return hashed(texts, self.salt)

    def overlap(self, texts: Iterable[str]) -> npt.NDArray[np.bool_]:
        """(n,): which texts were trained on or validated with."""
        found = self.hashes(texts)
        return np.asarray(np.isin(found, self.train) | np.isin(found, self.validation))

    def save(self, path: Path) -> None:
        """Write the file; the same evidence gives the same bytes."""
        about = _Metadata(salt=self.salt.hex(), windows=dict(sorted(self.windows.items())),
                          unknown_bases=self.unknown_bases)  # fmt: skip
        text = json.dumps(about.model_dump(mode="json"), sort_keys=True)
        save_file({"train": self.train, "validation": self.validation}, path, metadata={_METADATA: text})


def new_salt() -> bytes:
    """For a model that begins from none of ours."""
    return secrets.token_bytes(SALT_BYTES)


def hashed(texts: Iterable[str], salt: bytes) -> Hashes:
    """(n,) 64-bit hashes of the cleaned texts."""
    digests = b"".join(hashlib.blake2b(clean_text(text).encode(), digest_size=8, salt=salt).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def training_notes(
    train: Iterable[str],
    validation: Iterable[str],
    windows: Mapping[str, Window],
    *,
    salt: bytes | None = None,
    base: Bundle | None = None,
) -> TrainingNotes:
    """The evidence of a model that was trained on these texts, and begun from `base`, whose notes then count too."""
    before = None if base is None else read_training_notes(base)
    if before is None:
        salt = salt or new_salt()
        return TrainingNotes(
            salt, np.unique(hashed(train, salt)), np.unique(hashed(validation, salt)), dict(windows),
            () if base is None else (base.sha256,),
        )  # fmt: skip
    joined = dict(before.windows)
    for task, window in windows.items():
        joined[task] = window.joined(joined[task]) if task in joined else window
    return replace(
        before,
        train=np.union1d(before.train, before.hashes(train)),
        validation=np.union1d(before.validation, before.hashes(validation)),
        windows=joined,
    )


def read_training_notes(bundle: Bundle) -> TrainingNotes | None:
    """The evidence of a verified bundle; None when it carries none. Raises BundleError for a file that is none."""
    if TRAINING_NOTES not in bundle.manifest.files:
        return None
    try:
        with safe_open(bundle.folder / TRAINING_NOTES, framework="numpy") as file:
            about = _Metadata.model_validate_json((file.metadata() or {}).get(_METADATA, ""))
            if any(np.prod(file.get_slice(name).get_shape()) > _MAX_NOTES for name in ("train", "validation")):
                raise ValueError("too many notes")
            train, validation = (file.get_tensor(name) for name in ("train", "validation"))
        if any(each.ndim != 1 or each.dtype != np.uint64 for each in (train, validation)):
            raise ValueError("hashes are 64-bit")
    except (SafetensorError, ValidationError, ValueError, OSError) as error:
        raise BundleError(f"{TRAINING_NOTES} cannot be read ({type(error).__name__}); remake the bundle") from None
    return TrainingNotes(bytes.fromhex(about.salt), train, validation, about.windows, about.unknown_bases)
