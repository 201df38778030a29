"""Every profile renders objects that Kubernetes, KubeRay and the Prometheus operator take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import (
    CHART,
    CONNECTED,
    FILLED_IN,
    PROFILES,
    crd_schema,
    merged,
    of_kind,
    pods,
    profile,
    rendered,
    rendered_text,
    required,
)

KUBERNETES = ("1.30", "1.37")
CUSTOM = {"RayService", "RayJob", "PodMonitor", "PrometheusRule"}


def check(objects: list[dict[str, Any]]) -> None:
    validate = required("kubernetes_validate").validate
    for each in [*objects, *pods(objects).values()]:
        if each["kind"] not in CUSTOM:
            for version in KUBERNETES:
                validate(each, version, strict=True)
    jsonschema = required("jsonschema")
    for each in objects:
        if each["kind"] in CUSTOM:
            # Not `validate`: the published schemas hold patterns of Go, which are no regular expressions of Python.
            jsonschema.Draft202012Validator(crd_schema(each["kind"])).validate(each)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_renders_valid_objects(name: str) -> None:
    objects = rendered(profile(name))
    kinds = {each["kind"] for each in objects}
    assert ({"RayJob"} if "train" in name else {"RayService"}) <= kinds
    assert ({"Ingress", "Job"} <= kinds) == (name in {"values-gpu", "values-ha"})
    assert {"NetworkPolicy", "ServiceAccount"} <= kinds
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names)
    check(objects)


def test_the_ha_profile_takes_the_gpu_profile_over_it() -> None:
    values = merged(profile("values-ha"), profile("values-gpu"), {"replicas": {"scorer": 2, "store": 2}})
    values = merged(values, {"scorer": {"autoscaling": {"minReplicas": 2}}, "workers": {"minReplicas": 2}})
    objects = rendered(values)
    check(objects)
    assert pods(objects)["worker"]["spec"]["runtimeClassName"] == "nvidia"


@pytest.mark.parametrize("name", ["values-gpu", "values-ha"])
def test_every_way_in_and_out_is_valid_too(name: str) -> None:
    objects = rendered(merged(profile(name), CONNECTED))
    assert {"Ingress", "PodMonitor", "PrometheusRule"} <= {each["kind"] for each in objects}
    check(objects)
    (ingress,) = of_kind(objects, "Ingress")
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["lang1.example.org"], "secretName": "lang1-tls"}]


@pytest.mark.parametrize("name", PROFILES)
def test_helm_lint_finds_nothing(name: str) -> None:
    report = required("helm_python").lint(CHART, profile(name), strict=True, kube_version="v1.30.0")
    assert not report["errors"]
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_alone_says_what_is_to_be_filled_in(name: str) -> None:
    head = PROFILES[name].read_text().split("\n\n")[0]
    paths = [path for path, _ in leaves(FILLED_IN[name])]
    for path in paths:
        assert path in head
    if paths:
        with pytest.raises(required("helm_python").HelmError, match=re.escape(paths[0])):
            rendered(yaml.safe_load(PROFILES[name].read_text()))


def leaves(values: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        path = f"{above}.{key}" if above else key
        found += leaves(value, path) if isinstance(value, dict) else [(path, value)]
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_no_secret_no_password_and_no_latest(name: str) -> None:
    objects = rendered(profile(name))
    assert not of_kind(objects, "Secret")
    assert not of_kind(objects, "ConfigMap")
    for component, pod in pods(objects).items():
        for container in pod["spec"]["containers"]:
            assert not container["image"].endswith(":latest"), component
            for variable in container["env"]:
                word = re.search("password|token|secret|database_url", variable["name"], re.IGNORECASE)
                assert not (word and "value" in variable), variable["name"]
    text = json.dumps(objects)
    assert not re.search(r"postgresql(\+\w+)?://|://[^/\"]*:[^/\"]*@", text)


def test_a_long_release_name_stays_within_what_kuberay_takes() -> None:
    values = merged(profile("values-cpu"), {"train": {"enabled": True, "runName": "a" * 25, "existingClaim": "c"}})
    for each in rendered(values, name="a-release-with-a-name-as-long-as-helm-takes-it-53"):
        if each["kind"] in {"RayService", "RayJob"}:
            assert len(each["metadata"]["name"]) <= 47  # KubeRay: 53 less a suffix of 6


def test_a_chart_upgrade_alone_does_not_touch_the_pods(tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "lang1"
    shutil.copytree(CHART, copy)
    file = copy / "Chart.yaml"
    file.write_text(file.read_text().replace("\nversion: 0.1.0", "\nversion: 0.1.1"))
    values = profile("values-ha")
    before, after = (of_kind(rendered(values, chart=chart), "RayService")[0]["spec"] for chart in (CHART, copy))
    assert before == after


def test_every_template_is_used() -> None:
    everything = merged(profile("values-cpu"), FILLED_IN["values-train-h100"], {"train": {"existingClaim": "c"}})
    texts = rendered_text(merged(everything, {"train": {"enabled": True}}))
    empty = {Path(file).name for file, text in texts.items() if not text.strip()}
    assert empty == {
        "ingress.yaml",
        "migration.yaml",
        "monitoring.yaml",
        "poddisruptionbudget.yaml",
    }  # each in a test above or elsewhere
