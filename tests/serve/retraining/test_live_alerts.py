"""The whole way, live: outcomes shift, Prometheus fires, Alertmanager calls, a job starts, dies, goes on and ends.

The rules are the generated ones; only Prometheus's and Alertmanager's own intervals are short, and the ages of the
last test, by `monitoring.rehearsal`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from monitoring.alertmanager import alertmanager_config
from monitoring.rehearsal import quickened
from monitoring.rules import rule_groups
from serve.retraining.child import OUTPUT_FILE
from serve.store.core import Store
from tests.ehr.server import wait_for
from tests.monitoring.streams import DAY_S, READMISSION, START_S, Hospital, simulate
from tests.serve.auth.idp import Idp
from tests.serve.monitor.recorded_rows import keep_beside, rows_of
from tests.serve.monitor.watchers import SCOPE, running_alertmanager, running_prometheus
from tests.serve.notes import FHIR, SCORE, document
from tests.serve.retraining.parts import Work
from tests.serve.service import RunningService

pytestmark = pytest.mark.slow
DAYS = 120
HOUR_S = 3600
EVERYTHING = "lang1/operate lang1/score system/*.cruds"


class Live:
    """The service, and who speaks with it."""

    def __init__(self, folder: Path, bundle: Path, idp: Idp) -> None:
        self.work = Work(folder)
        self.idp = idp
        self.service = RunningService(
            folder / "service", bundle, monitor_every_s=1, monitor_reference_weeks=4,
            auth_issuers=[idp.issuer_setting()], retraining_look_s=0.2, **self.work.settings(),
        )  # fmt: skip
        self.scored = 0
        self.refused: list[int] = []

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.idp.token('tester', EVERYTHING)}"}

    def score(self) -> None:
        """One note; what is not answered is kept."""
        self.scored += 1
        answer = self.service.client.post(SCORE, json=document(id=f"live-{self.scored}"), headers=FHIR | self.headers())
        if answer.status_code != 200:
            self.refused.append(answer.status_code)

    def requests(self) -> list[dict[str, Any]]:
        answer = self.service.client.get("/v1/retraining", headers=self.headers())
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["requests"]
        return found

    def model(self) -> dict[str, str]:
        found: dict[str, str] = self.service.client.get("/v1/model", headers=self.headers()).json()["model"]
        return found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    (folder / "service").mkdir()
    idp = Idp()
    running = Live(folder, bundle, idp)
    try:
        yield running
    finally:
        running.service.stop()
        idp.close()


@pytest.fixture
def scoring(live: Live) -> Iterator[Live]:
    """Notes are scored all along; every one must be answered."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.2):
            live.score()

    thread = threading.Thread(target=go_on)
    thread.start()
    before = live.scored
    yield live
    stop.set()
    thread.join(60)
    assert live.scored > before + 5
    assert live.refused == []


def test_shifted_outcomes_end_in_a_retraining_job(scoring: Live, tmp_path: Path) -> None:
    live, token_file = scoring, tmp_path / "token"
    token_file.write_text(live.idp.token("alertmanager", "lang1/retraining.ask", exp=int(time.time()) + HOUR_S))
    config = alertmanager_config(
        live.service.url, str(token_file), group_wait="1s", group_interval="1s", repeat_interval="2s"
    )
    champion = live.model()
    with (
        running_alertmanager(tmp_path / "alertmanager", config) as port,
        running_prometheus(tmp_path / "prometheus", rule_groups(SCOPE), live.service.port, port) as prometheus,
    ):
        wait_for(lambda: prometheus.found("lang1_monitor_last_success_timestamp_seconds"), 60)
        assert "Lang1Calibration" not in prometheus.firing()
        assert live.requests() == []

        # What the registrar and time would have brought: outcomes that the scores no longer foretell.
        history = simulate(
            Hospital(7, DAYS, 60, tasks=(READMISSION,), outcome={READMISSION.name: (40, lambda z: z + 1.5)})
        )
        store = Store(f"sqlite:///{live.service.database}", sink=None)
        later_s = time.time() - (START_S + DAYS * DAY_S)
        keep_beside(store, rows_of(history, champion["bundle_sha256"], champion["version"], later_s, "anonymous"))
        store.close()

        wait_for(lambda: "Lang1Calibration" in prometheus.firing(), 120)
        wait_for(live.requests, 60)
        (request,) = live.requests()
        assert (request["origin"], request["asked_by"]) == ("alert", "alertmanager")
        assert request["bundle_sha256"] == champion["bundle_sha256"]
        assert {each["task"] for each in request["alerts"]} == {READMISSION.name}

        # A real process, in its first try; killed, it is begun again and goes on.
        wait_for(live.work.tries, 60)
        first = live.work.tries()[0]
        assert first["argv"][:2] == ["--spec", str(live.work.spec)]
        wait_for(lambda: prometheus.found("lang1_retraining_running == 1"), 60)
        os.kill(first["pid"], signal.SIGKILL)
        wait_for(lambda: len(live.work.tries()) == 2, 60)
        assert live.work.tries()[1]["argv"] == first["argv"]

        # Neither the replica that follows it nor its own death takes the job along.
        (replica,) = live.service.replica_pids("Retraining")
        os.kill(replica, signal.SIGKILL)
        wait_for(lambda: set(live.service.replica_pids("Retraining")) - {replica}, 60)
        live.work.go()
        wait_for(lambda: live.requests()[0]["status"] == "done", 180)
        (request,) = live.requests()
        assert request["tries"] == len(live.work.tries()) == 2
        wait_for(lambda: prometheus.found('lang1_retraining_last_end_timestamp_seconds{code="done"}'), 60)

        # Alertmanager goes on telling every two seconds: the model has had its request.
        calls = live.service.metric("lang1_requests_total", code="200")
        wait_for(lambda: live.service.metric("lang1_requests_total", code="200") > calls + 20, 60)
        assert len(live.requests()) == 1
        assert live.model() == champion
        assert "Lang1RetrainingFailed" not in prometheus.firing()
    outputs = list((live.service.state_dir / "retraining").glob(f"*/{OUTPUT_FILE}"))
    assert len(outputs) == 2


def test_a_service_that_stops_takes_its_job_along_and_goes_on_with_it_later(live: Live) -> None:
    (live.work.folder / "go").unlink(missing_ok=True)
    tries = len(live.work.tries())
    answer = live.service.client.post("/v1/retraining", json={"reason": "by hand"}, headers=live.headers())
    assert answer.json()["outcome"] == "requested"
    wait_for(lambda: len(live.work.tries()) == tries + 1, 60)
    pid = live.work.tries()[-1]["pid"]
    assert live.service.stop() == 0
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 10)
    live.service.start()
    wait_for(lambda: len(live.work.tries()) == tries + 2, 60)
    assert live.requests()[0]["tries"] == 1
    live.work.go()
    wait_for(lambda: live.requests()[0]["status"] == "done", 60)


def test_with_a_dead_monitor_scoring_goes_on_and_the_stale_alert_fires(scoring: Live, tmp_path: Path) -> None:
    live = scoring
    # 26 hours are 40 seconds: many runs of the monitor.
    rules = quickened(rule_groups(SCOPE), 26 * 90)
    with running_prometheus(tmp_path / "prometheus", rules, live.service.port) as prometheus:
        wait_for(lambda: prometheus.found("lang1_monitor_last_success_timestamp_seconds"), 60)
        wait_for(lambda: "Lang1MonitorStale" not in prometheus.firing(), 60)
        scored = live.scored
        until = time.monotonic() + 180
        while "Lang1MonitorStale" not in prometheus.firing():
            assert time.monotonic() < until, "the alert did not fire"
            # Ray starts it anew each time, and each time it dies before its first run is over.
            for pid in live.service.replica_pids("Monitor"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        assert live.scored > scored + 10
        assert prometheus.found("lang1_model_info == 1")
