from __future__ import annotations

import json
from pathlib import Path

from fhir_adapters.note_files import read_note_files
from tests.fhir_adapters.samples import NOTE, document


def test_a_folder_is_read_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(document()))
    (tmp_path / "b.ndjson").write_text(f"{json.dumps(document(id='b0'))}\n\n{{broken\n{json.dumps(document(id='b2'))}")
    (tmp_path / "c.txt").write_text(NOTE)
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "ignored.png").write_bytes(b"x")
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Patient"}}, {"resource": document(id="e1")}, 7],
    }
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "bundle.json").write_text(json.dumps(bundle))
    items = list(read_note_files(tmp_path, note_type="18842-5"))
    names = [(Path(item.source).name, item.index) for item in items]
    assert names == [
        ("a.json", 0),
        ("b.ndjson", 0),
        ("b.ndjson", 1),
        ("b.ndjson", 2),
        ("c.txt", 0),
        ("d.txt", 0),
        ("bundle.json", 1),
    ]
    assert [item.resource["id"] if item.resource else None for item in items] == [
        "note-1",
        "b0",
        None,
        "b2",
        None,
        None,
        "e1",
    ]
    assert [item.error.code if item.error else None for item in items] == [
        None,
        None,
        "structure",
        None,
        None,
        "value",
        None,
    ]
    assert (items[4].text, items[4].note_type) == (NOTE, "18842-5")


def test_what_cannot_be_read_is_an_item_with_an_error(tmp_path: Path) -> None:
    assert [item.error and item.error.code for item in read_note_files(tmp_path)] == ["required"]
    assert [item.error and item.error.code for item in read_note_files(tmp_path / "absent.txt")] == ["not-found"]
    (tmp_path / "scan.png").write_bytes(b"x")
    assert [item.error and item.error.code for item in read_note_files(tmp_path / "scan.png")] == ["not-supported"]
    (tmp_path / "long.txt").write_text("x" * 11)
    assert [item.error and item.error.code for item in read_note_files(tmp_path / "long.txt", max_bytes=10)] == [
        "too-long"
    ]


def test_a_line_over_the_cap_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "notes.ndjson"
    path.write_text('{"a": "' + "x" * 500 + '"}\n{"a": 1}\n')
    items = list(read_note_files(path, max_bytes=100))
    assert [(item.index, item.error.code if item.error else item.resource) for item in items] == [
        (0, "too-long"),
        (1, {"a": 1}),
    ]


def test_ndjson_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "notes.ndjson"
    path.write_text('{"a": 1}\n' * 3)
    first = next(read_note_files(path))
    assert first.resource == {"a": 1}


def test_a_bundle_without_documents_is_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection"}))
    (item,) = read_note_files(path)
    assert item.error is not None and item.error.code == "required"
