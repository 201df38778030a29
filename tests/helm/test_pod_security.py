"""Pods hold to the restricted pod security standard, by our own reading and by checkov's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.chart import CONNECTED, PROFILES, absent, merged, of_kind, pods, profile, ray_pods, rendered

SKIPPED = {
    "CKV_K8S_14": "tags are checked here: a tag is the chart's version, `latest` is refused",
    "CKV_K8S_43": "a digest is the operator's choice (image.digest)",
    "CKV_K8S_35": "the database URL is a variable, because the service reads it from one",
    "CKV_K8S_15": "a versioned tag does not change, and a laptop's cluster has no registry to ask",
    "CKV2_K8S_6": "checkov sees pods here, not the policies beside them; test_network.py does",
}
SCRATCH = {"tmp", "ray-logs", "spill", "state", "training"}
VALUES = {**{name: profile(name) for name in PROFILES}, "connected": merged(profile("values-ha"), CONNECTED)}


@pytest.mark.parametrize("name", VALUES)
def test_pods_are_restricted(name: str) -> None:
    for component, pod in pods(rendered(VALUES[name])).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, component
        assert spec["serviceAccountName"] == f"lang1-{component}"
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(forbidden)
        assert all(
            {"emptyDir", "persistentVolumeClaim", "configMap", "secret", "projected"} & set(each)
            for each in spec["volumes"]
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


def test_secret_files_are_read_by_the_workers_group_alone() -> None:
    found = pods(rendered(VALUES["connected"]))
    worker = found["worker"]["spec"]
    volumes = {each["name"]: each for each in worker["volumes"]}
    (container,) = worker["containers"]
    mounts = {each["mountPath"]: each for each in container["volumeMounts"] if each["mountPath"].startswith("/etc/")}
    assert set(mounts) == {
        "/etc/lang1/secrets/lang1-ehr",
        "/etc/lang1/secrets/lang1-sso",
        "/etc/lang1/config/lang1-keys",
        "/etc/lang1/config/lang1-codes",
        "/etc/lang1/database",
    }
    for mount in mounts.values():
        volume = volumes[mount["name"]]
        assert mount["readOnly"] is True
        assert "subPath" not in mount  # a file of a subPath never changes, and keys are rotated
        assert (volume.get("secret") or volume["configMap"])["defaultMode"] == 0o440
    assert worker["securityContext"]["fsGroup"] == worker["securityContext"]["runAsGroup"]
    sso = volumes[mounts["/etc/lang1/secrets/lang1-sso"]["name"]]["secret"]
    assert sso["items"] == [{"key": name, "path": name} for name in ("client-secret", "session-key")]
    for component in ("head", "migration"):
        for volume in found[component]["spec"]["volumes"]:
            assert "secret" not in volume, component


@pytest.mark.parametrize("name", PROFILES)
def test_ray_token_authentication_is_on(name: str) -> None:
    objects = rendered(profile(name))
    for each in [*of_kind(objects, "RayService"), *of_kind(objects, "RayJob")]:
        cluster = each["spec"].get("rayClusterConfig") or each["spec"]["rayClusterSpec"]
        assert cluster["authOptions"]["mode"] == "token"


def test_spilled_objects_never_reach_a_disk() -> None:
    for pod in ray_pods(rendered(profile("values-ha"))).values():
        (spill,) = [each for each in pod["spec"]["volumes"] if each["name"] == "spill"]
        assert spill["emptyDir"]["medium"] == "Memory"


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_checkov_finds_nothing(name: str, tmp_path: Path) -> None:
    checkov = shutil.which("checkov")
    if checkov is None:
        absent("checkov is not installed")
    objects = rendered(VALUES[name])
    seen = [each for each in objects if not each["apiVersion"].startswith(("ray.io", "monitoring"))]
    file = tmp_path / "objects.yaml"
    # A Job is among the objects; the pods inside custom kinds are what checkov would not see.
    file.write_text(yaml.safe_dump_all([*map(_namespaced, seen), *ray_pods(objects).values()]))
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
