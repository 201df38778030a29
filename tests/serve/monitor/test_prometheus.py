"""A real Prometheus scrapes the running service, takes the rules and answers every query of every board."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from lang1.tasks import BUILT_IN
from monitoring.boards import boards, in_namespace
from monitoring.rules import alerts, rule_groups
from tests.ehr.server import wait_for
from tests.serve.notes import FHIR, SCORE, document
from tests.serve.service import RunningService, free_port

SCOPE = {"namespace": "test"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, service: RunningService) -> Iterator[httpx.Client]:
    binary = shutil.which("prometheus")
    if binary is None:
        if os.environ.get("LANG1_REQUIRE_ALL"):
            pytest.fail("no prometheus; install it")
        pytest.skip("no prometheus; install it")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_groups(SCOPE)))
    target = {"targets": [f"127.0.0.1:{service.port}"], "labels": SCOPE}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "lang1", "static_configs": [target]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    running = subprocess.Popen(
        [binary, "--config.file=prometheus.yaml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=30) as client:
            wait_for(lambda: found(client, 'lang1_model_info{namespace="test"}'), 60)
            yield client
    finally:
        running.terminate()
        running.wait(20)


def query(client: httpx.Client, expression: str) -> Any:
    answer = client.get("/query", params={"query": expression})
    assert answer.status_code == 200, f"{expression}: {answer.text}"
    return answer.json()["data"]["result"]


def found(client: httpx.Client, expression: str) -> bool:
    with suppress(httpx.TransportError, AssertionError):
        return bool(query(client, expression))
    return False


@pytest.mark.parametrize("board", boards(BUILT_IN), ids=lambda board: board.uid)
def test_every_query_of_a_board_is_answered(prometheus: httpx.Client, board: Any) -> None:
    for expression in board.expressions():
        query(prometheus, in_namespace(expression).replace("$namespace", "test"))


def test_traffic_and_its_records_show(prometheus: httpx.Client, client: httpx.Client) -> None:
    assert client.post(SCORE, json=document(id="prometheus-1"), headers=FHIR).status_code == 200
    for expression in (
        'sum(lang1_notes_scored_total{namespace="test"}) > 0',
        'lang1_queue_limit{namespace="test"} > 0',
        "lang1:error_ratio:rate5m",
        "lang1:request_duration_seconds:p95_10m",
    ):
        wait_for(lambda expression=expression: found(prometheus, expression), 60)  # type: ignore[misc]


def test_no_rule_is_in_error_and_a_healthy_service_pages_nobody(prometheus: httpx.Client) -> None:
    def evaluated() -> list[dict[str, Any]]:
        (group,) = prometheus.get("/rules").json()["data"]["groups"]
        rules: list[dict[str, Any]] = group["rules"]
        return rules

    wait_for(lambda: all(rule["health"] == "ok" for rule in evaluated()), 60)
    pages = {alert.name for alert in alerts() if alert.severity == "page"}
    assert not [rule["name"] for rule in evaluated() if rule["name"] in pages and rule["state"] == "firing"]
