"""SMART Backend Services against an authorisation server that checks every assertion with another library."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.clock import Clock
from fhir_adapters.client.errors import ClientConfigError, ErrorKind
from fhir_adapters.client.keys import KeyFile, public_jwks
from fhir_adapters.client.smart import BackendServices
from fhir_adapters.client.wire import Timeouts, Wire
from tests.ehr.messages import Reply, Request, outcome
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.conftest import FakeTime
from tests.fhir_adapters.client.test_keys import PrivateKey, ec_key, pem, rsa_key, write
from tests.fhir_adapters.client.test_reads import failed

CLIENT_ID = "lang1-at-the-hospital"
SCOPES = "system/Patient.rs system/RiskAssessment.cus"
TIMEOUTS = Timeouts(2, 5, 10)


@dataclass
class Service:
    """A registered client. The EHR asks for tokens."""

    ehr: TestEhr
    key_path: Path
    time: FakeTime = field(default_factory=FakeTime)

    def __post_init__(self) -> None:
        self.key = KeyFile(self.key_path)
        self.ehr.auth.required = True
        self.register()
        self.wire = Wire(timeouts=TIMEOUTS, clock=self.time.clock)
        self.client = self.client_with()

    def register(self) -> None:
        self.ehr.auth.register(CLIENT_ID, public_jwks(self.key.current()))

    def tokens(self, **options: Any) -> BackendServices:
        given: dict[str, Any] = {"client_id": CLIENT_ID, "key": self.key, "scopes": SCOPES, "clock": self.time.clock}
        return BackendServices(self.ehr.url, wire=self.wire, **(given | options))

    def client_with(self, **options: Any) -> FhirClient:
        return FhirClient(
            self.ehr.url, token_source=self.tokens(**options), timeouts=TIMEOUTS, clock=self.time.clock, wire=self.wire
        )

    @property
    def token_requests(self) -> int:
        return len(self.ehr.requests("POST", "/auth/token"))


@pytest.fixture
def service(ehr: TestEhr, tmp_path: Path) -> Iterator[Service]:
    ehr.add({"resourceType": "Patient", "id": "a"})
    made = Service(ehr, write(tmp_path / "key.pem", pem(ec_key())))
    yield made
    made.wire.close()


@pytest.mark.parametrize(("make", "algorithm"), [(rsa_key, "RS384"), (ec_key, "ES384")])
def test_an_assertion_is_as_the_specification_asks(
    ehr: TestEhr, tmp_path: Path, make: Callable[[], PrivateKey], algorithm: str
) -> None:
    ehr.add({"resourceType": "Patient", "id": "a"})
    service = Service(ehr, write(tmp_path / "key.pem", pem(make())))
    assert service.client.read("Patient", "a")["id"] == "a"
    ((header, claims),) = ehr.auth.assertions
    assert (header["alg"], header["typ"], header["kid"]) == (algorithm, "JWT", service.key.current().key_id)
    assert (claims["iss"], claims["sub"], claims["aud"]) == (CLIENT_ID, CLIENT_ID, ehr.auth.token_url)
    assert 0 < claims["exp"] - time.time() <= 300
    assert set(claims) == {"iss", "sub", "aud", "exp", "jti"}


def test_one_token_serves_until_shortly_before_it_expires(service: Service) -> None:
    service.ehr.auth.token_lifetime_s = 300
    for _ in range(5):
        service.client.read("Patient", "a")
    assert service.token_requests == 1
    service.time.offset_s += 240
    service.client.read("Patient", "a")
    assert service.token_requests == 1
    service.time.offset_s += 30
    service.client.read("Patient", "a")
    assert service.token_requests == 2
    assert len({claims["jti"] for _, claims in service.ehr.auth.assertions}) == 2


def test_a_401_renews_the_token_once_and_the_call_goes_on(service: Service) -> None:
    service.client.read("Patient", "a")
    service.ehr.auth.revoke_tokens()
    assert service.client.read("Patient", "a")["id"] == "a"
    assert service.token_requests == 2
    service.ehr.auth.revoke_tokens()
    risk = {"resourceType": "RiskAssessment"}
    assert service.client.create(risk).created
    assert (service.token_requests, len(service.ehr.resources("RiskAssessment"))) == (3, 1)


def test_a_token_that_expired_at_the_server_first_is_renewed(service: Service) -> None:
    service.ehr.auth.token_lifetime_s = 1
    service.ehr.faults.body(
        b'{"access_token": "%s", "token_type": "bearer", "expires_in": 3600}'
        % service.ehr.auth.issue("system/*.rs", lifetime_s=-1).encode(),
        path="/auth/token", content_type="application/json",
    )  # fmt: skip
    assert service.client.read("Patient", "a")["id"] == "a"
    assert [seen.status for seen in service.ehr.requests("GET", "/fhir/Patient")] == [401, 200]


def test_a_second_401_is_unauthorized_and_not_tried_again(service: Service) -> None:
    service.client.read("Patient", "a")
    service.ehr.faults.status(401, times=9, path="/fhir/Patient")
    service.ehr.clear_requests()
    error = failed(ErrorKind.UNAUTHORIZED, service.client.read, "Patient", "a")
    assert (error.status, service.token_requests) == (401, 1)
    assert len(service.ehr.requests("GET", "/fhir/Patient")) == 2


def test_a_scope_that_is_missing_is_forbidden(service: Service) -> None:
    failed(ErrorKind.FORBIDDEN, service.client.read, "Encounter", "a")
    service.ehr.auth.granted = "system/Patient.read"
    service.ehr.auth.revoke_tokens()
    failed(ErrorKind.FORBIDDEN, service.client.create, {"resourceType": "RiskAssessment"})


def test_threads_share_one_request_for_a_token(service: Service) -> None:
    service.ehr.faults.delay(0.2, path="/auth/token")
    threads = [threading.Thread(target=service.client.read, args=("Patient", "a")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert service.token_requests == 1
    assert len(service.ehr.requests("GET", "Patient")) == 8


def test_threads_that_waited_for_a_request_that_failed_do_not_repeat_it_in_turn(service: Service) -> None:
    asking, all_ask, reply = set[int](), threading.Event(), service.ehr.answer

    def monotonic() -> float:
        asking.add(threading.get_ident())
        if len(asking) == 6:
            all_ask.set()
        return time.monotonic()

    def late(request: Request) -> Reply:
        assert all_ask.wait(10)
        return outcome(503, "transient") if request.path == "/auth/token" else reply(request)

    service.ehr.answer = late  # type: ignore[method-assign]
    tokens, errors = service.tokens(token_url=service.ehr.auth.token_url, clock=Clock(monotonic)), list[ErrorKind]()

    def ask() -> None:
        errors.append(failed(ErrorKind.UNAVAILABLE, tokens.token, time.monotonic() + 10).kind)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(errors), service.token_requests) == (6, 1)


@pytest.mark.parametrize("what", ["unknown client", "other key"])
def test_a_refused_client_is_unauthorized_and_told_what_to_check(service: Service, tmp_path: Path, what: str) -> None:
    if what == "other key":
        service.key_path.write_bytes(pem(ec_key()))
    else:
        service.ehr.auth.clients.clear()
    error = failed(ErrorKind.UNAUTHORIZED, service.client.read, "Patient", "a")
    assert "401 invalid_client" in error.message
    assert service.ehr.auth.refusals == ["unknown client or kid"]
    assert service.ehr.requests("GET", "/fhir/Patient") == []


def test_a_write_without_a_token_was_not_sent(service: Service) -> None:
    service.ehr.faults.drop_after(times=9, path="/auth/token")
    failed(ErrorKind.UNAVAILABLE, service.client.create, {"resourceType": "RiskAssessment"})
    assert service.ehr.requests("POST", "RiskAssessment") == []


def test_a_token_endpoint_that_is_away_for_a_moment_is_waited_for(service: Service) -> None:
    service.ehr.faults.status(503, path="/auth/token")
    service.ehr.faults.drop_before(path="smart-configuration")
    assert service.client.read("Patient", "a")["id"] == "a"


def test_a_rotated_key_is_used_with_the_next_token(service: Service) -> None:
    service.client.read("Patient", "a")
    old = service.key.current()
    write(service.key_path.with_suffix(".new"), pem(rsa_key())).replace(service.key_path)
    new = service.key.current()
    service.ehr.auth.register(CLIENT_ID, public_jwks(new, old))
    service.ehr.auth.revoke_tokens()
    service.client.read("Patient", "a")
    assert [header["alg"] for header, _ in service.ehr.auth.assertions] == ["ES384", "RS384"]


def test_a_configured_token_url_needs_no_discovery(service: Service) -> None:
    client = service.client_with(token_url=service.ehr.auth.token_url)
    client.read("Patient", "a")
    assert service.ehr.requests("GET", "smart-configuration") == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", ErrorKind.UNAVAILABLE),
        (b'{"token_endpoint": "file:///etc/passwd"}', ErrorKind.SECURITY),
        (b'{"token_endpoint": "https://u:p@idp.example/token"}', ErrorKind.SECURITY),
        (b"{}", ErrorKind.SECURITY),
        (
            b'{"token_endpoint": "https://idp.example/t", "token_endpoint_auth_signing_alg_values_supported":["X"]}',
            ErrorKind.UNAUTHORIZED,
        ),
    ],
)
def test_a_discovery_document_that_cannot_be_followed(service: Service, body: bytes, kind: ErrorKind) -> None:
    service.ehr.faults.body(body, times=9, path="smart-configuration")
    failed(kind, service.client.read, "Patient", "a")
    assert service.token_requests == 0


def test_an_assertion_never_goes_in_the_clear_from_an_https_base(service: Service) -> None:
    with pytest.raises(ClientConfigError, match="https"):
        BackendServices(
            "https://ehr.example/fhir", client_id="c", key=service.key, scopes=SCOPES, wire=service.wire,
            token_url="http://ehr.example/token",
        )  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [b"{}", b'{"access_token": "a b", "token_type": "bearer"}', b'{"access_token": "a", "token_type": "mac"}',
     b'{"access_token": "a\\r\\nX: y", "token_type": "bearer"}'],
)  # fmt: skip
def test_an_answer_without_a_usable_token_is_unavailable(service: Service, answer: bytes) -> None:
    service.ehr.faults.body(answer, times=9, path="/auth/token", content_type="application/json")
    failed(ErrorKind.UNAVAILABLE, service.client.read, "Patient", "a")
    assert service.ehr.requests("GET", "/fhir/Patient") == []


@pytest.mark.parametrize("lifetime", [b"null", b'"300"', b'"soon"', b"-5", b"1e400"])
def test_odd_lifetimes_are_lived_with(service: Service, lifetime: bytes) -> None:
    token = service.ehr.auth.issue("system/Patient.rs").encode()
    answer = b'{"access_token": "%s", "token_type": "Bearer", "expires_in": %s}' % (token, lifetime)
    service.ehr.faults.body(answer, path="/auth/token", content_type="application/json")
    assert service.client.read("Patient", "a")["id"] == "a"


def test_the_token_endpoints_redirect_is_not_followed(service: Service) -> None:
    with TestEhr() as other:
        service.ehr.faults.redirect(f"{other.origin}/auth/token", path="/auth/token")
        failed(ErrorKind.SECURITY, service.client.read, "Patient", "a")
        assert other.requests() == []
