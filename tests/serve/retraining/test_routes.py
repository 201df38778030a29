"""`/v1/retraining` over the whole API without Ray: who may ask, what Alertmanager may send, what is recorded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitoring.rules import alerts
from serve.retraining.alerts import MAX_ALERTS, RETRAINING_ALERTS, read_notification
from serve.retraining.requests import listed
from serve.store.core import Store
from tests.serve.auth.api import Api
from tests.serve.auth.idp import Idp
from tests.serve.retraining.parts import DirectPipeline

WEBHOOK = "/v1/retraining/alerts"
# As Alertmanager 0.27 sends it, with a member that no version has.
FIRING: dict[str, Any] = {
    "receiver": "lang1-retraining", "status": "firing",
    "alerts": [{
        "status": "firing",
        "labels": {"alertname": "Lang1Calibration", "task": "readmission", "direction": "understated", "shown": "no",
                   "model_version": "1.0.0", "severity": "ticket", "remedy": "retrain", "namespace": "lang1"},
        "annotations": {"summary": "s", "runbook_url": "docs/runbook.md#lang1calibration"},
        "startsAt": "2026-11-20T10:00:00.000Z", "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph", "fingerprint": "1a30ba71cca2921f",
    }],
    "groupLabels": {"alertname": "Lang1Calibration"}, "commonLabels": {}, "commonAnnotations": {},
    "externalURL": "http://alertmanager", "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "new": {"in": 99},
}  # fmt: skip


def changed(**labels: str | None) -> dict[str, Any]:
    body = copy.deepcopy(FIRING)
    body["alerts"][0]["labels"] |= labels
    body["alerts"][0]["labels"] = {name: value for name, value in body["alerts"][0]["labels"].items() if value}
    return body


@pytest.fixture
def store(migrated_sqlite: Path, tmp_path: Path) -> Store:
    (tmp_path / "store.sqlite3").write_bytes(migrated_sqlite.read_bytes())
    return Store(f"sqlite:///{tmp_path / 'store.sqlite3'}")


class Asked(Api):
    def __init__(self, folder: Path, store: Store, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.pipeline.__dict__ = DirectPipeline(store).__dict__
        self.pipeline.__class__ = DirectPipeline  # type: ignore[assignment]

    def tell(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(WEBHOOK, content=content, headers={"Content-Type": "application/json"} | headers)


@pytest.fixture
def api(tmp_path: Path, store: Store) -> Asked:
    return Asked(tmp_path, store)


def test_an_alert_asks_once_however_often_it_is_told(api: Asked, store: Store) -> None:
    first = api.tell(FIRING).json()
    assert first["outcome"] == "requested"
    assert api.tell(FIRING).json() == {"outcome": "joined", "request": first["request"]}
    (row,) = store.read(listed, 9)
    assert (row.origin, row.asked_by, row.model_version) == ("alert", "anonymous", "1.0.0")
    assert row.reason == "Lang1Calibration readmission understated"
    assert row.alerts[0].keys() == {"alertname", "task", "shown", "direction", "model_version"}


def test_a_group_asks_once_and_names_each(api: Asked, store: Store) -> None:
    body = copy.deepcopy(FIRING)
    drift = copy.deepcopy(body["alerts"][0])
    drift["labels"] |= {"alertname": "Lang1Drift", "signal": "notes/length"}
    other = copy.deepcopy(body["alerts"][0])
    other["labels"]["alertname"] = "Lang1Slow"
    body["alerts"] += [drift, drift, other]
    assert api.tell(body).json()["outcome"] == "requested"
    (row,) = store.read(listed, 9)
    assert row.reason.count(";") == 1
    assert [each["alertname"] for each in row.alerts] == ["Lang1Calibration", "Lang1Drift", "Lang1Drift"]


@pytest.mark.parametrize("body", [
    {**FIRING, "alerts": []},
    {**FIRING, "status": "resolved", "alerts": [{**FIRING["alerts"][0], "status": "resolved"}]},
    changed(alertname="Lang1WriteBackOld"),
    changed(alertname="SomebodyElses"),
    changed(remedy=None),
    changed(model_version="0.9.0"),
], ids=["none", "resolved", "other", "foreign", "unlabelled", "older-model"])  # fmt: skip
def test_what_is_no_drift_of_the_loaded_model_asks_for_nothing(api: Asked, store: Store, body: Any) -> None:
    assert api.tell(body).json() == {"outcome": "nothing", "request": None}
    assert store.read(listed, 9) == []


def test_every_alert_with_the_remedy_asks(api: Asked) -> None:
    assert {alert.name for alert in alerts() if alert.remedy} == RETRAINING_ALERTS
    for name in RETRAINING_ALERTS:
        assert api.tell(changed(alertname=name)).json()["outcome"] in ("requested", "joined")


@pytest.mark.parametrize(("body", "status", "pointer"), [
    (b"{", 400, None),
    (b"[]", 400, None),
    ({}, 422, "version"),
    ({**FIRING, "version": "5"}, 422, "version"),
    ({**FIRING, "alerts": "no"}, 422, "alerts"),
    ({**FIRING, "alerts": [{"status": "firing"}]}, 422, "alerts.0.labels"),
    ({**FIRING, "alerts": [{"status": "firing", "labels": {"a": 1}}]}, 422, "alerts.0.labels"),
    ({**FIRING, "alerts": [{"status": "firing", "labels": {"Jane Doe": "x" * 2000}}]}, 422, "alerts.0.labels"),
    ({**FIRING, "alerts": [{"status": "odd", "labels": {}}]}, 422, "alerts.0.status"),
    ({**FIRING, "alerts": [{"status": "firing", "labels": {}}] * (MAX_ALERTS + 1)}, 422, "alerts"),
    (b" " * 300_000, 413, None),
])  # fmt: skip
def test_a_body_that_is_no_notification_is_refused_and_not_echoed(
    api: Asked, body: Any, status: int, pointer: str | None
) -> None:
    answer = api.tell(body)
    assert answer.status_code == status
    assert answer.json().get("pointer") == pointer
    assert "Jane" not in answer.text
    assert "xxx" not in answer.text


def test_while_the_model_is_not_known_alertmanager_must_try_again(api: Asked, store: Store) -> None:
    pipeline: Any = api.pipeline
    pipeline.away = True
    assert api.tell(FIRING).status_code == 503
    pipeline.away = False
    assert api.tell(FIRING).json()["outcome"] == "requested"


def test_a_person_asks_with_a_reason(api: Asked, store: Store) -> None:
    def ask(**body: Any) -> httpx.Response:
        return api.client.post("/v1/retraining", json=body)

    assert ask(reason="  a new template  ").json()["outcome"] == "requested"
    for wrong in ({}, {"reason": " "}, {"reason": "x" * 501}, {"reason": 1}, {"reason": "x", "more": 1}):
        assert ask(**wrong).status_code == 422, wrong
    listing = api.client.get("/v1/retraining").json()
    assert listing["starts_jobs"] is False
    (row,) = listing["requests"]
    assert (row["origin"], row["reason"], row["status"], row["tries"]) == ("person", "a new template", "requested", 0)
    assert row["finished_at"] is None


@pytest.mark.parametrize("limit", ["0", "101", "x", "1e1", "-1"])
def test_a_wrong_limit_is_refused(api: Asked, limit: str) -> None:
    assert api.client.get("/v1/retraining", params={"limit": limit}).status_code == 422


def test_who_may_ask(tmp_path: Path, store: Store, idp: Idp) -> None:
    api = Asked(tmp_path, store, auth_issuers=[idp.issuer_setting()])

    def status(method: str, path: str, scopes: str | None) -> int:
        token = None if scopes is None else idp.token("alertmanager", scopes)
        return api.status(method, path, token, **({} if method == "GET" else {"json": FIRING}))

    for method, path in (("GET", "/v1/retraining"), ("POST", "/v1/retraining"), ("POST", WEBHOOK)):
        assert status(method, path, None) == 401
        assert status(method, path, "system/*.cruds lang1/score lang1/notify") == 403
    assert status("POST", WEBHOOK, "lang1/retraining.ask") == 200
    assert status("POST", WEBHOOK, "lang1/operate") == 200
    assert status("POST", "/v1/retraining", "lang1/retraining.ask") == 403
    assert status("GET", "/v1/retraining", "lang1/retraining.ask") == 403
    assert status("GET", "/v1/retraining", "lang1/operate") == 200
    (row,) = store.read(listed, 9)
    assert row.asked_by == "alertmanager"


def test_the_largest_notification_is_read() -> None:
    read_notification({**FIRING, "alerts": [FIRING["alerts"][0]] * MAX_ALERTS})
