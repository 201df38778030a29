"""Token shards: flat little-endian uint16 or uint32 files that are memory-mapped, and a manifest with their hashes.

A folder holds manifest.json, tokenizer.json and SOURCE-SPLIT-NNNNN.bin. Documents stand one after the other, each as
BOS, text, EOS. A training window is `context + 1` tokens of one shard, the last of which starts the next window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lang1.bundle import file_sha256
from training.pretraining.errors import PretrainError
from training.pretraining.mixing import Indices

MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"
CLINICAL, WEB = "clinical", "web"
TRAIN, VALIDATION = "train", "val"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Frozen):
    name: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+-\d{5}\.bin$")]
    tokens: Annotated[int, Field(ge=1)]
    sha256: Sha256


class SourceTokens(_Frozen):
    """One source's shards of one split."""

    documents: int = 0
    tokens: int = 0
    shards: tuple[Shard, ...] = ()


class TokensManifest(_Frozen):
    """What was tokenised and what was left out. Counts, hashes and days; nothing of a patient."""

    format_version: Literal[1] = 1
    lang1_version: str
    dtype: Literal["uint16", "uint32"]
    vocab_size: Annotated[int, Field(ge=2)]
    tokenizer_sha256: Sha256
    bos_token: str
    eos_token: str
    validation_fraction: float
    seed: int
    sources: dict[Literal["clinical", "web"], dict[Literal["train", "val"], SourceTokens]]
    dropped: dict[str, dict[str, int]]
    """Source, then why documents were left out."""
    clinical_window: tuple[str, str] | None
    """First and last day on which a clinical note was written; the last is the corpus' cutoff."""
    held_out_from: str | None
    """The first day of the held-out periods; no note without a split of its own is taken from then on."""
    notes_sha256: tuple[Sha256, ...] = ()
    """The notes.parquet of each dataset folder."""


class ShardWriter:
    """Writes one source's shards of one split, each of at most `shard_tokens` tokens unless one document is longer."""

    def __init__(self, folder: Path, source: str, split: str, dtype: str, shard_tokens: int) -> None:
        self._folder, self._stem, self._dtype, self._limit = folder, f"{source}-{split}", np.dtype(dtype), shard_tokens
        self._shards: list[Shard] = []
        self._documents = self._tokens = 0
        self._file: Any = None
        self._hash = hashlib.sha256()

    def add(self, ids: npt.ArrayLike) -> None:
        """One document's ids, with its BOS and EOS."""
        row = np.asarray(ids, dtype=self._dtype)
        if self._file is not None and self._tokens + len(row) > self._limit:
            self._finish()
        if self._file is None:
            self._file = (self._folder / f"{self._stem}-{len(self._shards):05d}.bin").open("wb")
        data = row.astype(self._dtype.newbyteorder("<")).tobytes()
        self._file.write(data)
        self._hash.update(data)
        self._tokens += len(row)
        self._documents += 1

    def _finish(self) -> None:
        self._file.close()
        name = Path(self._file.name).name
        self._shards.append(Shard(name=name, tokens=self._tokens, sha256=self._hash.hexdigest()))
        self._file, self._hash, self._tokens = None, hashlib.sha256(), 0

    def close(self) -> SourceTokens:
        if self._file is not None:
            self._finish()
        return SourceTokens(
            documents=self._documents, tokens=sum(shard.tokens for shard in self._shards), shards=tuple(self._shards)
        )


class Windows:
    """One source's windows of one split. Reads only what is asked for."""

    def __init__(self, folder: Path, source: SourceTokens, dtype: str, context: int) -> None:
        self._context = context
        self._maps = [
            np.memmap(folder / shard.name, dtype=np.dtype(dtype).newbyteorder("<"), mode="r", shape=(shard.tokens,))
            for shard in source.shards
        ]
        counts = [(shard.tokens - 1) // context for shard in source.shards]
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def width(self) -> int:
        """Tokens of a window: the context, and the one after it."""
        return self._context + 1

    def read(self, windows: Indices) -> npt.NDArray[np.int64]:
        """int64 (n, width)."""
        out = np.empty((len(windows), self.width), dtype=np.int64)
        shards = np.searchsorted(self._ends, windows, side="right")
        for row, (window, shard) in enumerate(zip(windows.tolist(), shards.tolist(), strict=True)):
            first = (window - (int(self._ends[shard - 1]) if shard else 0)) * self._context
            out[row] = self._maps[shard][first : first + self._context + 1]
        return out


class Tokens:
    """A folder of token shards, with its manifest checked."""

    def __init__(self, folder: Path, manifest: TokensManifest, sha256: str) -> None:
        self.folder, self.manifest, self.sha256 = folder, manifest, sha256

    def source(self, source: str, split: str) -> SourceTokens:
        splits: Any = self.manifest.sources.get(source, {})  # type: ignore[call-overload]
        return splits.get(split, SourceTokens())  # type: ignore[no-any-return]

    def windows(self, source: str, split: str, context: int) -> Windows:
        return Windows(self.folder, self.source(source, split), self.manifest.dtype, context)

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> None:
        """Read every shard and the tokenizer and compare hashes. Raises PretrainError naming the file."""
        if file_sha256(self.folder / TOKENIZER_FILE) != self.manifest.tokenizer_sha256:
            raise PretrainError(f"{TOKENIZER_FILE} is not the one that made these tokens; run lang1 train tokens again")
        for splits in self.manifest.sources.values():
            for source in splits.values():
                for shard in source.shards:
                    if file_sha256(self.folder / shard.name) != shard.sha256:
                        raise PretrainError(
                            f"{shard.name} was changed after it was written; run lang1 train tokens again"
                        )
                    advance(shard.tokens)

    @property
    def total(self) -> int:
        return sum(source.tokens for splits in self.manifest.sources.values() for source in splits.values())


def open_tokens(folder: Path) -> Tokens:
    """A folder that `lang1 train tokens` wrote. Raises PretrainError when a shard is missing or of another size."""
    path = folder / MANIFEST_FILE
    try:
        raw = path.read_bytes()
        manifest = TokensManifest.model_validate_json(raw)
    except OSError as error:
        raise PretrainError(
            f"{folder}: no readable {MANIFEST_FILE} ({type(error).__name__}); run lang1 train tokens"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PretrainError(f"{path}: {where}: {first['msg']}; run lang1 train tokens again") from None
    width = np.dtype(manifest.dtype).itemsize
    for splits in manifest.sources.values():
        for source in splits.values():
            for shard in source.shards:
                found = folder / shard.name
                if not found.is_file() or found.stat().st_size != shard.tokens * width:
                    raise PretrainError(
                        f"{shard.name} is missing or not {shard.tokens} tokens long; run lang1 train tokens"
                    )
    return Tokens(folder, manifest, hashlib.sha256(raw).hexdigest())
