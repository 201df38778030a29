"""Bulk export against a real HTTP server: polling, files that break off, and going on after a restart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fhir_adapters.client.bulk import BulkExport, Pending
from fhir_adapters.client.bulk_state import BulkDataError, BulkLine, ExportState
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ClientConfigError, ErrorKind, FhirServerError
from fhir_adapters.client.ndjson import LineTooLongError, ndjson_lines
from fhir_adapters.client.tokens import StaticToken
from tests.ehr.messages import PLANTED
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.conftest import FakeTime
from tests.fhir_adapters.client.test_reads import failed

DOCUMENTS = 25


@pytest.fixture
def export(ehr: TestEhr, client: FhirClient) -> BulkExport:
    for number in range(DOCUMENTS):
        ehr.add({"resourceType": "DocumentReference", "id": f"d{number:02}", "description": PLANTED + "\u2028é"})
    ehr.add({"resourceType": "Patient", "id": "p"})
    ehr.bulk.behaviour.lines_per_file = 10
    return BulkExport(client)


def ready(export: BulkExport, **options: Any) -> ExportState:
    return export.wait(export.start("Patient", types=["DocumentReference"], **options), timeout_s=1000)


def ids(lines: Any) -> list[str]:
    return [line.resource["id"] for line in lines]


EVERY = [f"d{number:02}" for number in range(DOCUMENTS)]


def test_an_export_from_kick_off_to_deletion(ehr: TestEhr, export: BulkExport, fake_time: FakeTime) -> None:
    ehr.bulk.behaviour.pending_polls, ehr.bulk.behaviour.retry_after_s = 3, 7
    ehr.bulk.behaviour.error_files = 2
    seen: list[Pending] = []
    state = export.start("Group/42", types=["DocumentReference", "Patient"])
    state = export.wait(state, timeout_s=1000, progress=seen.append)
    assert seen == [Pending(7, 10), Pending(7, 20), Pending(7, 30)]
    assert fake_time.slept == [7, 7, 7]
    assert (len(state.files), state.error_files, state.finished) == (4, 2, False)
    lines = list(export.lines(state))
    assert ids(lines) == [*EVERY, "p"]
    assert [(line.file, line.line) for line in lines[8:12]] == [(0, 9), (0, 10), (1, 1), (1, 2)]
    export.finish(state)
    export.finish(state)  # the server has it no longer
    assert ehr.bulk.exports == {}
    failed(ErrorKind.NOT_FOUND, list, export.lines(state))
    (kick_off,) = ehr.requests("GET", "$export")
    assert (kick_off.path, kick_off.headers["prefer"]) == ("/fhir/Group/42/$export", "respond-async")


def test_what_to_export_is_asked_for(ehr: TestEhr, export: BulkExport) -> None:
    first = ready(export)
    ehr.add({"resourceType": "DocumentReference", "id": "new", "status": "current"})
    ehr.add({"resourceType": "DocumentReference", "id": "other", "status": "superseded"})
    later = ready(export, since=first.transaction_time, type_filters=["DocumentReference?status=current"])
    assert ids(export.lines(later)) == ["new"]


def test_without_retry_after_polls_come_further_apart(ehr: TestEhr, export: BulkExport, fake_time: FakeTime) -> None:
    ehr.bulk.behaviour.pending_polls, ehr.bulk.behaviour.retry_after_s = 12, None
    ready(export)
    assert fake_time.slept[:3] == pytest.approx([1, 1.5, 2.25])
    assert max(fake_time.slept) == 60


def test_an_export_that_takes_too_long_can_be_waited_for_again(
    ehr: TestEhr, export: BulkExport, fake_time: FakeTime
) -> None:
    ehr.bulk.behaviour.pending_polls, ehr.bulk.behaviour.retry_after_s = 3, 40
    state = export.start("Patient")
    failed(ErrorKind.UNAVAILABLE, export.wait, state, timeout_s=100)
    assert export.wait(state, timeout_s=100).ready


def test_failures_that_pass_are_polled_through(ehr: TestEhr, export: BulkExport) -> None:
    state = export.start("Patient", types=["DocumentReference"])
    ehr.faults.status(503, path="/bulk/", retry_after_s=2)
    ehr.faults.drop_before(path="/bulk/")
    ehr.faults.status(500, path="/bulk/", code="transient")
    ehr.faults.body(b"<html>", path="/bulk/")
    assert export.wait(state, timeout_s=1000).ready


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "exception", ErrorKind.REJECTED),
        (404, "not-found", ErrorKind.NOT_FOUND),
        (400, "invalid", ErrorKind.REJECTED),
    ],
)
def test_an_export_that_failed_is_not_polled_on(
    ehr: TestEhr, export: BulkExport, status: int, code: str, kind: ErrorKind
) -> None:
    state = export.start("Patient")
    ehr.faults.status(status, times=9, path="/bulk/", code=code)
    assert failed(kind, export.wait, state, timeout_s=1000).code == code
    assert len(ehr.requests("GET", "/bulk/")) == 1


def test_a_server_that_stays_away_is_given_up(ehr: TestEhr, export: BulkExport) -> None:
    state = export.start("Patient")
    with ehr.down():
        failed(ErrorKind.UNAVAILABLE, export.wait, state, timeout_s=10_000)


def test_a_server_with_too_many_exports_says_when(ehr: TestEhr, export: BulkExport) -> None:
    ehr.faults.status(429, path="export", retry_after_s=600, code="throttled")
    error = failed(ErrorKind.THROTTLED, export.start, "Patient")
    assert (error.retry_after_s, len(ehr.requests("GET", "export"))) == (600, 1)


@pytest.mark.parametrize("fault", ["truncate", "drop_before", "status"])
def test_a_download_that_breaks_off_goes_on_and_gives_no_line_twice(
    ehr: TestEhr, export: BulkExport, fault: str
) -> None:
    state = ready(export)
    ehr.clear_requests()
    if fault == "status":
        ehr.faults.status(503, times=3, path="ndjson", retry_after_s=120)
    else:
        getattr(ehr.faults, fault)(times=3, path="ndjson")
    assert ids(export.lines(state)) == EVERY
    assert len(ehr.requests("GET", "ndjson")) == len(state.files) + 3


def test_a_download_that_breaks_off_again_and_again_but_moves_forward_is_not_given_up(
    ehr: TestEhr, client: FhirClient, export: BulkExport
) -> None:
    export = BulkExport(client, max_attempts=2)
    state = ready(export)
    for tenths in range(1, 10):
        ehr.faults.truncate(path="0.ndjson", share=tenths / 10)
    assert ids(export.lines(state)) == EVERY


def test_a_download_that_never_ends_is_given_up(ehr: TestEhr, export: BulkExport) -> None:
    state = ready(export)
    ehr.clear_requests()
    ehr.faults.drop_before(times=100, path="ndjson")
    failed(ErrorKind.UNAVAILABLE, list, export.lines(state))
    assert len(ehr.requests("GET", "ndjson")) == 8


def test_it_goes_on_in_the_middle_from_a_state_that_was_kept(ehr: TestEhr, export: BulkExport) -> None:
    state, kept, taken = ready(export), list[str](), list[str]()
    for line in export.lines(state, lambda after: kept.append(json.dumps(after.to_json()))):
        taken.append(line.resource["id"])
        if len(taken) == 14:
            kept.append(json.dumps(state.after(line).to_json()))
            break
    assert len(kept) == 2  # after the first file, and in the middle of the second
    ehr.clear_requests()
    for saved, rest in ((kept[0], EVERY[10:]), (kept[1], EVERY[14:])):
        again = ExportState.from_json(json.loads(saved))
        assert ids(BulkExport(FhirClient(ehr.url)).lines(again)) == rest
    assert not any("0.ndjson" in seen.path for seen in ehr.requests())


def test_the_whole_state_survives_json_also_before_the_manifest(export: BulkExport) -> None:
    started = export.start("Patient", types=["DocumentReference"])
    for state in (started, export.wait(started, timeout_s=1000).after_file(1)):
        assert ExportState.from_json(json.loads(json.dumps(state.to_json()))) == state
        assert "127.0.0.1" not in repr(state)
    for plain in ({}, {"status_url": 1}, {"status_url": "x", "files_done": 2}, {"status_url": "x", "more": 1}):
        with pytest.raises(ValueError, match="start a new one"):
            ExportState.from_json(plain)
    with pytest.raises(ValueError, match="not ready"):
        list(export.lines(started))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"resourceType": "DocumentReference", ' + PLANTED.encode(), "JSON object"),
        (PLANTED.encode(), "JSON object"),
        (b'{"resourceType": "Patient"}', "another type"),
        (b'{"resourceType": "DocumentReference", "x": "\xff"}', "JSON object"),
        (b'{"resourceType": "DocumentReference", "x": "' + b"x" * 5000 + b'"}', "over 4096 bytes"),
    ],
)
def test_a_corrupt_line_is_an_error_that_names_file_and_line(
    ehr: TestEhr, client: FhirClient, export: BulkExport, line: bytes, why: str
) -> None:
    ehr.bulk.behaviour.corrupt[("DocumentReference", 14)] = line
    export, taken = BulkExport(client, max_line_bytes=4096), list[BulkLine]()
    with pytest.raises(BulkDataError, match=why) as caught:
        for each in export.lines(ready(export)):
            taken.append(each)
    assert (caught.value.file, caught.value.line) == (1, 4)
    assert str(caught.value).startswith("bulk file 2 of 3 (DocumentReference), line 4: ")
    assert PLANTED not in str(caught.value)
    assert len(taken) == 13


def test_a_file_that_is_shorter_than_its_manifest_says_is_an_error(ehr: TestEhr, export: BulkExport) -> None:
    ehr.bulk.behaviour.corrupt[("DocumentReference", 25)] = b""
    taken = []
    with pytest.raises(BulkDataError, match="4 resources and its manifest says 5"):
        for line in export.lines(ready(export)):
            taken.append(line)
    assert len(taken) == 24


def test_files_elsewhere_only_where_they_are_allowed(ehr: TestEhr, client: FhirClient, export: BulkExport) -> None:
    with TestEhr() as other:
        ehr.bulk.behaviour.output_base = other.origin
        failed(ErrorKind.SECURITY, export.wait, export.start("Patient"), timeout_s=100)
        other.bulk.exports = ehr.bulk.exports
        allowed = BulkExport(client, allowed_origins=[other.origin])
        state = ready(allowed)
        assert ids(allowed.lines(state)) == EVERY
        other.clear_requests()
        failed(ErrorKind.SECURITY, list, export.lines(state))
        assert other.requests() == []
    with pytest.raises(ClientConfigError):
        BulkExport(client, allowed_origins=["https://files.example/x"])


def test_a_status_url_elsewhere_is_refused(ehr: TestEhr, export: BulkExport) -> None:
    reply = ehr.answer
    ehr.answer = lambda request: reply(request).with_headers(Content_Location="http://169.254.169.254/")  # type: ignore[method-assign]
    failed(ErrorKind.SECURITY, export.start, "Patient")
    failed(ErrorKind.SECURITY, export.poll, ExportState("http://169.254.169.254/"))


@pytest.mark.parametrize("needed", [True, False])
def test_the_token_goes_to_files_only_where_they_need_it(ehr: TestEhr, client: FhirClient, needed: bool) -> None:
    ehr.add({"resourceType": "Patient", "id": "p"})
    ehr.auth.required = True
    ehr.bulk.behaviour.requires_access_token = needed
    export = BulkExport(client.with_token(StaticToken(ehr.auth.issue("system/*.rs"))))
    state = export.wait(export.start("Patient"), timeout_s=100)
    assert state.requires_token is needed
    assert ids(export.lines(state)) == ["p"]
    (seen,) = ehr.requests("GET", "ndjson")
    assert ("authorization" in seen.headers) is needed
    failed(ErrorKind.UNAUTHORIZED, BulkExport(client).poll, state)


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"1",
        b'{"transactionTime": "x", "output": [{}]}',
        b'{"transactionTime": "x", "output": [{"type": "a/b", "url": "x"}]}',
    ],
)
def test_a_manifest_that_cannot_be_read_is_given_up(ehr: TestEhr, export: BulkExport, manifest: bytes) -> None:
    state = export.start("Patient")
    ehr.faults.body(manifest, times=99, path="/bulk/")
    failed(ErrorKind.UNAVAILABLE, export.wait, state, timeout_s=10_000)


@pytest.mark.parametrize("level", ["Practitioner", "Group/", "Group/..", "Patient/../x", "/"])
def test_levels_that_do_not_exist(export: BulkExport, level: str) -> None:
    with pytest.raises(ValueError, match="level"):
        export.start(level)


def test_lines_are_cut_wherever_the_pieces_are() -> None:
    text = b'{"a": 1}\r\n\n  \n{"b": "' + "\u2028é".encode() + b'"}\n{"c": 3}'
    wanted = [(1, b'{"a": 1}'), (4, b'{"b": "' + "\u2028é".encode() + b'"}'), (5, b'{"c": 3}')]
    for size in (1, 2, 3, 7, 100):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(ndjson_lines(pieces, 100)) == wanted
    for pieces in ([b"x" * 101], [b"x" * 60, b"y" * 60], [b"a\n" + b"x" * 101 + b"\n"]):
        with pytest.raises(LineTooLongError):
            list(ndjson_lines(pieces, 100))


def test_a_bulk_error_is_no_server_error() -> None:
    assert not issubclass(BulkDataError, FhirServerError)
