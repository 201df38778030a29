"""One running service with authentication, two ingress replicas, over real HTTP: the security rows of the contract."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import create_engine, text

from fhir_adapters.cds_hooks import SERVICES
from tests.serve.auth.idp import Idp
from tests.serve.auth.test_bearer import listening
from tests.serve.auth.test_login import login_settings
from tests.serve.notes import FHIR, SCORE, TEXT, batch, document
from tests.serve.service import RunningService

grpc: Any = import_module("grpc")  # of Ray
READ = "system/RiskAssessment.rs"
WRITE = "system/DocumentReference.c"
DISCHARGE = next(name for name, each in SERVICES.items() if each.of_encounter)


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    running = Idp()
    yield running
    running.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, bundle: Path, idp: Idp) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("authenticated")
    running = RunningService(
        folder, bundle, ingress_replicas=2, auth_issuers=[idp.issuer_setting()], auth_sources={"feed": "epic"},
        cds_clients=[{"issuer": idp.issuer, "jwks_url": idp.jwks_url}], **login_settings(folder, idp),
    )  # fmt: skip
    yield running
    running.stop()


def bearer(token: str) -> dict[str, str]:
    return {**FHIR, "Authorization": f"Bearer {token}"}


def code_of(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body["issue"][0]["code"] if "issue" in body else body["code"])


def test_a_note_is_scored_and_read_back_by_who_may(service: RunningService, idp: Idp) -> None:
    client = service.client
    note = document(id="signed", subject={"reference": "Patient/signed"})
    assert client.post(SCORE, json=note, headers=FHIR).status_code == 401
    scored = client.post(SCORE, json=note, headers=bearer(idp.token("feed", WRITE)))
    assert scored.status_code == 200, scored.text
    again = client.post(SCORE, json=note, headers=bearer(idp.token("feed", f"{WRITE} {READ}", algorithm="RS384")))
    assert again.json() == scored.json()
    other = client.post(SCORE, json=note, headers=bearer(idp.token("other-feed", WRITE)))
    assert {each["fullUrl"] for each in other.json()["entry"]}.isdisjoint(
        {each["fullUrl"] for each in scored.json()["entry"]}
    )  # the same document of another system is another document
    assert (
        client.get("/fhir/RiskAssessment?patient=signed", headers=bearer(idp.token("feed", WRITE))).status_code == 403
    )
    found = client.get("/fhir/RiskAssessment?patient=signed", headers=bearer(idp.token("feed", READ)))
    assert found.json()["total"] == 2 * len(scored.json()["entry"])
    with create_engine(f"sqlite:///{service.database}").connect() as connection:
        sources = set(connection.execute(text("SELECT DISTINCT source FROM predictions")).scalars())
        readers = set(connection.execute(text("SELECT DISTINCT source FROM audit WHERE action = 'search'")).scalars())
    assert (sources, readers) == ({"epic", "other-feed"}, {"epic"})


def rows(idp: Idp) -> dict[str, tuple[dict[str, str], int, str]]:
    good, now = idp.token("feed", WRITE), 1_700_000_000
    head, claims, _ = good.split(".")
    none = f"eyJhbGciOiJub25lIn0.{claims}."
    return {
        "no token": (dict(FHIR), 401, "login"),
        "expired": (bearer(idp.token("feed", WRITE, exp=now)), 401, "expired"),
        "alg none": (bearer(none), 401, "security"),
        "changed": (bearer(f"{head}.{claims}.{'A' * 128}"), 401, "security"),
        "scope missing": (bearer(idp.token("feed", READ)), 403, "forbidden"),
    }


@pytest.mark.parametrize("path", [SCORE, "/fhir"])
def test_the_security_rows_of_the_contract(path: str, service: RunningService, idp: Idp) -> None:
    body = batch(document()) if path == "/fhir" else document()
    for name, (headers, status, code) in rows(idp).items():
        answer = service.client.post(path, json=body, headers=headers)
        assert (answer.status_code, code_of(answer)) == (status, code), name
        assert answer.headers["content-type"] == "application/fhir+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")
    plain = service.client.post("/v1/score", json={"notes": [{"id": "1", "text": TEXT}]})
    assert (plain.status_code, plain.headers["content-type"], code_of(plain)) == (
        401, "application/problem+json", "login"
    )  # fmt: skip
    scored = service.client.post(
        "/v1/score", json={"notes": [{"id": "1", "text": TEXT}]},
        headers={"Authorization": f"Bearer {idp.token('program', 'lang1/score')}"},
    )  # fmt: skip
    assert scored.status_code == 200


def test_an_unlisted_jku_is_refused_and_not_fetched(service: RunningService, idp: Idp) -> None:
    with listening() as (url, connections):
        token = idp.token("feed", WRITE, header={"jku": url})
        answer = service.client.post(SCORE, json=document(), headers=bearer(token))
        assert (answer.status_code, code_of(answer)) == (401, "security")
        assert connections == []


def test_a_replayed_jti_passes_once_of_twenty_at_once_over_two_replicas(service: RunningService, idp: Idp) -> None:
    path = f"/cds-services/{DISCHARGE}"
    body = {
        "hook": "encounter-discharge", "hookInstance": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "context": {"userId": "Practitioner/1", "patientId": "p", "encounterId": "e"}, "prefetch": {},
    }  # fmt: skip
    for _ in range(3):
        headers = {"Authorization": f"Bearer {idp.cds_jwt(service.url + path)}"}

        def call(_: int, headers: dict[str, str] = headers) -> httpx.Response:
            # A connection each, so that the proxy spreads them.
            with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as client:
                return client.post(path, json=body, headers=headers)

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(call, range(20)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [401] * 19 + [412], statuses
        assert {code_of(answer) for answer in answers if answer.status_code == 401} == {"security"}


def test_what_is_open_and_what_a_rotation_does(service: RunningService, idp: Idp) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/fhir/metadata", "/cds-services",
                 "/.well-known/smart-configuration", "/fhir/OperationDefinition"):  # fmt: skip
        assert service.client.get(path).status_code == 200, path
    assert service.client.get("/v1/model").status_code == 401
    assert idp.requests.count("/jwks") >= 2  # each replica fetched the keys at its start
    idp.down = True
    try:
        for _ in range(10):
            assert (
                service.client.get("/fhir/RiskAssessment", headers=bearer(idp.token("feed", READ))).status_code == 200
            )
    finally:
        idp.down = False
    idp.rotate("ec-2", keep=True)
    for _ in range(10):
        assert service.client.get("/fhir/RiskAssessment", headers=bearer(idp.token("feed", READ))).status_code == 200


def test_a_person_logs_in(service: RunningService) -> None:
    with httpx.Client(base_url=service.url, trust_env=False, timeout=60, follow_redirects=False) as browser:
        sent = browser.get("/login?next=/beds?unit=4W")
        back = httpx.get(sent.headers["location"], trust_env=False).headers["location"]
        assert urlsplit(back).netloc == urlsplit(service.url).netloc
        answer = browser.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{service.url}/beds?unit=4W")
        assert "lang1-session" in browser.cookies
        assert browser.get("/fhir/RiskAssessment").status_code == 401


def test_nothing_of_a_token_is_written_anywhere(service: RunningService, idp: Idp) -> None:
    canary = "Q2FuYXJ5LW9mLWEtdG9rZW4"
    for token in (f"{canary}.{canary}.{canary}", idp.token(canary, READ, jti=canary)):
        service.client.get("/fhir/RiskAssessment", headers=bearer(token))
        service.client.get(f"/fhir/RiskAssessment?access_token={token}")
    signature = idp.token(canary, READ).split(".")[1][:40]
    for file in [*service.log_dir.rglob("*"), service.output]:
        if file.is_file():
            content = file.read_bytes()
            assert canary.encode() not in content, file.name
            assert signature.encode() not in content, file.name


def family(pid: int) -> Iterator[int]:
    yield pid
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and f"\nPPid:\t{pid}\n" in (process / "status").read_text():
                yield from family(int(process.name))


def listeners(pid: int) -> list[tuple[str, int]]:
    """Address (as /proc has it) and port of every listening TCP socket of a process and its children."""
    inodes = set()
    for each in family(pid):
        with suppress(OSError):
            inodes |= {str(entry.readlink()) for entry in Path(f"/proc/{each}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    return found


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_ray_listens_on_loopback_alone_and_has_no_dashboard(service: RunningService) -> None:
    found = listeners(service.process.pid)
    assert service.port in {port for _, port in found}
    assert len(found) > 5  # Ray's own are among them
    assert 8265 not in {port for _, port in found}
    beyond = {port for address, port in found if address not in LOOPBACK}
    # Ray Serve binds the port by which replicas call each other to every address, whatever the node's own is.
    assert len(beyond) <= len(service.replica_pids(""))
    for port in beyond:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


CONNECT = """
import sys
from ray._raylet import GcsClient
try:
    keys = GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=5)
    print("in" if keys else "empty")
except Exception as error:
    print(type(error).__name__)
"""


def test_ray_takes_nobody_without_the_token(service: RunningService) -> None:
    token = service.state_dir / "ray_auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) == 64
    (port_file,) = service.log_dir.parent.glob("gcs_server_port*")
    address = f"127.0.0.1:{port_file.read_text().strip()}"

    def connect(**environment: str) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        command: list[Any] = [sys.executable, "-c", CONNECT, address]
        done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    assert connect(RAY_AUTH_MODE="disabled") == "AuthenticationError"
    assert connect(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64) == "AuthenticationError"
    assert connect(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)) == "in"
