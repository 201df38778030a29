"""Token folders: what goes in, what must never, and that a changed byte is found."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from lang1.notes import clean_text
from training.pretraining.clinical import ClinicalSource
from training.pretraining.errors import PretrainError
from training.pretraining.shards import CLINICAL, TRAIN, VALIDATION, WEB, Tokens, open_tokens
from training.pretraining.tokens import build_tokens
from training.pretraining.web import WebSource
from training.synth.arrow import pa
from training.synth.generate import read_notes


def documents(tokens: Tokens, source: str, split: str) -> list[list[int]]:
    """The documents of a source's shards, their control tokens taken off."""
    tokenizer = Tokenizer.from_file(str(tokens.folder / "tokenizer.json"))
    bos, eos = (tokenizer.token_to_id(token) for token in ("<s>", "</s>"))
    found: list[list[int]] = []
    for shard in tokens.source(source, split).shards:
        ids = np.fromfile(tokens.folder / shard.name, dtype=tokens.manifest.dtype).tolist()
        assert ids[0] == bos and ids[-1] == eos
        for token in ids:
            if token == bos:
                found.append([])
            elif token != eos:
                found[-1].append(token)
    return found


def texts(tokens: Tokens, source: str, split: str) -> set[str]:
    tokenizer = Tokenizer.from_file(str(tokens.folder / "tokenizer.json"))
    return {tokenizer.decode(ids) for ids in documents(tokens, source, split)}


def test_clinical_tokens_are_the_train_splits_cleaned_notes_and_no_other(token_folder: Path, dataset: Path) -> None:
    table = read_notes(dataset, None, ["text", "split"]).to_pydict()
    by_split: dict[str, set[str]] = {}
    for text, split in zip(table["text"], table["split"], strict=True):
        by_split.setdefault(split, set()).add(clean_text(text))
    tokens = open_tokens(token_folder)
    written = texts(tokens, CLINICAL, TRAIN) | texts(tokens, CLINICAL, VALIDATION)
    assert written == by_split["train"]
    assert not written & (by_split["val"] | by_split["test"] | by_split["temporal_2024"])


def test_no_patient_is_in_both_parts(token_folder: Path, dataset: Path) -> None:
    table = read_notes(dataset, ["train"], ["text", "patient_id"]).to_pydict()
    patient = {clean_text(text): who for text, who in zip(table["text"], table["patient_id"], strict=True)}
    tokens = open_tokens(token_folder)
    trained, held = (texts(tokens, CLINICAL, split) for split in (TRAIN, VALIDATION))
    assert held and not {patient[text] for text in trained} & {patient[text] for text in held}


def test_the_cutoff_is_recorded(token_folder: Path) -> None:
    manifest = open_tokens(token_folder).manifest
    assert manifest.clinical_window is not None and manifest.held_out_from is not None
    assert manifest.clinical_window[1] < "2024-01-01" and manifest.held_out_from.startswith(("2023-12", "2024-01"))


def test_further_notes_must_be_dated_older_and_not_held_out(
    tmp_path: Path, dataset: Path, tokenizer_file: Path
) -> None:
    held_out = read_notes(dataset, ["test"], ["note_id", "text"]).to_pylist()
    words = "radiology report of the chest shows no acute process and no change since the prior study"
    rows: list[dict[str, Any]] = [
        {"text": f"{words} one", "authored": "2015-02-03T10:00:00Z", "patient_id": "p1"},
        {"text": f"{words} two", "authored": "2024-06-01T10:00:00Z", "patient_id": "p1"},
        {"text": f"{words} three", "patient_id": "p1"},
        # The same note from another export: by its text, and by its id.
        {"text": held_out[0]["text"] + "  ", "authored": "2015-02-03"},
        {"text": f"{words} four", "authored": "2015-02-03", "note_id": held_out[1]["note_id"]},
        {"text": f"{words} one", "authored": "2015-02-04"},
        {"text": "too short", "authored": "2015-02-04"},
    ]
    path = tmp_path / "notes.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    source = ClinicalSource([dataset], [path])
    manifest = build_tokens(tmp_path / "out", tokenizer_file, source, None, validation_fraction=0)
    tokens = open_tokens(tmp_path / "out")
    found = {text for text in texts(tokens, CLINICAL, TRAIN) if text.startswith("radiology")}
    assert found == {f"{words} one"}
    assert sorted(manifest.dropped[CLINICAL].values()) == [1, 1, 1, 1, 2]
    assert manifest.dropped[CLINICAL]["the note is held out for validation or a test"] == 2


def test_control_token_text_is_plain_text(tmp_path: Path, tokenizer_file: Path) -> None:
    text = "A page that writes </s> and <s> in its words, as pages about models do. " * 5
    (tmp_path / "page.txt").write_text(text)
    build_tokens(tmp_path / "out", tokenizer_file, None, WebSource([tmp_path / "page.txt"]), validation_fraction=0)
    assert texts(open_tokens(tmp_path / "out"), WEB, TRAIN) == {text}


def test_slimpajama_files_are_read_plain_gzipped_and_in_zstandard(tmp_path: Path) -> None:
    line = json.dumps({"text": "web " * 100, "meta": {"redpajama_set_name": "RedPajamaC4"}}).encode() + b"\n"
    (tmp_path / "a.jsonl").write_bytes(line)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(line * 2))
    with pa.CompressedOutputStream(pa.OSFile(str(tmp_path / "c.jsonl.zst"), "wb"), "zstd") as stream:
        stream.write(line * 3)
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "short"}) + "\n")
    source = WebSource([tmp_path])
    assert [text for text, _ in source.documents()] == ["web " * 100] * 6
    assert list(source.dropped.values()) == [1]


def test_a_bad_line_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "secret words" oops\n')
    with pytest.raises(PretrainError, match=r"a\.jsonl, line 1") as raised:
        list(WebSource([tmp_path / "a.jsonl"]).documents())
    assert "secret" not in str(raised.value)


def test_windows_of_all_shards_are_read_where_they_lie(token_folder: Path) -> None:
    tokens = open_tokens(token_folder)
    shards = tokens.source(CLINICAL, TRAIN).shards
    assert len(shards) > 2
    windows = tokens.windows(CLINICAL, TRAIN, 100)
    assert len(windows) == sum((shard.tokens - 1) // 100 for shard in shards)
    second = np.fromfile(tokens.folder / shards[1].name, dtype=tokens.manifest.dtype)
    first_of_second = (shards[0].tokens - 1) // 100
    rows = windows.read(np.array([first_of_second, first_of_second + 1]))
    assert rows[0].tolist() == second[:101].tolist() and rows[1].tolist() == second[100:201].tolist()


def test_a_changed_shard_is_found(tmp_path: Path, token_folder: Path) -> None:
    copy = tmp_path / "tokens"
    copy.mkdir()
    for path in token_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    tokens = open_tokens(copy)
    tokens.verify()
    shard = copy / tokens.source(WEB, TRAIN).shards[0].name
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(PretrainError, match=shard.name):
        open_tokens(copy).verify()
    shard.write_bytes(bytes(data[:-2]))
    with pytest.raises(PretrainError, match="tokens long"):
        open_tokens(copy)


def test_the_folder_is_its_owners_and_a_strangers_is_not_written_to(
    token_folder: Path, tmp_path: Path, tokenizer_file: Path, web_file: Path
) -> None:
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(PretrainError, match=r"thesis\.doc"):
        build_tokens(tmp_path, tokenizer_file, None, WebSource([web_file]))


def test_a_tokenizer_that_cannot_answer_is_refused(tmp_path: Path, tokenizer_file: Path, web_file: Path) -> None:
    with pytest.raises(PretrainError, match="<start>"):
        build_tokens(tmp_path / "out", tokenizer_file, None, WebSource([web_file]), bos_token="<start>")
    with pytest.raises(PretrainError, match="--eos"):
        build_tokens(tmp_path / "out", tokenizer_file, None, WebSource([web_file]), eos_token="<end>")
