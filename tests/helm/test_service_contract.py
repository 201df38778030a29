"""What the chart hands to the service is what the code takes, and it goes around none of its checks."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from lang1.tasks import BUILT_IN
from monitoring.boards import boards
from monitoring.rules import rule_groups
from serve.app import AppArgs, build_app
from serve.app_names import APPLICATION, SCORER
from serve.errors import SettingsError
from serve.ray_environment import DEFAULTS, REQUIRED
from serve.settings import Settings, load_settings
from tests.helm.chart import CHART, EXPOSED, PROFILES, ROOT, merged, of_kind, pods, profile, rendered, serve_config

SCORING = [name for name in PROFILES if "train" not in name]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this machine, and none that building an application leaves behind."""
    for name in [*REQUIRED, *DEFAULTS, *(each for each in os.environ if each.startswith("LANG1_"))]:
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    monkeypatch.setenv("LANG1_DATABASE_URL", "postgresql+psycopg://database/lang1")


@pytest.mark.parametrize("name", SCORING)
def test_the_application_builder_takes_the_arguments(name: str) -> None:
    """As Ray Serve calls it, but for starting anything."""
    config = ServeDeploySchema.model_validate(serve_config(rendered(profile(name))))
    (application,) = config.applications
    assert (application.name, application.import_path) == (APPLICATION, "serve.app:build_app")
    assert {each.name for each in application.deployments} <= {SCORER}
    assert isinstance(build_app(AppArgs.model_validate(application.args)), Application)


@pytest.mark.parametrize("name", SCORING)
def test_ray_serve_listens_where_the_service_was_asked(name: str) -> None:
    """The service judges its own `host`; Ray Serve listens on http_options' host, and on every address without one."""
    config = serve_config(rendered(profile(name)))
    args = config["applications"][0]["args"]
    assert config["http_options"]["host"] == args["host"] == "127.0.0.1"
    assert config["http_options"]["port"] == args["port"] == Settings.model_fields["port"].default


def test_the_chart_exposes_the_service_only_when_the_service_lets_it(authenticating_chart: Path) -> None:
    """This fails on the day the service can authenticate its clients: then change the annotation in Chart.yaml."""
    config = serve_config(rendered(merged(profile("values-gpu"), EXPOSED), chart=authenticating_chart))
    args = config["applications"][0]["args"]
    assert config["http_options"]["host"] == args["host"] == "0.0.0.0"  # noqa: S104
    try:
        AppArgs.model_validate(args).settings()
        accepted = True
    except SettingsError as error:
        assert "no authentication" in str(error)
        accepted = False
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    assert annotations["lang1/service-authentication"] == str(accepted).lower()


def test_every_setting_is_given_or_can_be() -> None:
    from helm.generate import CHART_SETTINGS, settings_schema

    assert set(CHART_SETTINGS) | set(settings_schema()["properties"]) == set(Settings.model_fields)
    values = merged(profile("values-gpu"), {"settings": {"max_body_bytes": 16_777_216, "max_text_chars": 1_000_000}})
    args = serve_config(rendered(values))["applications"][0]["args"]
    settings = AppArgs.model_validate(args).settings()
    assert (settings.max_body_bytes, settings.max_text_chars) == (16_777_216, 1_000_000)
    given = set(args) - set(values["settings"])
    # public_base_url goes with an Ingress.
    assert given == set(CHART_SETTINGS) - {"database_url"}


def test_the_database_url_comes_from_the_secret_alone() -> None:
    for component, pod in pods(rendered(profile("values-ha"))).items():
        (container,) = pod["spec"]["containers"]
        (variable,) = [each for each in container["env"] if each["name"] == "LANG1_DATABASE_URL"]
        assert variable["valueFrom"] == {"secretKeyRef": {"name": "lang1-database", "key": "url"}}, component


@pytest.mark.parametrize("name", PROFILES)
def test_ray_is_started_with_what_the_service_needs(name: str) -> None:
    for component, pod in pods(rendered(profile(name))).items():
        (container,) = pod["spec"]["containers"]
        variables = {each["name"]: each.get("value") for each in container["env"]}
        assert (REQUIRED | DEFAULTS).items() <= variables.items(), component
        assert not set(variables) & {"RAY_SERVE_ENABLE_HA_PROXY"}  # it would listen on every address


def test_services_of_the_namespace_add_no_settings() -> None:
    """Kubernetes names its variables after Services: LANG1_SERVE_SVC_PORT would be an unknown setting."""
    for name in PROFILES:
        for pod in pods(rendered(profile(name))).values():
            assert pod["spec"]["enableServiceLinks"] is False
    os.environ["LANG1_SERVE_SVC_PORT"] = "tcp://10.0.0.1:8000"
    try:
        with pytest.raises(SettingsError, match="LANG1_SERVE_SVC_PORT"):
            load_settings()
    finally:
        del os.environ["LANG1_SERVE_SVC_PORT"]


def test_the_ray_version_is_the_pinned_one() -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert yaml.safe_load((CHART / "values.yaml").read_text())["ray"]["version"] == pinned


def test_the_chart_is_of_this_version_of_the_service() -> None:
    from lang1 import __version__

    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_the_job_runs_a_command_that_is_there() -> None:
    import typer

    from lang1.cli.main import app

    (job,) = of_kind(rendered(profile("values-train-h100")), "RayJob")
    words = job["spec"]["entrypoint"].split()
    assert words.pop(0) == "lang1"
    command: Any = typer.main.get_command(app)
    context = command.make_context("lang1", [], resilient_parsing=True)
    while hasattr(command, "get_command"):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    parsed = command.make_context("finetune", words).params
    assert {name: str(value) for name, value in parsed.items() if value is not None} == {
        "recipe": "/recipe/recipe.yaml",
        "data": "/training/dataset",
        "work": "/training/work/run-1",
        "out": "/training/bundles/run-1",
    }


def test_the_ingress_lets_clients_routes_out_and_keeps_the_platforms_in(authenticating_chart: Path) -> None:
    (ingress,) = of_kind(rendered(merged(profile("values-gpu"), EXPOSED), chart=authenticating_chart), "Ingress")
    open_paths = {each["path"] for each in ingress["spec"]["rules"][0]["http"]["paths"]}
    sources = "".join(path.read_text() for path in (ROOT / "serve" / "routes").glob("*.py"))
    prefixes = set(re.findall(r'APIRouter\([^)]*prefix="(/[^"]+)"', sources))
    assert len(prefixes) >= 2
    assert prefixes <= open_paths
    assert not open_paths & {"/", "/metrics", "/livez", "/readyz"}


class _Answers(http.server.BaseHTTPRequestHandler):
    ready = True

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" or (self.path == "/readyz" and self.ready) else 503)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_probes_ask_livez_and_readyz(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = pods(rendered(profile("values-cpu")))["worker"]["spec"]["containers"]

    def passes(probe: str) -> bool:
        command = [part.replace("/8000", f"/{port}") for part in container[probe]["exec"]["command"]]
        return subprocess.run(command, timeout=10, check=False, capture_output=True).returncode == 0

    assert "/readyz" in container["startupProbe"]["exec"]["command"][2]
    assert "/livez" in container["readinessProbe"]["exec"]["command"][2]
    assert passes("startupProbe")
    assert passes("readinessProbe")
    monkeypatch.setattr(_Answers, "ready", False)
    assert not passes("startupProbe")
    assert passes("readinessProbe")
    port = 1
    assert not passes("readinessProbe")


def test_the_rules_are_the_generated_ones_in_the_releases_namespace(authenticating_chart: Path) -> None:
    objects = rendered(merged(profile("values-gpu"), EXPOSED), chart=authenticating_chart)
    (rule,) = of_kind(objects, "PrometheusRule")
    namespace = rule["spec"]["groups"][0]["rules"][0]["labels"]["namespace"]
    assert rule["spec"] == rule_groups({"namespace": namespace})


def test_the_dashboards_are_the_generated_ones(authenticating_chart: Path) -> None:
    values = merged(merged(profile("values-gpu"), EXPOSED), {"monitoring": {"dashboards": {"enabled": True}}})
    (found,) = of_kind(rendered(values, chart=authenticating_chart), "ConfigMap")
    assert {json.loads(text)["uid"] for text in found["data"].values()} == {board.uid for board in boards(BUILT_IN)}
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
