"""Text to token shards: two sources through one tokenizer, a part of each held out for validation."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from lang1 import __version__
from lang1.bundle import file_sha256
from lang1.errors import BundleError
from lang1.prompt import PromptEncoder, _pieces
from lang1.tasks import BUILT_IN
from training.pretraining.clinical import ClinicalSource
from training.pretraining.errors import PretrainError
from training.pretraining.shards import (
    CLINICAL,
    MANIFEST_FILE,
    TOKENIZER_FILE,
    TRAIN,
    VALIDATION,
    WEB,
    ShardWriter,
    SourceTokens,
    TokensManifest,
)
from training.pretraining.web import WebSource
from training.tokenizer import BOS_TOKEN, EOS_TOKEN

SHARD_TOKENS = 64 * 1024 * 1024
_DOCUMENTS_AT_ONCE = 512
_UINT16_VALUES = 65_536
Documents = Iterable[tuple[str, str]]


def build_tokens(
    out: Path,
    tokenizer_file: Path,
    clinical: ClinicalSource | None,
    web: WebSource | None,
    *,
    validation_fraction: float = 0.001,
    seed: int = 3407,
    bos_token: str = BOS_TOKEN,
    eos_token: str = EOS_TOKEN,
    shard_tokens: int = SHARD_TOKENS,
    advance: Callable[[int], None] = lambda _: None,
) -> TokensManifest:
    """Write token shards, the tokenizer and the manifest to `out`, for its owner alone. Raises PretrainError.

    The held-out 0.1% (paper, 5.3) is drawn by patient, and of web text by document. `advance` is told of characters.
    """
    tokenizer = load_tokenizer(tokenizer_file, bos_token, eos_token)
    vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
    dtype = "uint16" if vocab_size <= _UINT16_VALUES else "uint32"
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    if unknown := [entry.name for entry in out.iterdir() if not _ours(entry)]:
        raise PretrainError(f"{out} holds {sorted(unknown)[0]}, which is not of a token folder; give another folder")
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        notes_sha256 = clinical.prepare() if clinical is not None else ()
        sources: dict[str, dict[str, SourceTokens]] = {}
        for name, source in ((CLINICAL, clinical), (WEB, web)):
            if source is not None:
                sources[name] = _write(
                    source.documents(), name, tokenizer, partial, dtype, (bos_token, eos_token), shard_tokens,
                    _Draw(validation_fraction, seed), advance,
                )  # fmt: skip
                if not sources[name][TRAIN].documents:
                    raise PretrainError(f"the {name} source has no document to train on")
        shutil.copyfile(tokenizer_file, partial / TOKENIZER_FILE)
        days = None
        if clinical is not None and clinical.first is not None and clinical.last is not None:
            days = (clinical.first.isoformat(), clinical.last.isoformat())
        held_out = clinical.held_out_from if clinical is not None else None
        manifest = TokensManifest.model_validate(
            {
                "lang1_version": __version__, "dtype": dtype, "vocab_size": vocab_size,
                "tokenizer_sha256": file_sha256(partial / TOKENIZER_FILE),
                "bos_token": bos_token, "eos_token": eos_token,
                "validation_fraction": validation_fraction, "seed": seed, "sources": sources,
                "dropped": {
                    name: source.dropped for name, source in ((CLINICAL, clinical), (WEB, web)) if source is not None
                },
                "clinical_window": days,
                "held_out_from": held_out.isoformat() if held_out else None,
                "notes_sha256": notes_sha256,
            }
        )  # fmt: skip
        (partial / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        # The old manifest goes first and the new one comes last, whole or not at all.
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        for old in out.glob("*.bin"):
            old.unlink()
        for made in sorted(partial.iterdir(), key=lambda path: path.name == MANIFEST_FILE):
            made.replace(out / made.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _ours(entry: Path) -> bool:
    return entry.suffix == ".bin" or entry.name in {MANIFEST_FILE, TOKENIZER_FILE, ".partial"}


def load_tokenizer(file: Path, bos_token: str, eos_token: str) -> Tokenizer:
    """A tokenizer.json, made here or brought (Llama-2's). Raises PretrainError when it cannot serve the tasks."""
    try:
        PromptEncoder.from_file(file, BUILT_IN, 16, bos_token)
    except BundleError as error:
        raise PretrainError(str(error)) from None
    tokenizer = Tokenizer.from_file(str(file))
    token_id(tokenizer, eos_token)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # "</s>" in a document is five characters, not a control id.
    tokenizer.encode_special_tokens = True
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """A control token's id. Raises PretrainError when the tokenizer has none."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise PretrainError(f"the tokenizer has no {token!r} token; name its own with --bos and --eos")
    return int(found)


class _Draw:
    """Whether a unit (a patient, a document) is held out: a function of it and the seed alone."""

    def __init__(self, fraction: float, seed: int) -> None:
        self._limit, self._seed = int(fraction * 2**64), seed

    def held_out(self, unit: str) -> bool:
        digest = hashlib.blake2b(f"{self._seed}:{unit}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self._limit


def _write(
    documents: Documents,
    source: str,
    tokenizer: Tokenizer,
    folder: Path,
    dtype: str,
    ends: tuple[str, str],
    shard_tokens: int,
    draw: _Draw,
    advance: Callable[[int], None],
) -> dict[str, SourceTokens]:
    writers = {split: ShardWriter(folder, source, split, dtype, shard_tokens) for split in (TRAIN, VALIDATION)}
    bos, eos = (token_id(tokenizer, token) for token in ends)
    stream = iter(documents)
    while batch := list(islice(stream, _DOCUMENTS_AT_ONCE)):
        for (_, unit), ids in zip(batch, _encoded(tokenizer, [text for text, _ in batch]), strict=True):
            writers[VALIDATION if draw.held_out(unit) else TRAIN].add([bos, *ids, eos])
        advance(sum(len(text) for text, _ in batch))
    return {split: writer.close() for split, writer in writers.items()}


def _encoded(tokenizer: Tokenizer, texts: list[str]) -> Iterator[list[int]]:
    """The ids of each text. Long ones go in pieces, as in prompts; the library spreads the pieces over the cores."""
    pieces = [_pieces(text) for text in texts]
    flat = tokenizer.encode_batch_fast([piece for text in pieces for piece in text], add_special_tokens=False)
    found = iter(flat)
    for text in pieces:
        yield [token for encoding in islice(found, len(text)) for token in encoding.ids]
