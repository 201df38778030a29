"""What a SMART backend service looks up before it asks for a token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.serve.auth.api import Api
from tests.serve.auth.idp import Idp


@pytest.mark.parametrize("path", ["/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"])
def test_smart_configuration(path: str, tmp_path: Path, idp: Idp) -> None:
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()])
    answer = api.client.get(path)
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert {"system/DocumentReference.c", "system/RiskAssessment.s", "lang1/score"} <= set(document["scopes_supported"])
    assert "client-confidential-asymmetric" in document["capabilities"]
    assert "token_endpoint" not in document
    shown = Api(tmp_path, auth_issuers=[idp.issuer_setting(token_endpoint="https://idp.example/token")])
    told = shown.client.get(path).json()
    assert (told["issuer"], told["token_endpoint"]) == (idp.issuer, "https://idp.example/token")
    assert Api(tmp_path).client.get(path).status_code == 404


def test_the_keys_of_this_service_as_a_client(tmp_path: Path) -> None:
    assert Api(tmp_path).client.get("/.well-known/jwks.json").status_code == 404
    file = tmp_path / "key.json"
    key = ECKey.generate_key("P-384", {"kid": "ours"})
    file.write_text(json.dumps(key.as_dict(private=True)))
    client: dict[str, Any] = {
        "fhir_base_url": "https://ehr.example/fhir",
        "ehr_client_id": "lang1",
        "ehr_key_file": str(file),
    }
    api = Api(tmp_path, **client)
    (shown,) = api.client.get("/.well-known/jwks.json").json()["keys"]
    assert shown["kid"] == "ours"
    assert "d" not in shown
    file.unlink()
    gone = api.client.get("/.well-known/jwks.json")
    assert gone.status_code == 503
    assert str(file) not in gone.text


def test_the_capability_statement_says_smart(tmp_path: Path, idp: Idp) -> None:
    secured = Api(tmp_path, auth_issuers=[idp.issuer_setting()]).client.get("/fhir/metadata").json()
    assert secured["rest"][0]["security"]["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    assert "security" not in Api(tmp_path).client.get("/fhir/metadata").json()["rest"][0]
