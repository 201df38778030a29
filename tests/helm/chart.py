"""The chart as the real Helm engine renders it (PyPI: helm-python-sdk, no cluster), and its objects."""

from __future__ import annotations

import copy
import importlib
import json
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "lang1"
CRD_SCHEMAS = ROOT.parent / "shared" / "data" / "crd-schemas"
PROFILES = {path.stem: path for path in sorted(CHART.glob("values-*.yaml"))}
FILLED_IN: dict[str, dict[str, Any]] = {
    "values-cpu": {},
    "values-gpu": {
        "exposure": {"acknowledgeLoopbackOnly": True},
        "networkPolicy": {"kubernetesApi": {"cidrs": ["10.96.0.1/32"]}},
        "database": {"peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]},
    },
    "values-ha": {
        "exposure": {"acknowledgeLoopbackOnly": True},
        "networkPolicy": {"kubernetesApi": {"cidrs": ["10.96.0.1/32"]}},
        "database": {"peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]},
        "ray": {"redis": {"peers": [{"podSelector": {"matchLabels": {"app": "redis"}}}]}},
    },
    "values-train-h100": {"train": {"runName": "run-1"}},
}
"""What each profile's first lines tell the reader to fill in."""

EXPOSED: dict[str, Any] = {
    "exposure": {
        "enabled": True,
        "acknowledgeLoopbackOnly": False,
        "ingress": {"enabled": True, "className": "nginx", "host": "lang1.example.org", "tlsSecretName": "lang1-tls"},
        "clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
    },
    "settings": {"fhir_base_url": "https://ehr.example.org:8443/fhir", "max_text_chars": 1_000_000},
    "networkPolicy": {"prometheusNamespace": "monitoring", "fhirPeers": [{"ipBlock": {"cidr": "10.0.0.9/32"}}]},
    "monitoring": {"ray": {"enabled": True}, "service": {"enabled": True}, "labels": {"release": "prometheus"}},
    "upgrade": {"type": "NewClusterWithIncrementalUpgrade", "incremental": {"gatewayClassName": "istio"}},
}
"""Over the GPU profile: everything that waits for the service to authenticate its clients."""


def required(package: str) -> ModuleType:
    """The package; skips the calling test where it is absent, or fails it when LANG1_REQUIRE_ALL=1."""
    try:
        return importlib.import_module(package)
    except ImportError:
        absent(f"{package} is not installed")


def absent(reason: str) -> NoReturn:
    """Skip the calling test, or fail it when LANG1_REQUIRE_ALL=1."""
    if os.environ.get("LANG1_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Values files one over the other, as `helm -f A -f B` does."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, dict) and isinstance(result.get(key), dict):
                result[key] = merged(result[key], value)
            else:
                result[key] = copy.deepcopy(value)
    return result


def profile(name: str) -> dict[str, Any]:
    """A shipped profile with what it tells the reader to fill in."""
    return merged(yaml.safe_load(PROFILES[name].read_text()), FILLED_IN[name])


def rendered_text(values: dict[str, Any], *, chart: Path = CHART, name: str = "lang1") -> dict[str, str]:
    """Rendered text of each template, without NOTES.txt. Raises helm_python.HelmError for values that are refused."""
    return dict(_rendered(json.dumps(values), chart, name))


@cache
def _rendered(values: str, chart: Path, name: str) -> dict[str, str]:
    texts: dict[str, str] = _loaded(chart).render(json.loads(values), name=name, namespace="hospital")
    return {file: text for file, text in texts.items() if not file.endswith("NOTES.txt")}


@cache
def _loaded(chart: Path) -> Any:
    return required("helm_python").Chart.load(chart)


def rendered(values: dict[str, Any], *, chart: Path = CHART, name: str = "lang1") -> list[dict[str, Any]]:
    """The Kubernetes objects of a release."""
    texts = rendered_text(values, chart=chart, name=name).values()
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod templates inside Ray's kinds as Pods, by component."""
    found = {}
    for each in objects:
        if each["kind"] not in {"RayService", "RayJob"}:
            continue
        cluster = each["spec"].get("rayClusterConfig") or each["spec"]["rayClusterSpec"]
        for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]:
            template = group["template"]
            component = template["metadata"]["labels"]["app.kubernetes.io/component"]
            metadata = {**template["metadata"], "name": component, "namespace": "hospital"}
            found[component] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return found


def serve_config(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (service,) = of_kind(objects, "RayService")
    config: dict[str, Any] = yaml.safe_load(service["spec"]["serveConfigV2"])
    return config


def crd_schema(kind: str) -> dict[str, Any]:
    """The published schema of a custom kind; skips the calling test where the shared data folder is absent."""
    if not CRD_SCHEMAS.is_dir():
        pytest.skip("../shared/data is absent")
    schema: dict[str, Any] = json.loads((CRD_SCHEMAS / f"{kind.lower()}_v1.json").read_text())
    return schema
