"""`/v1/rollout` and `/v1/models`: who may do what, what is answered, and what is logged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lang1.registry import Registry
from lang1.scores import ModelIdentity
from serve.auth.scopes import METRICS_READ, OPERATE, SCORE
from tests.lang1.registry.plain_bundle import make_plain_bundle
from tests.serve.auth.api import Api
from tests.serve.auth.idp import Idp
from tests.serve.rollout.parts import WHO, InstantScorer


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry.create(tmp_path / "registry")
    one, _ = (registry.add(make_plain_bundle(tmp_path / v, v), **WHO) for v in ("1.0.0", "1.1.0"))
    registry.set_champion(one, **WHO)
    return registry


def api_with(folder: Path, registry: Registry | None, **settings: Any) -> Api:
    if registry is not None:
        settings["registry"] = str(registry.folder)
    api = Api(folder / "state", **settings)
    loaded = InstantScorer(ModelIdentity("plain", "1.0.0", "0" * 64, demo=True)).description()

    async def refresh() -> Any:
        return loaded

    api.pipeline.refresh = refresh  # type: ignore[attr-defined]
    api.pipeline.arms = None  # type: ignore[attr-defined]
    return api


def post(api: Api, body: object, token: str | None = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return api.client.post("/v1/rollout", json=body, headers=headers)


def test_a_rollout_is_moved_and_read(tmp_path: Path, registry: Registry) -> None:
    api = api_with(tmp_path, registry)
    champion, challenger = (each.sha256 for each in registry.listed())
    registry.record_gate(challenger, {"verdict": "pass", "reasons": [], "champion": champion}, actor="gate")
    reason = {"reason": "as the plan says"}
    moved = post(api, {"action": "shadow", "bundle": challenger[:8], **reason})
    assert moved.status_code == 200
    assert moved.json()["channels"]["stage"] == "shadow"
    assert post(api, {"action": "canary", **reason}).status_code == 409
    for action, stage, share in (
        ("approve", "shadow", 0), ("canary", "canary", 5), ("advance", "canary", 25), ("rollback", None, 0),
    ):  # fmt: skip
        move = {"action": action, **reason} | ({"bundle": challenger} if action == "approve" else {})
        channels = post(api, move).json()["channels"]
        assert (channels["stage"], channels["share"]) == (stage, share)
    state = api.client.get("/v1/rollout").json()
    assert [line["action"] for line in state["log"]][-6:] == [
        "shadow", "canary-refused", "approve", "canary", "advance", "rollback",
    ]  # fmt: skip
    assert state["log"][-1]["actor"] == "anonymous"
    assert state["approval"] == {"needed": True, "by": None}
    models = api.client.get("/v1/models").json()["models"]
    assert [(each["version"], each["channels"], each["gate"]) for each in models] == [
        ("1.0.0", ["champion"], None), ("1.1.0", [], "pass"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"action": "rollback"}, 422, "reason"),
        ({"action": "explode", "reason": "x"}, 422, "actions: shadow"),
        ({"action": "shadow", "reason": "x"}, 422, "bundle"),
        ({"action": "shadow", "reason": "x", "bundle": "../../etc"}, 422, "bundle"),
        ({"action": "shadow", "reason": "x", "bundle": "0" * 64}, 404, "no bundle"),
        ({"action": "promote", "reason": "x"}, 409, "100%"),
        ({"action": "rollback", "reason": "x", "force": True}, 422, "the body"),
        ({"action": "rollback", "reason": "\u001b[31m"}, 422, "reason"),
        ([], 400, "object"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_mend(
    tmp_path: Path, registry: Registry, body: object, status: int, words: str
) -> None:
    answer = post(api_with(tmp_path, registry), body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


def test_the_actor_is_the_authenticated_caller_and_only_operators_move(
    tmp_path: Path, registry: Registry, idp: Idp
) -> None:
    api = api_with(tmp_path, registry, auth_issuers=[idp.issuer_setting()])
    body = {"action": "promote", "reason": "now"}
    assert post(api, body).status_code == 401
    assert post(api, body, idp.token("ehr", f"{SCORE} {METRICS_READ}")).status_code == 403
    assert len(registry.log()) == 4
    assert post(api, body, idp.token("release-desk", OPERATE)).status_code == 409
    assert registry.log()[-1].actor == "release-desk"
    headers = {"Authorization": f"Bearer {idp.token('ehr', SCORE)}"}
    assert api.client.get("/v1/models", headers=headers).status_code == 200
    assert api.client.get("/v1/rollout", headers=headers).status_code == 403


def test_without_a_registry_there_is_one_model_and_no_rollout(tmp_path: Path) -> None:
    api = api_with(tmp_path, None)
    assert api.client.get("/v1/rollout").status_code == 501
    assert post(api, {"action": "rollback", "reason": "x"}).status_code == 501
    (model,) = api.client.get("/v1/models").json()["models"]
    assert (model["version"], model["channels"]) == ("1.0.0", ["champion"])


def test_a_registry_that_is_away_is_503(tmp_path: Path, registry: Registry) -> None:
    api = api_with(tmp_path, registry)
    registry.folder.rename(tmp_path / "elsewhere")
    answer = api.client.get("/v1/rollout")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
