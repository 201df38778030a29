"""Each alert, by promtool: silent just before its time, firing at it; and rules, boards and runbook agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lang1.tasks import BUILT_IN
from monitoring import generate
from monitoring.boards import boards
from monitoring.panels import Board
from monitoring.rules import RETRAIN, RUNBOOK, Alert, alerts, metric_names, recording_rules, rule_groups

ROOT = Path(__file__).resolve().parents[2]
SCOPE = {"namespace": "here"}
HOUR = 60


@dataclass(frozen=True)
class Course:
    """Series (with values as promtool writes them, a minute apart) and the minute from which the alert fires."""

    series: dict[str, str]
    fires: int


def served(ok: str, failed: str) -> dict[str, str]:
    return {'lang1_requests_total{code="200"}': ok, 'lang1_requests_total{code="503"}': failed}


def watched(alarm: str) -> dict[str, str]:
    return {
        alarm % "2": "0x9 1x30", alarm % "1": "1x40",
        'lang1_model_info{model_version="2"}': "1x40", 'lang1_model_info{model_version="1"}': "0x40",
    }  # fmt: skip


# promtool's clock starts at 1970-01-01 00:00, a Thursday.
COURSES = {
    # The last sample is at minute 10 and is looked back at for five minutes; then five more must pass.
    "Lang1NoModel": Course({'lang1_model_info{model_version="1"}': "1x10"}, 10 + 5 + 1 + 5),
    # 2% of answers fail from minute 0 on: over 14.4 and 6 times the 0.1% that is allowed.
    "Lang1ErrorBudgetFast": Course(served("0+98x100", "0+2x100"), 1 + 2),
    "Lang1ErrorBudget": Course(served("0+992x500", "0+8x500"), 1 + 15),
    "Lang1ErrorBudgetSlow": Course(served("0+997x500", "0+3x500"), 1 + 60),
    "Lang1WriteBackOld": Course({"lang1_outbox_oldest_seconds": "0+60x60"}, 16 + 5),
    "Lang1WriteBackDead": Course({"lang1_outbox_dead": "0x9 1x30"}, 10),
    "Lang1IntakeOld": Course({"lang1_intake_oldest_seconds": "0+60x60"}, 16 + 5),
    "Lang1IntakeDead": Course({"lang1_intake_dead": "0x9 1x30"}, 10),
    "Lang1Slow": Course({
        'lang1_request_duration_seconds_bucket{le="2"}': "0+0x60",
        'lang1_request_duration_seconds_bucket{le="5"}': "0+10x60",
        'lang1_request_duration_seconds_bucket{le="+Inf"}': "0+10x60",
    }, 1 + 10),
    "Lang1QueueFilling": Course({"lang1_queue_depth": "400x9 420x30", "lang1_queue_limit": "512x40"}, 10 + 5),
    # 4 a minute from minute 20 on: over 9 in 15 minutes with the third of them.
    "Lang1NotesFailing": Course({'lang1_notes_failed_total{code="no-store"}': "0x19 0+4x60"}, 20 + 3 + 15),
    # Notes until 09:00; two hours later there is nothing to see, and half an hour after that it is told.
    "Lang1NoNotes": Course(
        {"lang1_notes_scored_total": f"0+1x{9 * HOUR} {9 * HOUR}x300"}, 11 * HOUR + 30
    ),
    "Lang1MonitorStale": Course({"lang1_monitor_last_success_timestamp_seconds": f"0x{30 * HOUR}"}, 26 * HOUR + 1 + 10),
    # The model before it is in alarm all along, and no longer loaded.
    "Lang1Calibration": Course(
        watched('lang1_calibration_alarm{task="t",shown="no",direction="understated",model_version="%s"}'), 10
    ),
    "Lang1Quality": Course(watched('lang1_quality_alarm{task="t",shown="no",model_version="%s"}'), 10),
    "Lang1Drift": Course(watched('lang1_drift_alarm{signal="notes/length",model_version="%s"}'), 10),
    # One came to its end at second 100, another failed at second 200, which is known from minute 10 on.
    "Lang1RetrainingFailed": Course({
        'lang1_retraining_last_end_timestamp_seconds{code="done"}': "100x40",
        'lang1_retraining_last_end_timestamp_seconds{code="failed"}': "50x9 200x30",
    }, 10),
}  # fmt: skip
LABELS = {
    "Lang1NotesFailing": {"code": "no-store"},
    "Lang1Calibration": {"task": "t", "shown": "no", "direction": "understated", "model_version": "2"},
    "Lang1Quality": {"task": "t", "shown": "no", "model_version": "2"},
    "Lang1Drift": {"signal": "notes/length", "model_version": "2"},
}


def in_scope(series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{namespace="here"{"," + labels if labels else "}"}'


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("LANG1_REQUIRE_ALL"):
            pytest.fail("no promtool; install prometheus")
        pytest.skip("no promtool; install prometheus")
    return found


def scenario(alert: Alert, course: Course) -> dict[str, Any]:
    remedy = {"remedy": alert.remedy} if alert.remedy else {}
    labels = {"severity": alert.severity, **remedy, **SCOPE, **LABELS.get(alert.name, {})}
    summary = re.sub(r"{{ \$labels\.(\w+) }}", lambda name: labels[name[1]], alert.summary)
    annotations = {
        "summary": summary, "description": alert.description, "runbook_url": f"{RUNBOOK}#{alert.name.lower()}"
    }  # fmt: skip
    return {
        "name": alert.name,
        "interval": "1m",
        "input_series": [{"series": in_scope(name), "values": values} for name, values in course.series.items()],
        "alert_rule_test": [
            {"alertname": alert.name, "eval_time": f"{course.fires - 1}m", "exp_alerts": []},
            {"alertname": alert.name, "eval_time": f"{course.fires}m",
             "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}]},
        ],
    }  # fmt: skip


def run(promtool: str, folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_groups(SCOPE)))
    plan = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(plan))
    return subprocess.run([promtool, "test", "rules", "tests.yaml"], cwd=folder, capture_output=True, text=True)


def test_every_alert_has_a_course() -> None:
    assert COURSES.keys() == {alert.name for alert in alerts()}


@pytest.fixture(scope="module")
def told(promtool: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What promtool says of all alerts in one run; it names the tests that fail."""
    ran = run(promtool, tmp_path_factory.mktemp("rules"), [scenario(each, COURSES[each.name]) for each in alerts()])
    assert "Unit Testing" in ran.stdout, ran.stderr
    assert ran.returncode == 0 or "FAILED" in ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_is_silent_just_before_and_firing_just_after(told: str, alert: Alert) -> None:
    assert f"name: {alert.name}," not in told, told


def test_another_installation_sets_nothing_off(promtool: str, tmp_path: Path) -> None:
    alert = next(each for each in alerts() if each.name == "Lang1WriteBackDead")
    elsewhere = scenario(alert, COURSES[alert.name])
    elsewhere["input_series"][0]["series"] = 'lang1_outbox_dead{namespace="elsewhere"}'
    elsewhere["alert_rule_test"][1]["exp_alerts"] = []
    ran = run(promtool, tmp_path, [elsewhere])
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_its_section_in_the_runbook() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)
    assert sections == [alert.name for alert in alerts()]


def test_pages_are_for_what_a_person_mends_at_night() -> None:
    tickets = {alert.name for alert in alerts() if alert.severity == "ticket"}
    assert {"Lang1Drift", "Lang1Calibration", "Lang1Quality"} <= tickets


def test_retraining_is_the_remedy_of_what_the_monitor_alone_tells() -> None:
    found = {alert.name for alert in alerts() if alert.remedy == RETRAIN}
    assert found == {"Lang1Calibration", "Lang1Quality", "Lang1Drift"}


def exported() -> set[str]:
    """Sample names of every metric that the service can export."""
    from prometheus_client.metrics import MetricWrapperBase

    from monitoring import gauges, metrics

    found: set[str] = set()
    for module in (metrics, gauges):
        for each in vars(module).values():
            if isinstance(each, MetricWrapperBase):
                kind = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(each._type, ("",))
                found |= {each._name + end for end in kind}
    return found


def test_rules_read_metrics_that_exist() -> None:
    for group in rule_groups()["groups"]:
        for rule in group["rules"]:
            assert metric_names(rule["expr"]) <= exported(), rule


@pytest.mark.parametrize("board", boards(BUILT_IN), ids=lambda board: board.uid)
def test_a_board_reads_metrics_and_records_that_exist(board: Board) -> None:
    recorded = {rule["record"] for rule in recording_rules()}
    for expression in board.expressions():
        assert metric_names(expression) <= exported(), expression
        assert set(re.findall(r"\blang1:[:\w]+", expression)) <= recorded, expression


def test_what_is_generated_is_fresh() -> None:
    assert generate.main(["--check"]) == 0
