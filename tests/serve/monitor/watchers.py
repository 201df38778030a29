"""A real Prometheus and a real Alertmanager on free loopback ports, ended by their process ids."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ehr.server import wait_for
from tests.serve.service import free_port

SCOPE = {"namespace": "test"}


def require(name: str) -> str:
    """The program's path; skips the calling test where it is absent, or fails it when LANG1_REQUIRE_ALL is set."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("LANG1_REQUIRE_ALL"):
            pytest.fail(f"no {name}; install it")
        pytest.skip(f"no {name}; install it")
    return found


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=30)

    def query(self, expression: str) -> list[Any]:
        answer = self._client.get("/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        result: list[Any] = answer.json()["data"]["result"]
        return result

    def found(self, expression: str) -> bool:
        with suppress(httpx.TransportError, AssertionError):
            return bool(self.query(expression))
        return False

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, as it was last evaluated."""
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        found = self._client.get("/alerts").json()["data"]["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}


@contextmanager
def running_prometheus(
    folder: Path, rules: Mapping[str, Any], service_port: int, alertmanager_port: int | None = None
) -> Iterator[Prometheus]:
    """Scrapes the service and evaluates the rules each second."""
    binary = require("prometheus")
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
    target = {"targets": [f"127.0.0.1:{service_port}"], "labels": SCOPE}
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "lang1", "static_configs": [target]}],
    }
    if alertmanager_port is not None:
        managers = [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]
        config["alerting"] = {"alertmanagers": [{"static_configs": managers}]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        binary, "--config.file=prometheus.yaml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data",
        # Repeated alerts are sent each minute by default.
        "--rules.alert.resend-delay=1s",
    ]  # fmt: skip
    with _running(command, folder):
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        wait_for(lambda: prometheus.found('lang1_model_info{namespace="test"}'), 60)
        yield prometheus


@contextmanager
def running_alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[int]:
    """Its port."""
    binary = require("prometheus-alertmanager")
    folder.mkdir()
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(dict(config)))
    port = free_port()
    command = [
        binary, "--config.file=alertmanager.yaml", "--storage.path=data", "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with _running(command, folder):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            def ready() -> bool:
                with suppress(httpx.TransportError):
                    return client.get("/-/ready").status_code == 200
                return False

            wait_for(ready, 60)
        yield port
