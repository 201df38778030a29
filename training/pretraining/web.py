"""The web source: text files, and JSON lines with a `text` each, as SlimPajama comes. Plain, gzip or Zstandard."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from training.pretraining.errors import PretrainError
from training.synth.arrow import pa

SUFFIXES = (".jsonl", ".txt")
COMPRESSED = ("", ".gz", ".zst")
MIN_CHARACTERS = 200
"""SlimPajama's own bound: shorter documents are headings and boilerplate."""


@dataclass(slots=True)
class WebSource:
    """Documents of files and folders, in order of their paths. SlimPajama is deduplicated, so nothing is here."""

    paths: Sequence[Path]
    dropped: dict[str, int] = field(default_factory=dict)

    def documents(self) -> Iterator[tuple[str, str]]:
        """(text, what validation is drawn by) of every document that is long enough."""
        for path in self.paths:
            for file in _files(path):
                for text in _texts(file):
                    if len(text.strip()) < MIN_CHARACTERS:
                        why = f"under {MIN_CHARACTERS} characters"
                        self.dropped[why] = self.dropped.get(why, 0) + 1
                        continue
                    yield text, hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _files(path: Path) -> list[Path]:
    known = tuple(name + packed for name in SUFFIXES for packed in COMPRESSED)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(known))
    else:
        found = [path] if path.is_file() and path.name.endswith(known) else []
    if not found:
        raise PretrainError(f"{path}: no {', '.join(SUFFIXES)} file (plain, .gz or .zst) there")
    return found


def _texts(file: Path) -> Iterator[str]:
    if not file.name.removesuffix(file.suffix if file.suffix in COMPRESSED else "").endswith(".jsonl"):
        with _opened(file) as stream:
            yield stream.read().decode("utf-8", "replace")
        return
    for number, line in enumerate(open_lines(file), 1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise PretrainError(f"{file.name}, line {number}: not a JSON object with a text")
        yield text


def open_lines(file: Path) -> Iterator[bytes]:
    """The lines of a file that is plain, .gz or .zst, without the empty ones. Raises PretrainError."""
    try:
        with _opened(file) as stream:
            for line in stream:
                if line.strip():
                    yield line
    except (OSError, EOFError) as error:
        raise PretrainError(f"{file.name}: cannot be read ({type(error).__name__})") from None


def _opened(file: Path) -> IO[bytes]:
    if file.suffix == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]
    if file.suffix == ".zst":
        # Arrow's stream has no line iterator of its own; a Python reader over it has.
        import io

        return io.BufferedReader(pa.PythonFile(pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"), mode="r"))
    return file.open("rb")
