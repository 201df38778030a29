"""JWTs of CDS Hooks: one call each, for one endpoint, from EHRs that are listed."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import select

from serve.auth.replay import KEPT_AFTER_MS, token_key, use_once
from serve.errors import StoreUnavailableError
from serve.store.core import Store
from serve.store.tables import UsedToken
from serve.store.transaction import Transaction
from tests.serve.auth.api import ROOT, Api
from tests.serve.auth.idp import Idp
from tests.serve.auth.test_bearer import listening

SERVICE = "lang1-encounter-discharge"


@pytest.fixture
def path(api: Api) -> str:
    services = api.client.get("/cds-services").json()["services"]
    return f"/cds-services/{services[0]['id']}"


@pytest.fixture
def api(tmp_path: Path, idp: Idp) -> Api:
    return Api(tmp_path, cds_clients=[{"issuer": idp.issuer, "jwks_url": idp.jwks_url}])


def call(api: Api, path: str, token: str | None) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    answer = api.client.post(path, content=b"{}", headers=headers)
    assert token is None or token.split(".")[2] not in answer.text
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json().get("code", "")


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_listed_ehr_calls_once_with_each_jwt(algorithm: str, api: Api, path: str, idp: Idp) -> None:
    assert call(api, path, None) == (401, "login")
    for audience in (ROOT + path, [ROOT + path]):
        token = idp.cds_jwt(audience, algorithm=algorithm, tenant="west")  # type: ignore[arg-type]
        assert call(api, path, token)[0] not in (401, 403)
        assert call(api, path, token) == (401, "security")


def test_feedback_takes_its_own_url_or_the_services(api: Api, path: str, idp: Idp) -> None:
    for audience in (ROOT + path, f"{ROOT}{path}/feedback"):
        assert call(api, f"{path}/feedback", idp.cds_jwt(audience))[0] not in (401, 403)
    assert call(api, path, idp.cds_jwt(f"{ROOT}{path}/feedback")) == (401, "security")


BAD: dict[str, dict[str, Any]] = {
    "another service": {"aud": f"{ROOT}/cds-services/other"},
    "the base": {"aud": ROOT},
    "discovery": {"aud": f"{ROOT}/cds-services"},
    "also another": {"aud": [f"{ROOT}/cds-services/{SERVICE}", "https://other.example"]},
    "a slash more": {"aud": f"{ROOT}/cds-services/{SERVICE}/"},
    "http": {"aud": f"http://lang1.example.org/cds-services/{SERVICE}"},
    "no aud": {"aud": None},
    "no jti": {"jti": None},
    "jti a number": {"jti": 7},
    "jti empty": {"jti": ""},
    "jti too long": {"jti": "x" * 257},
    "no iat": {"iat": None},
    "no exp": {"exp": None},
    "not listed": {"iss": "https://evil.example"},
    "tenant no text": {"tenant": ["west"]},
    "valid for a day": {"exp": int(time.time()) + 86400},
}


def test_what_is_wrong_is_refused(api: Api, idp: Idp) -> None:
    for name, changed in BAD.items():
        claims = dict(changed)
        audience = claims.pop("aud", f"{ROOT}/cds-services/{SERVICE}")
        assert call(api, f"/cds-services/{SERVICE}", idp.cds_jwt(audience, **claims)) == (401, "security"), name


def test_headers_of_a_cds_jwt(api: Api, path: str, idp: Idp) -> None:
    claims = {"iss": idp.issuer, "aud": ROOT + path, "iat": int(time.time()), "exp": int(time.time()) + 60}

    def sign(number: str, **more: Any) -> str:
        return idp.sign(claims | {"jti": number}, **more)

    with listening() as (url, connections):
        assert call(api, path, sign("1", header={"jku": url})) == (401, "security")
        mine = ECKey.generate_key("P-384", {"kid": "mine"})
        assert call(api, path, sign("2", key=mine, header={"jku": url})) == (401, "security")
        assert connections == []
    assert call(api, path, sign("3", header={"kid": None})) == (401, "security")
    assert call(api, path, sign("4", algorithm="RS256", key=idp.keys["RS384"])) == (401, "security")
    assert call(api, path, sign("5", header={"jku": idp.jwks_url}))[0] not in (401, 403)
    assert call(api, path, idp.cds_jwt(ROOT + path, exp=int(time.time()) - 60)) == (401, "expired")


def test_a_bearer_token_opens_no_cds_route_nor_a_cds_jwt_another(tmp_path: Path, idp: Idp) -> None:
    client = {"issuer": idp.issuer, "jwks_url": idp.jwks_url}
    api = Api(tmp_path, cds_clients=[client], auth_issuers=[idp.issuer_setting()])
    path = f"/cds-services/{SERVICE}"
    assert call(api, path, idp.token("a", "system/*.cruds lang1/score")) == (401, "security")
    assert api.status("GET", "/fhir/RiskAssessment", idp.cds_jwt(ROOT + path)) == 401
    only_cds = Api(tmp_path / "2", cds_clients=[client])
    assert only_cds.status("GET", "/fhir/RiskAssessment", idp.token("a", "system/*.cruds")) == 401
    assert only_cds.status("GET", "/fhir/RiskAssessment") == 401
    only_bearer = Api(tmp_path / "3", auth_issuers=[idp.issuer_setting()])
    assert call(only_bearer, path, idp.cds_jwt(ROOT + path)) == (401, "security")


def test_sources_by_issuer_and_tenant(tmp_path: Path, idp: Idp) -> None:
    names = {idp.issuer: "epic", f"{idp.issuer}|east": "epic-east"}
    api = Api(tmp_path, cds_clients=[{"issuer": idp.issuer, "jwks_url": idp.jwks_url}], auth_sources=names)
    path = api.client.get("/cds-services").json()["services"][0]["id"]
    body = {
        "hook": "encounter-discharge", "hookInstance": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "context": {"userId": "Practitioner/1", "patientId": "1", "encounterId": "2"}, "prefetch": {},
    }  # fmt: skip
    for tenant, source in ((None, "epic"), ("east", "epic-east"), ("west", "epic")):
        token = idp.cds_jwt(f"{ROOT}/cds-services/{path}", tenant=tenant)
        answer = api.client.post(f"/cds-services/{path}", json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 412, answer.text
        assert api.pipeline.contexts[-1].source == source


def test_a_jwt_that_fails_is_not_used_up(api: Api, path: str, idp: Idp) -> None:
    jti = "one"
    assert call(api, path, idp.cds_jwt(ROOT, jti=jti)) == (401, "security")
    assert call(api, path, idp.cds_jwt(ROOT + path, jti=jti))[0] not in (401, 403)


def rows(transaction: Transaction) -> list[str]:
    return list(transaction.connection.execute(select(UsedToken.token_sha256)).scalars())


def test_used_tokens_are_forgotten_when_they_cannot_come_back(tmp_path: Path) -> None:
    now = 1_000_000_000
    store = Store(f"sqlite:///{tmp_path / 'db'}", clock_ms=lambda: now)
    store.migrate()
    assert store.write(use_once, "a" * 64, now + 1000)
    assert not store.write(use_once, "a" * 64, now + 1000)
    now += 2000
    assert store.write(use_once, "b" * 64, now + 1000)
    assert sorted(store.read(rows)) == ["a" * 64, "b" * 64]  # the clocks of two nodes may differ
    now += KEPT_AFTER_MS
    assert store.write(use_once, "c" * 64, now + 1000)
    assert sorted(store.read(rows)) == ["b" * 64, "c" * 64]


def test_issuer_and_jti_do_not_run_together() -> None:
    assert token_key("https://a", "b") != token_key("https://", "ab")
    assert token_key("https://a", "b") == token_key("https://a", "b")
    assert len(token_key("x", "y")) == 64


def test_a_store_that_is_away_lets_nobody_in(api: Api, path: str, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> Any:
        await asyncio.sleep(0)
        raise StoreUnavailableError("OperationalError")

    monkeypatch.setattr(api.pipeline, "write", away)
    assert call(api, path, idp.cds_jwt(ROOT + path)) == (503, "no-store")


def test_the_problem_names_no_token(api: Api, path: str) -> None:
    answer = api.client.post(path, content=b"{}", headers={"Authorization": "Bearer secret-canary.secret-canary.x"})
    assert "canary" not in json.dumps(answer.json()) + str(answer.headers)
