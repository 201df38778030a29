"""Reads and searches against a real HTTP server: retries, deadlines, caps, redirects, paging."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir_adapters.client.answers import retry_after
from fhir_adapters.client.bulk import BulkExport
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from fhir_adapters.client.tokens import StaticToken
from fhir_adapters.client.wire import Timeouts
from tests.ehr.faults import Fault
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.conftest import FakeTime


def failed(kind: ErrorKind, call: Any, *args: Any, **kwargs: Any) -> FhirServerError:
    with pytest.raises(FhirServerError) as caught:
        call(*args, **kwargs)
    assert caught.value.kind is kind
    return caught.value


def test_a_resource_by_id_by_reference_and_of_a_version(ehr: TestEhr, client: FhirClient) -> None:
    reference = ehr.add({"resourceType": "Patient", "id": "a", "active": False})
    ehr.add({"resourceType": "Patient", "id": "a", "active": True})
    assert client.read("Patient", "a")["active"]
    assert client.read_url(f"{ehr.url}/{reference}")["active"]
    assert not client.read_url("Patient/a/_history/1")["active"]
    assert client.capabilities()["fhirVersion"] == "4.0.1"


@pytest.mark.parametrize("reference", ["Patient/..", "../Patient/a", "Patient/a?b", "http://127.0.0.1/Patient/a", "a"])
def test_another_reference_is_never_fetched(ehr: TestEhr, client: FhirClient, reference: str) -> None:
    failed(ErrorKind.SECURITY, client.read_url, reference)
    assert ehr.requests() == []


@pytest.mark.parametrize(
    ("status", "kind", "may_retry", "tries"),
    [
        (400, ErrorKind.REJECTED, False, 1),
        (401, ErrorKind.UNAUTHORIZED, True, 1),
        (403, ErrorKind.FORBIDDEN, False, 1),
        (404, ErrorKind.NOT_FOUND, False, 1),
        (410, ErrorKind.NOT_FOUND, False, 1),
        (422, ErrorKind.REJECTED, False, 1),
        (429, ErrorKind.THROTTLED, True, 4),
        (500, ErrorKind.UNAVAILABLE, True, 4),
        (501, ErrorKind.REJECTED, False, 1),
        (503, ErrorKind.UNAVAILABLE, True, 4),
        (504, ErrorKind.UNAVAILABLE, True, 4),
    ],
)
def test_each_status_is_a_kind_and_only_passing_ones_are_tried_again(
    ehr: TestEhr, client: FhirClient, status: int, kind: ErrorKind, may_retry: bool, tries: int
) -> None:
    ehr.faults.status(status, times=9, code="lock-error")
    error = failed(kind, client.read, "Patient", "a")
    assert (error.status, error.code, error.may_retry) == (status, "lock-error", may_retry)
    assert len(ehr.requests()) == tries


def test_a_code_that_is_not_fhirs_is_the_servers_text_and_is_not_passed_on(ehr: TestEhr, client: FhirClient) -> None:
    ehr.faults.status(400, code="Smith, John")
    assert failed(ErrorKind.REJECTED, client.read, "Patient", "a").code == "processing"


def test_a_passing_failure_is_waited_out_with_growing_jitter(
    ehr: TestEhr, client: FhirClient, fake_time: FakeTime
) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    ehr.faults.status(502)
    ehr.faults.drop_before()
    ehr.faults.truncate()
    assert client.read("Patient", "a")["id"] == "a"
    assert fake_time.slept == pytest.approx([0.2, 0.4, 0.8])


def test_retry_after_is_kept_to(ehr: TestEhr, client: FhirClient, fake_time: FakeTime) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    ehr.faults.status(429, retry_after_s=7)
    ehr.faults.status(503, retry_after_s=6)
    assert client.read("Patient", "a")["id"] == "a"
    assert fake_time.slept == [7, 6]


def test_a_retry_after_past_the_deadline_is_the_callers(ehr: TestEhr, client: FhirClient, fake_time: FakeTime) -> None:
    ehr.faults.status(503, retry_after_s=120)
    error = failed(ErrorKind.THROTTLED, client.read, "Patient", "a")
    assert (error.retry_after_s, fake_time.slept, len(ehr.requests())) == (120, [], 1)


def test_a_server_that_is_down_and_comes_back(ehr: TestEhr, client: FhirClient, fake_time: FakeTime) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    client.read("Patient", "a")  # leaves a connection in the pool that the outage cuts
    with ehr.down():
        error = failed(ErrorKind.UNAVAILABLE, client.read, "Patient", "a")
        assert (error.status, "cannot be reached" in error.message) == (None, True)
    assert len(fake_time.slept) == 3
    assert client.read("Patient", "a")["id"] == "a"


@pytest.mark.parametrize("fault", [Fault("drip", delay_s=0.02), Fault("delay", delay_s=30)], ids=["drip", "delay"])
def test_the_deadline_holds_while_a_server_drips_or_hangs(ehr: TestEhr, fault: Fault) -> None:
    ehr.add({"resourceType": "Patient", "id": "a", "name": [{"text": "x" * 2000}]})
    client = FhirClient(ehr.url, timeouts=Timeouts(connect_s=30, read_s=30, total_s=0.3))
    ehr.faults.add(fault, times=9)
    began = time.monotonic()
    assert "in time" in failed(ErrorKind.UNAVAILABLE, client.read, "Patient", "a").message
    assert time.monotonic() - began < 5
    client.close()


def test_the_deadline_holds_while_the_headers_drip() -> None:
    import socket

    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        client = FhirClient(
            f"http://127.0.0.1:{server.getsockname()[1]}/fhir", timeouts=Timeouts(30, 30, 0.3), max_attempts=1
        )
        began = time.monotonic()
        failed(ErrorKind.UNAVAILABLE, client.read, "Patient", "a")
        assert time.monotonic() - began < 5
        stop.set()
        client.close()
        thread.join(5)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_over_the_cap_is_too_long(ehr: TestEhr, chunked: bool) -> None:
    ehr.add({"resourceType": "Patient", "id": "a", "name": [{"text": "x" * 20_000}]})
    for cap, kind in ((10_000, ErrorKind.TOO_LONG), (30_000, None)):
        client = FhirClient(ehr.url, max_response_bytes=cap)
        if chunked:
            ehr.faults.chunk()
        elif kind is not None:
            ehr.faults.drip(60)  # its length is enough to leave it
        if kind is not None:
            failed(kind, client.read, "Patient", "a")
            assert len(ehr.requests()) == 1
        else:
            assert client.read("Patient", "a")["id"] == "a"
        client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(ehr: TestEhr, client: FhirClient, status: int) -> None:
    with TestEhr() as other:
        ehr.faults.redirect(f"{other.url}/Patient/a", status=status)
        failed(ErrorKind.SECURITY, client.read, "Patient", "a")
        ehr.faults.redirect(f"{ehr.url}/Patient/a", status=status)
        failed(ErrorKind.SECURITY, client.read, "Patient", "a")
        assert other.requests() == []
        assert len(ehr.requests()) == 2


@pytest.mark.parametrize(
    "body",
    [b"<html>login</html>", b"", b"[]", b'{"resourceType": "OperationOutcome"}', b'{"a": 1, "a": 2}', b"[" * 9999],
)
def test_an_answer_that_is_not_the_resource_is_unavailable(ehr: TestEhr, client: FhirClient, body: bytes) -> None:
    ehr.faults.body(body, times=9)
    failed(ErrorKind.UNAVAILABLE, client.read, "Patient", "a")
    failed(ErrorKind.UNAVAILABLE, client.capabilities)
    failed(ErrorKind.UNAVAILABLE, list, client.search("Patient", {}))


def test_a_binary_comes_as_the_server_gives_it(ehr: TestEhr, client: FhirClient) -> None:
    reference = ehr.add({"resourceType": "Binary", "contentType": "text/rtf", "data": "e1xydGZ9"})
    content_type, body = client.read_bytes(reference, accept="application/fhir+json, */*;q=0.5")
    assert content_type.startswith("application/fhir+json")
    assert b"e1xydGZ9" in body
    assert client.read_bytes(reference, accept="*/*") == ("text/rtf", b"{\\rtf}")


def test_the_token_goes_along_and_another_token_shares_the_connections(ehr: TestEhr, client: FhirClient) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    ehr.auth.required = True
    token = ehr.auth.issue("system/Patient.rs")
    assert client.with_token(StaticToken(token)).read("Patient", "a")["id"] == "a"
    failed(ErrorKind.UNAUTHORIZED, client.read, "Patient", "a")
    failed(ErrorKind.FORBIDDEN, client.with_token(StaticToken(token)).read, "Encounter", "a")
    assert token not in repr(StaticToken(token)) + repr(client)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "\u00e9"])
def test_a_token_that_is_no_header_is_not_sent(ehr: TestEhr, client: FhirClient, token: str) -> None:
    failed(ErrorKind.UNAUTHORIZED, client.with_token(StaticToken(token)).read, "Patient", "a")
    assert ehr.requests() == []


def test_a_connection_is_used_again(ehr: TestEhr, client: FhirClient) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    for _ in range(5):
        client.read("Patient", "a")
        client.create({"resourceType": "Patient"})
    assert ehr.connections == 1


def test_many_threads_share_one_client(ehr: TestEhr) -> None:
    for number in range(8):
        ehr.add({"resourceType": "Patient", "id": f"p{number}"})
    client, read = FhirClient(ehr.url, max_connections=3), list[str]()

    def work(number: int) -> None:
        for _ in range(10):
            read.append(client.read("Patient", f"p{number}")["id"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(read) == sorted(f"p{number}" for number in range(8) for _ in range(10))
    # One more would be a connection that one thread closed under another: httpcore's own pool does that.
    assert len(ehr.requests()) == 80
    client.close()


def test_when_all_connections_are_busy_a_call_waits_for_one_and_was_not_sent(ehr: TestEhr) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    client = FhirClient(ehr.url, max_connections=1, timeouts=Timeouts(0.1, 5, 5), max_attempts=1)
    export = BulkExport(client)
    lines = export.lines(export.wait(export.start("Patient"), timeout_s=5))
    next(lines)  # the file is open, and holds its connection
    failed(ErrorKind.UNAVAILABLE, client.create, {"resourceType": "Patient"})
    lines.close()
    assert client.create({"resourceType": "Patient"}).created
    client.close()
    assert client.read("Patient", "a")["id"] == "a"  # closing leaves it usable
    client.close()


def test_cookies_are_not_kept(ehr: TestEhr, client: FhirClient) -> None:
    reply = ehr.answer
    ehr.answer = lambda request: reply(request).with_headers(Set_Cookie="session=1; Path=/")  # type: ignore[method-assign]
    ehr.add({"resourceType": "Patient", "id": "a"})
    for _ in range(2):
        client.read("Patient", "a")
    assert all("cookie" not in seen.headers for seen in ehr.requests())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("999999999", 86_400),
        ("", None),
        (None, None),
        ("-1", None),
        ("soon", None),
        ("\u0667", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
    assert retry_after(header, noon) == seconds
