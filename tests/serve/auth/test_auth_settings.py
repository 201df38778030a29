"""Settings of the authentication: what they take, and what does not start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serve.auth.gate import check_authentication
from serve.auth.settings import ALGORITHMS
from serve.errors import SettingsError
from serve.settings import load_settings
from tests.serve.auth.idp import Idp
from tests.serve.auth.test_login import login_settings

ISSUER = {"issuer": "https://idp.example", "audience": "lang1", "jwks_url": "https://idp.example/jwks"}
CDS = {"issuer": "https://ehr.example", "jwks_url": "https://ehr.example/jwks"}


def test_issuers_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG1_AUTH_ISSUERS", json.dumps([ISSUER]))
    monkeypatch.setenv("LANG1_AUTH_SOURCES", json.dumps({"feed": "epic"}))
    settings = load_settings()
    (issuer,) = settings.auth_issuers
    assert (issuer.audience, issuer.algorithms, issuer.scope_claims) == (("lang1",), ALGORITHMS, ("scope", "scp"))
    assert settings.auth_sources == {"feed": "epic"}
    assert settings.authenticates
    assert not load_settings(auth_issuers=[]).authenticates


BAD: dict[str, dict[str, Any]] = {
    "keys over http": {"auth_issuers": [ISSUER | {"jwks_url": "http://idp.example/jwks"}]},
    "keys from a file URL": {"auth_issuers": [ISSUER | {"jwks_url": "file:///etc/jwks"}]},
    "a user in the URL": {"auth_issuers": [ISSUER | {"jwks_url": "https://u:p@idp.example/jwks"}]},
    "a loopback look-alike": {"auth_issuers": [ISSUER | {"jwks_url": "http://127.0.0.1.evil.example/jwks"}]},
    "two places of keys": {"auth_issuers": [ISSUER | {"jwks_file": "/x"}]},
    "no place of keys": {"auth_issuers": [{"issuer": "https://idp.example", "audience": "x"}]},
    "no audience": {"auth_issuers": [ISSUER | {"audience": []}]},
    "an empty audience": {"auth_issuers": [ISSUER | {"audience": ""}]},
    "an HMAC algorithm": {"auth_issuers": [ISSUER | {"algorithms": ["HS256"]}]},
    "algorithm none": {"auth_issuers": [ISSUER | {"algorithms": ["none"]}]},
    "no algorithm": {"auth_issuers": [ISSUER | {"algorithms": []}]},
    "an unknown member": {"auth_issuers": [ISSUER | {"jwk_url": "https://idp.example"}]},
    "an issuer twice": {"auth_issuers": [ISSUER, ISSUER]},
    "a CDS client twice": {"cds_clients": [CDS, CDS]},
    "a source that is no name": {"auth_issuers": [ISSUER], "auth_sources": {"a": "not a name"}},
    "a bare client with two issuers": {
        "auth_issuers": [ISSUER, ISSUER | {"issuer": "https://b.example"}], "auth_sources": {"feed": "epic"},
    },
    "a leeway of an hour": {"auth_leeway_s": 3600},
    "a login and no key": {"oidc_issuer": "https://idp.example", "oidc_client_id": "x", "oidc_allowed_groups": ["a"]},
    "a login for everyone": {"oidc_issuer": "https://idp.example", "oidc_client_id": "x", "session_key_file": "/x"},
    "a login over http": {
        "oidc_issuer": "https://idp.example", "oidc_client_id": "x", "session_key_file": "/x",
        "oidc_allowed_groups": ["a"], "public_base_url": "http://lang1.example.org/fhir",
    },
    "a CDS audience over http": {"cds_clients": [CDS], "cds_audience": "http://lang1.example.org"},
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_start(name: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(**BAD[name])


def test_several_issuers_name_their_clients_in_full() -> None:
    second = ISSUER | {"issuer": "https://b.example"}
    names = {"https://b.example|feed": "epic", CDS["issuer"]: "epic", f"{CDS['issuer']}|west": "west"}
    assert load_settings(auth_issuers=[ISSUER, second], cds_clients=[CDS], auth_sources=names).auth_sources == names


def test_any_means_of_authentication_closes_the_rest() -> None:
    assert load_settings(cds_clients=[CDS], host="0.0.0.0").authenticates  # noqa: S104


def test_keys_that_cannot_be_used_refuse_the_start(tmp_path: Path, idp: Idp) -> None:
    def refused(**settings: Any) -> str:
        with pytest.raises(SettingsError) as caught:
            check_authentication(load_settings(**settings))
        return str(caught.value)

    check_authentication(load_settings())
    check_authentication(load_settings(auth_issuers=[idp.issuer_setting()], **login_settings(tmp_path, idp)))
    missing = {"issuer": "https://idp.example", "audience": "x", "jwks_file": str(tmp_path / "none.json")}
    assert "jwks_file" in refused(auth_issuers=[missing])
    (tmp_path / "none.json").write_text('{"keys": []}')
    assert "no key" in refused(auth_issuers=[missing])
    short = tmp_path / "short"
    short.write_text("geheim")
    assert "notification_secret_file" in refused(auth_issuers=[ISSUER], notification_secret_file=str(short))
    login = login_settings(tmp_path, idp)
    told = refused(**(login | {"session_key_file": str(short)}))
    assert "session_key_file" in told
    assert "geheim" not in told
    assert "oidc_client_secret_file" in refused(**(login | {"oidc_client_secret_file": str(tmp_path / "nope")}))
    assert "auth_ca_file" in refused(auth_issuers=[ISSUER], auth_ca_file=str(short))


def test_the_public_root() -> None:
    assert load_settings(public_base_url="https://h.example/lang1/fhir/").public_root == "https://h.example/lang1"
    assert load_settings(port=8123).public_root == "http://127.0.0.1:8123"
