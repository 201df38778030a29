"""What the chart hands to the service is what the code takes, and it goes around none of its checks."""

from __future__ import annotations

import http.server
import json
import math
import os
import re
import subprocess
import threading
from collections.abc import Iterator
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
from serve.auth.access import ROUTES
from serve.errors import SettingsError
from serve.ray_environment import DEFAULTS, REQUIRED
from serve.settings import Settings, load_settings
from tests.helm.chart import (
    CHART,
    CONNECTED,
    PROFILES,
    ROOT,
    arguments,
    merged,
    of_kind,
    pods,
    profile,
    ray_pods,
    rendered,
    required,
    serve_config,
)

SCORING = [name for name in PROFILES if "train" not in name]


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
    exposed = profile(name)["exposure"].get("enabled", False)
    assert config["http_options"]["host"] == args["host"] == ("0.0.0.0" if exposed else "127.0.0.1")  # noqa: S104
    assert config["http_options"]["port"] == args["port"] == Settings.model_fields["port"].default


def test_the_room_is_for_every_process_that_the_application_reserves(mapping: dict[str, str]) -> None:
    """The chart's sum against the deployments that the builder makes."""
    for layer in ({}, CONNECTED, {"replicas": {"monitor": 0}}):
        values = merged(profile("values-ha"), layer, {"scorer": {"cpus": 4, "autoscaling": {"enabled": False}}})
        config = arguments(values) | mapping
        reserved = reserved_cpus(build_app(AppArgs.model_validate(config)))
        pods_needed = math.ceil(reserved / 4)
        fits = merged(values, {"workers": {"cpu": 4, "minReplicas": 2, "maxReplicas": pods_needed}})
        assert pods_needed == 3
        rendered(fits)
        with pytest.raises(required("helm_python").HelmError, match=f"reserve {reserved:g} CPUs"):
            rendered(merged(fits, {"workers": {"maxReplicas": pods_needed - 1}}))


def reserved_cpus(application: Any) -> float:
    """CPU shares of an application's deployments, the bound ones too."""
    seen: dict[str, float] = {}
    waiting = [application]
    while waiting:
        bound = waiting.pop()._bound_deployment
        options = bound.ray_actor_options
        seen[bound.name] = options["num_cpus"] * (bound.num_replicas or 1)
        for each in (*bound.init_args, *bound.init_kwargs.values()):
            waiting += [one for one in (each if isinstance(each, list) else [each]) if isinstance(one, Application)]
    return round(sum(seen.values()), 6)


def test_libpq_reads_the_authority_from_the_variable_that_the_chart_sets() -> None:
    found = pods(rendered(merged(profile("values-ha"), CONNECTED)))
    for component in ("worker", "migration"):
        (container,) = found[component]["spec"]["containers"]
        (variable,) = [each for each in container["env"] if each["name"].startswith("PGSSL")]
        (option,) = [
            each for each in required("psycopg").pq.Conninfo.get_defaults() if each.envvar == variable["name"].encode()
        ]
        assert option.keyword == b"sslrootcert"
        assert variable["value"] == "/etc/lang1/database/ca.crt"


def test_every_setting_is_given_or_can_be() -> None:
    from helm.generate import CHART_SETTINGS, settings_schema

    assert set(CHART_SETTINGS) | set(settings_schema()["properties"]) == set(Settings.model_fields)
    values = merged(profile("values-gpu"), {"settings": {"max_body_bytes": 16_777_216, "max_text_chars": 1_000_000}})
    args = serve_config(rendered(values))["applications"][0]["args"]
    settings = AppArgs.model_validate(args).settings()
    assert (settings.max_body_bytes, settings.max_text_chars) == (16_777_216, 1_000_000)
    given = set(args) - set(values["settings"])
    assert given == set(CHART_SETTINGS) - {"database_url"} | {"public_base_url"}


def test_the_database_url_comes_from_the_secret_alone() -> None:
    for component, pod in pods(rendered(profile("values-ha"))).items():
        (container,) = pod["spec"]["containers"]
        (variable,) = [each for each in container["env"] if each["name"] == "LANG1_DATABASE_URL"]
        assert variable["valueFrom"] == {"secretKeyRef": {"name": "lang1-database", "key": "url"}}, component


def test_the_migration_may_have_a_role_of_its_own() -> None:
    values = merged(profile("values-ha"), {"migration": {"secretName": "lang1-owner", "secretKey": "uri"}})
    names = {
        component: variable["valueFrom"]["secretKeyRef"]
        for component, pod in pods(rendered(values)).items()
        for variable in pod["spec"]["containers"][0]["env"]
        if variable["name"] == "LANG1_DATABASE_URL"
    }
    assert names.pop("migration") == {"name": "lang1-owner", "key": "uri"}
    assert list(names.values()) == [{"name": "lang1-database", "key": "url"}] * 2


@pytest.mark.parametrize("name", PROFILES)
def test_ray_is_started_with_what_the_service_needs(name: str) -> None:
    for component, pod in ray_pods(rendered(profile(name))).items():
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


def test_the_run_is_a_command_that_is_there() -> None:
    (job,) = of_kind(rendered(profile("values-train-h100")), "RayJob")
    assert parsed(job["spec"]["entrypoint"].split()) == {
        "recipe": "/recipe/recipe.yaml",
        "data": "/training/dataset",
        "work": "/training/work/run-1",
        "out": "/training/bundles/run-1",
    }


def test_the_migration_is_a_command_that_is_there() -> None:
    (job,) = of_kind(rendered(profile("values-ha")), "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert parsed(container["command"]) == {}


def parsed(words: list[str]) -> dict[str, str]:
    """Options of a call of `lang1`, which must be a command of its command line."""
    import typer

    from lang1.cli.main import app

    assert words[0] == "lang1"
    rest = words[1:]
    command: Any = typer.main.get_command(app)
    context = command.make_context("lang1", [], resilient_parsing=True)
    while hasattr(command, "get_command"):
        name = rest.pop(0)
        command = command.get_command(context, name)
        assert command is not None, name
    options = command.make_context("command", rest).params
    return {name: str(value) for name, value in options.items() if value is not None}


def test_the_ingress_lets_clients_routes_out_and_keeps_the_platforms_in() -> None:
    (ingress,) = of_kind(rendered(profile("values-gpu")), "Ingress")
    open_paths = {each["path"] for each in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert all(each["pathType"] == "Prefix" for each in ingress["spec"]["rules"][0]["http"]["paths"])
    inside = {path for _, path in ROUTES if not any(path == each or path.startswith(f"{each}/") for each in open_paths)}
    assert inside == {"/metrics", "/livez", "/readyz", "/openapi.json"}
    assert all(any(path.startswith(each) for _, path in ROUTES) for each in open_paths)


def test_prometheus_asks_with_the_scope_that_the_service_wants() -> None:
    (monitor,) = of_kind(rendered(merged(profile("values-gpu"), CONNECTED)), "PodMonitor")
    (endpoint,) = [each for each in monitor["spec"]["podMetricsEndpoints"] if each["port"] == "serve"]
    assert tuple(endpoint["oauth2"]["scopes"]) == ROUTES["GET", "/metrics"].scopes
    open_to_all = {"settings": {"metrics_access": "open"}, "monitoring": {"service": {"oauth2": {"tokenUrl": ""}}}}
    (monitor,) = of_kind(rendered(merged(profile("values-gpu"), CONNECTED, open_to_all)), "PodMonitor")
    assert all("oauth2" not in each for each in monitor["spec"]["podMetricsEndpoints"])


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


def test_the_rules_are_the_generated_ones_in_the_releases_namespace() -> None:
    objects = rendered(merged(profile("values-gpu"), CONNECTED))
    (rule,) = of_kind(objects, "PrometheusRule")
    namespace = rule["spec"]["groups"][0]["rules"][0]["labels"]["namespace"]
    assert rule["spec"] == rule_groups({"namespace": namespace})


def test_the_dashboards_are_the_generated_ones() -> None:
    values = merged(merged(profile("values-gpu"), CONNECTED), {"monitoring": {"dashboards": {"enabled": True}}})
    (found,) = of_kind(rendered(values), "ConfigMap")
    assert {json.loads(text)["uid"] for text in found["data"].values()} == {board.uid for board in boards(BUILT_IN)}
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
