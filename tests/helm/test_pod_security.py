"""Pods hold to the restricted pod security standard, by our own reading and by checkov's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import PROFILES, absent, of_kind, pods, profile, rendered

SKIPPED = {
    "CKV_K8S_14": "tags are checked here: a tag is the chart's version, `latest` is refused",
    "CKV_K8S_43": "a digest is the operator's choice (image.digest)",
    "CKV_K8S_35": "the database URL is a variable, because the service reads it from one",
    "CKV_K8S_15": "a versioned tag does not change, and a laptop's cluster has no registry to ask",
    "CKV2_K8S_6": "checkov sees pods here, not the policies beside them; test_network.py does",
}
SCRATCH = {"tmp", "ray-logs", "spill", "state", "training"}


@pytest.mark.parametrize("name", PROFILES)
def test_pods_are_restricted(name: str) -> None:
    for component, pod in pods(rendered(profile(name))).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, component
        assert spec["serviceAccountName"] == f"lang1-{component}"
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(forbidden)
        assert all(
            {"emptyDir", "persistentVolumeClaim", "configMap", "projected"} & set(each) for each in spec["volumes"]
        )
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] >= 10_000
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]
            writable = {each["name"] for each in container["volumeMounts"] if not each.get("readOnly")}
            assert writable <= SCRATCH


def test_only_the_autoscaler_has_a_token() -> None:
    (service,) = of_kind(rendered(profile("values-ha")), "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    (mount,) = [each for each in cluster["autoscalerOptions"]["volumeMounts"] if each["mountPath"] == token]
    assert mount["readOnly"] is True
    context = cluster["autoscalerOptions"]["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    for pod in pods(rendered(profile("values-ha"))).values():
        for container in pod["spec"]["containers"]:
            assert mount["name"] not in {each["name"] for each in container["volumeMounts"]}
    assert not of_kind(rendered(profile("values-ha")), "Role")


@pytest.mark.parametrize("name", PROFILES)
def test_ray_token_authentication_is_on(name: str) -> None:
    objects = rendered(profile(name))
    for each in [*of_kind(objects, "RayService"), *of_kind(objects, "RayJob")]:
        cluster = each["spec"].get("rayClusterConfig") or each["spec"]["rayClusterSpec"]
        assert cluster["authOptions"]["mode"] == "token"


def test_spilled_objects_never_reach_a_disk() -> None:
    for pod in pods(rendered(profile("values-ha"))).values():
        (spill,) = [each for each in pod["spec"]["volumes"] if each["name"] == "spill"]
        assert spill["emptyDir"]["medium"] == "Memory"


@pytest.mark.slow
@pytest.mark.parametrize("name", PROFILES)
def test_checkov_finds_nothing(name: str, tmp_path: Path) -> None:
    checkov = shutil.which("checkov")
    if checkov is None:
        absent("checkov is not installed")
    objects = rendered(profile(name))
    seen = [each for each in objects if not each["apiVersion"].startswith(("ray.io", "monitoring"))]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all([*map(_namespaced, seen), *pods(objects).values()]))
    command = [checkov, "--framework", "kubernetes", "--compact", "--quiet", "--output", "json", "--file", str(file)]
    finished = subprocess.run(
        [*command, "--skip-check", ",".join(SKIPPED)], capture_output=True, text=True, timeout=300, check=False
    )
    report = json.loads(finished.stdout)
    report = report[0] if isinstance(report, list) else report
    failed = [f"{each['check_id']} {each['resource']}" for each in report["results"]["failed_checks"]]
    assert report["summary"]["passed"] > 20
    assert failed == []


def _namespaced(resource: dict[str, Any]) -> dict[str, Any]:
    # As `helm install -n hospital` sends it; a manifest without one would count as the default namespace's.
    return {**resource, "metadata": {**resource["metadata"], "namespace": "hospital"}}
