"""A real Prometheus scrapes the running service, takes the rules and answers every query of every board."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from lang1.tasks import BUILT_IN
from monitoring.boards import boards
from monitoring.panels import in_namespace
from monitoring.rules import alerts, rule_groups
from tests.ehr.server import wait_for
from tests.serve.monitor.watchers import SCOPE, Prometheus, running_prometheus
from tests.serve.notes import FHIR, SCORE, document
from tests.serve.service import RunningService


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, service: RunningService) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("watchers") / "prometheus"
    with running_prometheus(folder, rule_groups(SCOPE), service.port) as running:
        yield running


@pytest.mark.parametrize("board", boards(BUILT_IN), ids=lambda board: board.uid)
def test_every_query_of_a_board_is_answered(prometheus: Prometheus, board: Any) -> None:
    for expression in board.expressions():
        prometheus.query(in_namespace(expression).replace("$namespace", "test"))


def test_traffic_and_its_records_show(prometheus: Prometheus, client: httpx.Client) -> None:
    assert client.post(SCORE, json=document(id="prometheus-1"), headers=FHIR).status_code == 200
    for expression in (
        'sum(lang1_notes_scored_total{namespace="test"}) > 0',
        'lang1_queue_limit{namespace="test"} > 0',
        "lang1:error_ratio:rate5m",
        "lang1:request_duration_seconds:p95_10m",
    ):
        wait_for(lambda expression=expression: prometheus.found(expression), 60)  # type: ignore[misc]


def test_no_rule_is_in_error_and_a_healthy_service_pages_nobody(prometheus: Prometheus) -> None:
    wait_for(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), 60)
    pages = {alert.name for alert in alerts() if alert.severity == "page"}
    assert not prometheus.firing() & pages
