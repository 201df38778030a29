"""The example Alertmanager configuration, by amtool; and the same rules at a quicker pace, by promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from monitoring.alertmanager import alertmanager_config
from monitoring.generate import GENERATED
from monitoring.rehearsal import quickened
from monitoring.rules import alerts, rule_groups

CONFIG = GENERATED / "alertmanager.yaml"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("LANG1_REQUIRE_ALL"):
            pytest.fail(f"no {name}; install prometheus and prometheus-alertmanager")
        pytest.skip(f"no {name}; install prometheus and prometheus-alertmanager")
    return found


def receivers(**labels: str) -> list[str]:
    told = subprocess.run(
        [tool("amtool"), "config", "routes", "test", f"--config.file={CONFIG}",
         *(f"{name}={value}" for name, value in labels.items())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return told.stdout.strip().split(",")


def test_it_is_a_configuration() -> None:
    subprocess.run([tool("amtool"), "check-config", str(CONFIG)], check=True, capture_output=True)
    # With no receiver of an alert for people named, nothing would be sent anywhere.
    assert {each["name"] for each in yaml.safe_load(CONFIG.read_text())["receivers"]} == {
        "pages", "tickets", "lang1-retraining"
    }  # fmt: skip


def test_every_alert_reaches_people_and_the_service_gets_what_it_can_mend() -> None:
    for severity, remedy in {(alert.severity, alert.remedy) for alert in alerts()}:
        labels = {"severity": severity} | ({"remedy": remedy} if remedy else {})
        assert receivers(**labels) == [*(["lang1-retraining"] if remedy else []), f"{severity}s"]


def test_where_the_client_secret_is_a_file_it_is_a_configuration_too(tmp_path: Path) -> None:
    config = alertmanager_config("https://lang1.example.org", "/run/token")
    block = "\n".join(line.removeprefix("#   ") for line in CONFIG.read_text().splitlines() if line.startswith("#   "))
    http = config["receivers"][2]["webhook_configs"][0]["http_config"]
    del http["authorization"]
    http |= yaml.safe_load(block)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    subprocess.run([tool("amtool"), "check-config", str(tmp_path / "a.yaml")], check=True, capture_output=True)


def test_a_quicker_pace_changes_times_and_nothing_else(tmp_path: Path) -> None:
    slow, quick = rule_groups(), quickened(rule_groups(), 3600)
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(quick))
    subprocess.run([tool("promtool"), "check", "rules", str(tmp_path / "quick.yaml")], check=True, capture_output=True)
    pairs = list(zip(slow["groups"][0]["rules"], quick["groups"][0]["rules"], strict=True))
    assert len(pairs) > 20
    for before, after in pairs:
        assert {**before, "for": 0, "expr": 0} == {**after, "for": 0, "expr": 0}
    by_name = {rule.get("alert"): rule for _, rule in pairs}
    assert "> 26)" in by_name["Lang1MonitorStale"]["expr"]
    assert by_name["Lang1MonitorStale"]["for"] == "167ms"
    assert "[5s]" in by_name["Lang1NotesFailing"]["expr"]
    assert by_name["Lang1Calibration"]["expr"] == next(
        rule["expr"] for rule, _ in pairs if rule.get("alert") == "Lang1Calibration"
    )
    assert quickened(slow, 1)["groups"][0]["rules"][0] == slow["groups"][0]["rules"][0] | {
        "expr": slow["groups"][0]["rules"][0]["expr"].replace("[5m]", "[300s]")
    }
