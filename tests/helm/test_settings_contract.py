"""The service's settings as the chart hands them over: whole, and refused by both sides for the same reasons."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from serve.app import AppArgs
from serve.errors import SettingsError
from serve.http.guard import Exposure
from serve.settings import Settings, load_settings
from tests.helm.chart import (
    CHART,
    CONNECTED,
    ISSUER,
    PROFILES,
    arguments,
    merged,
    of_kind,
    pods,
    profile,
    rendered,
    required,
)

AUTHENTICATION: dict[str, dict[str, Any]] = {
    "auth_issuers": {"auth_issuers": [ISSUER]},
    "cds_clients": {"cds_clients": [{"issuer": "https://ehr.example.org", "jwks_url": "https://ehr.example.org/keys"}]},
    "oidc_issuer": {
        name: CONNECTED["settings"][name]
        for name in ("oidc_issuer", "oidc_client_id", "oidc_allowed_groups", "session_key_file")
    },
}


@pytest.mark.parametrize("means", AUTHENTICATION)
def test_the_chart_exposes_the_service_when_the_service_lets_it_and_no_sooner(means: str) -> None:
    """Exposed without what proves callers: the chart refuses, and the service would too."""
    without = profile("values-gpu")
    args = arguments(without)
    del without["settings"]["auth_issuers"], args["auth_issuers"]
    assert args["host"] == "0.0.0.0"  # noqa: S104
    with pytest.raises(SettingsError, match="no authentication"):
        AppArgs.model_validate(args).settings()
    with pytest.raises(required("helm_python").HelmError, match=r"exposure\.enabled"):
        rendered(without)
    files = {"secretFiles": CONNECTED["secretFiles"]}
    settings = taken(merged(without, files, {"settings": AUTHENTICATION[means]}))
    assert settings.authenticates
    assert settings.resolved_public_base_url == "https://lang1.example.org/fhir"
    assert settings.public_root == "https://lang1.example.org"


def test_a_public_url_is_the_ingresss_unless_one_is_given() -> None:
    behind = {"settings": {"public_base_url": "https://api.example.org/lang1/fhir"}}
    assert arguments(merged(profile("values-ha"), behind))["public_base_url"] == behind["settings"]["public_base_url"]
    mesh = merged(profile("values-ha"), behind, {"exposure": {"ingress": {"enabled": False}}})
    assert arguments(mesh)["public_base_url"] == behind["settings"]["public_base_url"]
    assert not of_kind(rendered(mesh), "Ingress")


def test_an_exposed_service_takes_the_hosts_that_proxies_send() -> None:
    """The guard holds Host and address to loopback only while nobody is authenticated."""
    assert Exposure.of(taken(profile("values-ha"))).authenticates
    assert not Exposure.of(taken(profile("values-cpu"))).authenticates


def test_lists_and_objects_reach_the_settings_unharmed(mapping: dict[str, str]) -> None:
    given = CONNECTED["settings"] | mapping
    settings = load_settings(**arguments(merged(profile("values-ha"), CONNECTED)) | mapping)
    assert settings == load_settings(**arguments(profile("values-ha")) | given)
    assert settings.auth_sources == given["auth_sources"]
    assert settings.auth_issuers[0].audience == (ISSUER["audience"],)
    assert settings.auth_issuers[0].jwks_url == ISSUER["jwks_url"]
    assert settings.poll_parameters == (("category", "clinical-note"), ("status", "current"))
    assert str(settings.cds_clients[0].jwks_file) == given["cds_clients"][0]["jwks_file"]
    assert settings.oidc_allowed_groups == ("bed managers",)


def test_a_file_that_is_read_where_the_application_is_built_is_on_the_head_too() -> None:
    """Ray Serve builds on any node; a file that is missing there would stop the deployment."""
    needed = {name: CONNECTED["settings"][name] for name in NEEDED_BY_FILES}
    read_at_once = set()
    for name in FILES:
        try:
            load_settings(**needed | {name: "/etc/lang1/config/m/k"})
        except SettingsError as error:
            assert name in str(error)
            read_at_once.add(name)
    assert read_at_once == {"outcome_mapping_file"}
    values = merged(profile("values-gpu"), {"settings": {"outcome_mapping_file": "/bundles/champion/outcomes.yaml"}})
    with pytest.raises(required("helm_python").HelmError, match="is not on the head"):
        rendered(values)
    (container,) = pods(rendered(merged(profile("values-gpu"), CONNECTED)))["head"]["spec"]["containers"]
    assert "/etc/lang1/config/lang1-codes" in {each["mountPath"] for each in container["volumeMounts"]}


def test_the_readmes_example_is_all_that_the_ha_profile_needs() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    values = merged(yaml.safe_load(PROFILES["values-ha"].read_text()), yaml.safe_load(example))
    settings = taken(values)
    assert settings.has_intake
    assert settings.sink == "risk-assessment"
    assert settings.public_root == "https://lang1.hospital.example"


def test_only_the_monitor_is_turned_off_by_a_null() -> None:
    """Helm drops a null of a values file in some versions, so what needs one has a value of its own."""
    by_null = {
        name
        for name, field in Settings.model_fields.items()
        if type(None) in getattr(field.annotation, "__args__", ()) and field.default is not None
    }
    assert by_null == {"monitor_every_s"}
    assert taken(profile("values-cpu")).monitor_every_s is not None
    assert taken(merged(profile("values-cpu"), {"replicas": {"monitor": 0}})).monitor_every_s is None


def test_what_the_chart_calls_incomplete_the_service_refuses() -> None:
    for name, given in INCOMPLETE.items():
        with pytest.raises((SettingsError, RuntimeError), match=name):
            load_settings(**given)
        with pytest.raises(required("helm_python").HelmError, match=f"settings.{name}"):
            rendered(merged(profile("values-cpu"), {"settings": given, "secretFiles": CONNECTED["secretFiles"]}))


INCOMPLETE: dict[str, dict[str, Any]] = {
    "ehr_client_id": {"ehr_client_id": "lang1", "ehr_key_file": "/etc/lang1/secrets/lang1-ehr/key.pem"},
    "ehr_key_file": {"ehr_key_file": "/etc/lang1/secrets/lang1-ehr/key.pem"},
    "ehr_tls_key_file": {"ehr_tls_key_file": "/etc/lang1/secrets/lang1-ehr/tls.key"},
    "oidc_issuer": {"oidc_issuer": "https://sso.example.org"},
    "sink": {"sink": "observation"},
}
"""notifications and poll_every_s without fhir_base_url end the intake's process, not the settings."""


FILES = [name for name in Settings.model_fields if name.endswith("_file")]
NEEDED_BY_FILES = ("fhir_base_url", "ehr_client_id", "ehr_key_file", "ehr_tls_cert_file")


@pytest.mark.parametrize("name", FILES)
def test_a_secret_file_is_what_the_settings_call_a_secret(name: str) -> None:
    """By a ConfigMap the chart mounts no file that holds a secret."""
    description = Settings.model_fields[name].description or ""
    is_secret = re.search(r"\bsecret\b|key of session", description, re.IGNORECASE) is not None
    if name in {"ehr_key_file", "ehr_ca_file"}:
        assert is_secret == (name == "ehr_key_file")
    values = merged(
        profile("values-cpu"),
        {
            "settings": {each: CONNECTED["settings"][each] for each in NEEDED_BY_FILES},
            "secretFiles": CONNECTED["secretFiles"],
            "networkPolicy": CONNECTED["networkPolicy"],
        },
        {"settings": {name: "/etc/lang1/config/m/k"}, "configFiles": [{"configMapName": "m"}]},
    )
    if is_secret:
        with pytest.raises(required("helm_python").HelmError, match=f"settings.{name} is a secret"):
            rendered(values)
    else:
        rendered(values)


def taken(values: dict[str, Any]) -> Settings:
    """The service's settings of a release."""
    return AppArgs.model_validate(arguments(values)).settings()
