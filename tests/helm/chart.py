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
ISSUER: dict[str, Any] = {
    "issuer": "https://login.example.org/realms/clinical",
    "audience": "https://lang1.example.org",
    "jwks_url": "https://login.example.org/realms/clinical/certs",
}
_CLIENTS: dict[str, Any] = {
    "exposure": {
        "ingress": {"host": "lang1.example.org"},
        "clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}],
    },
    "settings": {"auth_issuers": [ISSUER]},
    "networkPolicy": {
        "issuerPeers": [{"ipBlock": {"cidr": "10.0.0.7/32"}}],
        "kubernetesApi": {"cidrs": ["10.96.0.1/32"]},
    },
}
FILLED_IN: dict[str, dict[str, Any]] = {
    "values-cpu": {},
    "values-gpu": {
        **_CLIENTS,
        "database": {"peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]},
    },
    "values-ha": {
        **_CLIENTS,
        "database": {"peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]},
        "ray": {"redis": {"peers": [{"podSelector": {"matchLabels": {"app": "redis"}}}]}},
    },
    "values-train-h100": {"train": {"runName": "run-1"}},
}
"""What each profile's first lines tell the reader to fill in."""

CONNECTED: dict[str, Any] = {
    "exposure": {"ingress": {"className": "nginx"}},
    "settings": {
        "auth_sources": {"notes-feed": "ehr", "yes": "on"},
        "cds_clients": [
            {"issuer": "https://ehr.example.org/fhir", "jwks_file": "/etc/lang1/config/lang1-keys/ehr.jwks.json"}
        ],
        "oidc_issuer": "https://sso.example.org:9443/hospital",
        "oidc_client_id": "lang1",
        "oidc_client_secret_file": "/etc/lang1/secrets/lang1-sso/client-secret",
        "oidc_allowed_groups": ["bed managers"],
        "session_key_file": "/etc/lang1/secrets/lang1-sso/session-key",
        "auth_ca_file": "/etc/lang1/config/lang1-keys/ca.pem",
        "fhir_base_url": "https://ehr.example.org:8443/fhir",
        "ehr_client_id": "lang1",
        "ehr_key_file": "/etc/lang1/secrets/lang1-ehr/key.pem",
        "ehr_token_url": "https://ehr.example.org/oauth2/token",
        "ehr_bulk_hosts": ["https://files.example.org:8443", "https://files.example.org:8444"],
        "ehr_ca_file": "/etc/lang1/config/lang1-keys/ca.pem",
        "ehr_tls_cert_file": "/etc/lang1/secrets/lang1-ehr/tls.crt",
        "ehr_tls_key_file": "/etc/lang1/secrets/lang1-ehr/tls.key",
        "notifications": True,
        "notification_secret_file": "/etc/lang1/secrets/lang1-ehr/notification",
        "poll_every_s": 60,
        "poll_search": "category=clinical-note&status=current",
        "sink": "risk-assessment",
        "tasks_file": "/bundles/champion/tasks.yaml",
        "outcome_mapping_file": "/etc/lang1/config/lang1-codes/outcomes.yaml",
        "beds_units_file": "/etc/lang1/config/lang1-codes/units.yaml",
        "max_text_chars": 1_000_000,
    },
    "secretFiles": [
        {"secretName": "lang1-ehr"},
        {"secretName": "lang1-sso", "keys": ["client-secret", "session-key"]},
    ],
    "configFiles": [
        {"configMapName": "lang1-keys", "keys": ["ehr.jwks.json", "ca.pem"]},
        {"configMapName": "lang1-codes"},
    ],
    "database": {"ca": {"configMapName": "postgres-ca"}},
    "networkPolicy": {"prometheusNamespace": "monitoring", "fhirPeers": [{"ipBlock": {"cidr": "10.0.0.9/32"}}]},
    "monitoring": {
        "ray": {"enabled": True},
        "service": {
            "enabled": True,
            "oauth2": {"tokenUrl": "https://login.example.org/token", "secretName": "lang1-prometheus"},
        },
        "labels": {"release": "prometheus"},
    },
    "upgrade": {"type": "NewClusterWithIncrementalUpgrade", "incremental": {"gatewayClassName": "istio"}},
}
"""Over the GPU or the HA profile: every way in and out, with Prometheus and a Gateway."""


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
    texts = _rendered(json.dumps(values), chart, name)
    return {file: text for file, text in texts.items() if not file.endswith("NOTES.txt")}


def notes(values: dict[str, Any]) -> str:
    """What the operator reads after an install."""
    return _rendered(json.dumps(values), CHART, "lang1")["lang1/templates/NOTES.txt"]


@cache
def _rendered(values: str, chart: Path, name: str) -> dict[str, str]:
    texts: dict[str, str] = _loaded(chart).render(json.loads(values), name=name, namespace="hospital")
    return texts


@cache
def _loaded(chart: Path) -> Any:
    return required("helm_python").Chart.load(chart)


def rendered(values: dict[str, Any], *, chart: Path = CHART, name: str = "lang1") -> list[dict[str, Any]]:
    """The Kubernetes objects of a release."""
    texts = rendered_text(values, chart=chart, name=name).values()
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def refused(name: str, wrong: dict[str, Any], value: str, mend: str) -> None:
    """Hold that a profile renders, and with `wrong` over it is refused naming the value and the mend."""
    rendered(profile(f"values-{name}"))
    with pytest.raises(required("helm_python").HelmError) as refusal:
        rendered(merged(profile(f"values-{name}"), wrong))
    message = str(refusal.value)
    assert value in message, message
    assert mend in message, message


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in objects if each["kind"] == kind]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Pod templates of Ray's kinds and of Jobs as Pods, by component."""
    found = {}
    for each in objects:
        if each["kind"] in {"RayService", "RayJob"}:
            cluster = each["spec"].get("rayClusterConfig") or each["spec"]["rayClusterSpec"]
            groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
        else:
            groups = [each["spec"]] if each["kind"] == "Job" else []
        for group in groups:
            template = group["template"]
            component = template["metadata"]["labels"]["app.kubernetes.io/component"]
            metadata = {**template["metadata"], "name": component, "namespace": "hospital"}
            found[component] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return found


def ray_pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those of `pods` that start Ray."""
    return {name: pod for name, pod in pods(objects).items() if name != "migration"}


def serve_config(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (service,) = of_kind(objects, "RayService")
    config: dict[str, Any] = yaml.safe_load(service["spec"]["serveConfigV2"])
    return config


def arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the application's builder: settings."""
    args: dict[str, Any] = serve_config(rendered(values))["applications"][0]["args"]
    return args


def crd_schema(kind: str) -> dict[str, Any]:
    """The published schema of a custom kind; skips the calling test where the shared data folder is absent."""
    if not CRD_SCHEMAS.is_dir():
        pytest.skip("../shared/data is absent")
    schema: dict[str, Any] = json.loads((CRD_SCHEMAS / f"{kind.lower()}_v1.json").read_text())
    return schema
