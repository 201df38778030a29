"""Every route of the service has a rule, the gate matches as the router does, and a route without a rule is closed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from serve.auth.access import OPEN, ROUTES, find_access
from serve.auth.caller import Caller
from tests.serve.auth.api import Api
from tests.serve.auth.idp import Idp
from tests.serve.auth.test_login import login_settings


def routes_of(api: Api) -> set[tuple[str, str]]:
    found = set()
    for context in iter_route_contexts(api.app.routes):
        assert context.path is not None
        found |= {(method, context.path) for method in context.methods or () if method != "HEAD"}
    return found


def test_every_route_has_a_rule(tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()], **login_settings(tmp_path, idp))
    found = routes_of(api)
    assert len(found) > 15
    assert found - ROUTES.keys() == set()


@pytest.mark.parametrize(("method", "template"), ROUTES)
def test_a_path_matches_its_own_rule_alone(method: str, template: str) -> None:
    path = re.sub(r"\{[a-z_]+\}", "0f8fad5b-d9cb-469f-a165-70867728950e", template)
    match = find_access(method, path)
    assert match is not None
    assert match.template == template
    for near in (f"{path}/", f"{path}x/y/z", f"/{path}", path.upper()):
        other = find_access(method, near)
        assert other is None or other.template != template or "{" in template, near


def test_a_route_without_a_rule_is_closed_even_to_all_scopes(tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()])

    @api.app.get("/v1/forgotten")
    async def forgotten() -> str:
        return "open"

    answer = api.client.get("/v1/forgotten", headers={"Authorization": f"Bearer {idp.token('a', 'system/*.cruds')}"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    without = Api(tmp_path / "demo")
    without.app.get("/v1/forgotten")(forgotten)
    assert without.status("GET", "/v1/forgotten") == 403


# Scope that is enough, and one that looks close and is not.
NEEDED = {
    ("GET", "/fhir/RiskAssessment"): ("system/RiskAssessment.s", "system/RiskAssessment.r"),
    ("GET", "/fhir/RiskAssessment/0f8fad5b-d9cb-469f-a165-70867728950e"): (
        "system/RiskAssessment.read", "system/RiskAssessment.cuds"
    ),
    ("POST", "/fhir"): ("system/Encounter.u", "system/Encounter.rs system/Patient.cud"),
    ("POST", "/fhir/DocumentReference/$score"): ("system/*.c", "system/RiskAssessment.cruds"),
    ("POST", "/v1/score"): ("lang1/score", "system/*.cruds"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path"), NEEDED)
def test_a_route_needs_its_scope(method: str, path: str, tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()])
    enough, near = NEEDED[method, path]
    assert api.status(method, path) == 401
    headers = {"Authorization": f"Bearer {idp.token('a', near)}"}
    refused = api.client.request(method, path, headers=headers)
    assert refused.status_code == 403
    body = refused.json()
    if path.startswith("/fhir"):
        assert body["resourceType"] == "OperationOutcome"
        assert body["issue"][0]["code"] == "forbidden"
    else:
        assert refused.headers["content-type"] == "application/problem+json"
        assert body["code"] == "forbidden"
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert api.status(method, path, idp.token("a", enough)) in (200, 404, 415)


def test_what_is_open_needs_no_token_and_nothing_else_is(tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()])
    for method, path in routes_of(api):
        status = api.status(method, re.sub(r"\{[a-z_]+\}", "x", path)) if path not in ("/readyz", "/metrics") else None
        if status is not None:
            assert (status == 401) == (ROUTES[method, path] is not OPEN), path


def test_metrics_by_setting(tmp_path: Path, idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.metrics.exposition", lambda: b"")
    issuers, good = [idp.issuer_setting()], idp.token("prometheus", "lang1/metrics.read")
    far, near = ("10.0.0.5", 8000), ("127.0.0.1", 8000)
    for access, server, without_token in (
        ("open", far, 200), ("loopback", far, 401), ("loopback", near, 200), ("scope", near, 401)
    ):  # fmt: skip
        api = Api(tmp_path, server=server, auth_issuers=issuers, metrics_access=access)
        assert api.status("GET", "/metrics") == without_token, (access, server)
        assert api.status("GET", "/metrics", good) == 200
    assert Api(tmp_path, server=near, metrics_access="scope").status("GET", "/metrics") == 200
    assert Api(tmp_path, server=far).status("GET", "/metrics") == 403


def test_an_entry_of_a_batch_is_judged_by_the_caller() -> None:
    caller = Caller("s", "c", frozenset({"system/Encounter.cu"}))
    assert caller.allows("Encounter", "c")
    assert not caller.allows("DocumentReference", "c")
    assert caller.has("system/Encounter.u")
    assert not caller.has("lang1/score")
