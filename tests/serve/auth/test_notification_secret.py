"""The secret of a Subscription's header opens the notifications' route, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.serve.auth.api import Api
from tests.serve.auth.idp import Idp

PATH = "/fhir/$notification"
SECRET = "n" * 40


def test_the_secret_opens_notifications_alone(tmp_path: Path, idp: Idp) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    api = Api(tmp_path, auth_issuers=[idp.issuer_setting()], notification_secret_file=str(file))
    let_in = 404  # by the route itself, because notifications are off
    assert api.status("POST", PATH, SECRET) == let_in
    assert api.status("POST", PATH, SECRET[:-1]) == 401
    assert api.status("POST", PATH, SECRET + "n") == 401
    assert api.status("POST", PATH) == 401
    assert api.status("POST", PATH, idp.token("server", "lang1/notify")) == let_in
    assert api.status("POST", PATH, idp.token("server", "lang1/score")) == 403
    assert api.status("GET", "/fhir/RiskAssessment", SECRET) == 401
    without = Api(tmp_path, auth_issuers=[idp.issuer_setting()])
    assert without.status("POST", PATH, SECRET) == 401
