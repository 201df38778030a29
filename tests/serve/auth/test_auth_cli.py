"""`lang1 auth`: the rules in print, the issuers asked, a token judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from lang1.cli.auth import app
from serve.auth.access import ROUTES
from tests.serve.auth.idp import Idp
from tests.serve.auth.test_login import login_settings


@pytest.fixture
def settings(tmp_path: Path, idp: Idp) -> Path:
    file = tmp_path / "settings.yaml"
    values: dict[str, Any] = {
        "auth_issuers": [idp.issuer_setting()], "auth_sources": {"feed": "epic"},
        "cds_clients": [{"issuer": "https://ehr.example", "jwks_url": idp.jwks_url}],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(values | login_settings(tmp_path, idp)))
    return file


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=given)


def test_every_rule_is_printed() -> None:
    done = run("routes")
    assert len(done.output.splitlines()) == len(ROUTES)
    assert "POST /fhir/DocumentReference/$score" in done.output
    assert "lang1/beds.read, or a login" in done.output


def test_issuers_are_asked(settings: Path, idp: Idp) -> None:
    done = run("check", "--settings", str(settings))
    assert done.exit_code == 0, done.output
    assert done.output.count("ok  ") == 3
    assert "/login/callback" in done.output
    idp.down = True
    done = run("check", "--settings", str(settings))
    assert done.exit_code == 1
    assert done.output.count("FAIL") == 3


def test_a_token_is_judged(settings: Path, idp: Idp) -> None:
    good = run("token", "--settings", str(settings), given=idp.token("feed", "lang1/score openid") + "\n")
    assert good.output == "client: feed\nsource: epic\nscopes: lang1/score\n"
    bad = run("token", "--settings", str(settings), given=idp.token("feed", "lang1/score", aud="https://other.example"))
    assert bad.exit_code == 1
    assert "audience" in str(bad.exception)
