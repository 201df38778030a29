"""A browser may read the CDS routes from the configured origins, and nothing else from anywhere."""

from __future__ import annotations

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from serve.errors import SettingsError
from serve.http.cds_cors import CdsCors
from serve.settings import load_settings

EHR = {"Origin": "https://ehr.example.org"}


def allowed(origins: list[str], path: str, headers: dict[str, str]) -> str | None:
    client = TestClient(CdsCors(Response("x"), origins))
    return client.get(path, headers=headers).headers.get("access-control-allow-origin")


def test_only_configured_origins_and_only_cds_routes() -> None:
    assert allowed(["https://ehr.example.org"], "/cds-services", EHR) == "https://ehr.example.org"
    assert allowed(["https://ehr.example.org"], "/cds-services/x", {"Origin": "https://evil.example"}) is None
    assert allowed(["https://ehr.example.org"], "/fhir/RiskAssessment", EHR) is None
    assert allowed(["https://ehr.example.org"], "/cds-services-x", EHR) is None
    assert allowed([], "/cds-services", EHR) is None


def test_a_preflight_is_answered() -> None:
    client = TestClient(CdsCors(Response("x"), ["https://ehr.example.org"]))
    asked = EHR | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = client.options("/cds-services/x", headers=asked)
    assert answer.status_code == 200 and "POST" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize("origin", ["*", "ehr.example.org", "https://ehr.example.org/path", "null"])
def test_a_wrong_origin_does_not_start(origin: str) -> None:
    with pytest.raises(SettingsError, match="cds_allowed_origins"):
        load_settings(cds_allowed_origins=(origin,))
