"""Who may call, whom the service calls and which files it reads: wrong values are refused with the mend."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import CONNECTED, merged, profile, refused, rendered, required

LOGIN = {
    name: CONNECTED["settings"][name]
    for name in ("oidc_issuer", "oidc_client_id", "oidc_allowed_groups", "session_key_file")
}
SSO = {"secretFiles": CONNECTED["secretFiles"]}

WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "exposed without authentication": (
        "gpu",
        {"settings": {"auth_issuers": []}},
        "exposure.enabled",
        "set settings.auth_issuers",
    ),
    "exposed without a public URL": (
        "gpu",
        {"exposure": {"ingress": {"enabled": False}}},
        "exposure.enabled",
        "set settings.public_base_url",
    ),
    "issuers shut out": (
        "gpu",
        {"networkPolicy": {"issuerPeers": []}},
        "networkPolicy.issuerPeers",
        "name the authorisation servers",
    ),
    "an issuer without an audience": (
        "gpu",
        {"settings": {"auth_issuers": [{"issuer": "i", "jwks_url": "https://i/keys"}]}},
        "/settings/auth_issuers/0",
        "'audience'",
    ),
    "an issuer without keys": (
        "gpu",
        {"settings": {"auth_issuers": [{"issuer": "i", "audience": "a"}]}},
        "/settings/auth_issuers/0",
        "'jwks_url'",
    ),
    "login over http": (
        "gpu",
        {"settings": {"public_base_url": "http://lang1.example.org/fhir", **LOGIN}, **SSO},
        "settings.public_base_url",
        "set settings.public_base_url to an https URL",
    ),
    "login without a session key": (
        "gpu",
        {"settings": {**LOGIN, "session_key_file": ""}, **SSO},
        "settings.oidc_issuer needs settings.session_key_file",
        "set both or neither",
    ),
    "polling of no server": (
        "cpu",
        {"settings": {"poll_every_s": 60}},
        "settings.poll_every_s",
        "settings.fhir_base_url",
    ),
    "notifications of no server": (
        "cpu",
        {"settings": {"notifications": True}},
        "settings.notifications",
        "settings.fhir_base_url",
    ),
    "write-back to no server": ("cpu", {"settings": {"sink": "observation"}}, "settings.sink", "settings.sink to none"),
    "an interval of no monitor": (
        "cpu",
        {"settings": {"monitor_every_s": 60}, "replicas": {"monitor": 0}},
        "settings.monitor_every_s",
        "set replicas.monitor to 1",
    ),
    "a file of the image": (
        "cpu",
        {"settings": {"tasks_file": "/opt/tasks.yaml"}},
        "settings.tasks_file: /opt/tasks.yaml",
        "/etc/lang1/config/CONFIGMAPNAME/KEY",
    ),
    "a file of a claim that is not there": (
        "cpu",
        {"settings": {"tasks_file": "/bundles/tasks.yaml"}},
        "settings.tasks_file: /bundles/tasks.yaml",
        "mount it by secretFiles",
    ),
    "a file that climbs out of the claim": (
        "gpu",
        {"settings": {"tasks_file": "/bundles/../etc/passwd"}},
        "settings.tasks_file",
        "mount it by secretFiles",
    ),
    "a secret in a ConfigMap": (
        "cpu",
        {
            "settings": {"notification_secret_file": "/etc/lang1/config/c/k"},
            "configFiles": [{"configMapName": "c"}],
        },
        "settings.notification_secret_file",
        "put it in a Secret",
    ),
    "a secret in the bundle's claim": (
        "gpu",
        {"settings": {"notification_secret_file": "/bundles/secret"}},
        "settings.notification_secret_file",
        "/etc/lang1/secrets/SECRETNAME/KEY",
    ),
    "a Secret that is not mounted": (
        "cpu",
        {"settings": {"notification_secret_file": "/etc/lang1/secrets/s/k"}},
        "settings.notification_secret_file",
        "add {secretName: s, keys: [k]} to secretFiles",
    ),
    "a key that is not mounted": (
        "cpu",
        {
            "settings": {"auth_ca_file": "/etc/lang1/config/c/k"},
            "configFiles": [{"configMapName": "c", "keys": ["other"]}],
        },
        "settings.auth_ca_file",
        "add {configMapName: c, keys: [k]} to configFiles",
    ),
    "keys of an issuer that are not mounted": (
        "gpu",
        {"settings": {"auth_issuers": [{"issuer": "i", "audience": "a", "jwks_file": "/etc/lang1/config/c/k"}]}},
        "settings.auth_issuers[0].jwks_file",
        "to configFiles",
    ),
    "a Secret twice": (
        "cpu",
        {"secretFiles": [{"secretName": "s", "keys": ["a"]}, {"secretName": "s", "keys": ["b"]}]},
        "secretFiles: s is there twice",
        "join its keys",
    ),
    "Prometheus without a token": (
        "gpu",
        {"monitoring": {"service": {"enabled": True}}, "networkPolicy": {"prometheusNamespace": "m"}},
        "monitoring.service.enabled",
        "monitoring.service.oauth2",
    ),
    "Prometheus without a client": (
        "gpu",
        {"monitoring": {"service": {"oauth2": {"tokenUrl": "https://i/token"}}}},
        "monitoring.service.oauth2.secretName",
        "set it to the Secret",
    ),
    "ingress of loopback": (
        "cpu",
        {"exposure": {"ingress": {"enabled": True, "host": "h", "tlsSecretName": "t"}}},
        "exposure.ingress.enabled",
        "set exposure.ingress.enabled to false",
    ),
    "clients of loopback": (
        "cpu",
        {"exposure": {"clients": [{"podSelector": {}}]}},
        "exposure.clients",
        "leave exposure.clients empty",
    ),
    "loopback not acknowledged": (
        "cpu",
        {"exposure": {"acknowledgeLoopbackOnly": False}},
        "exposure.acknowledgeLoopbackOnly",
        "set exposure.acknowledgeLoopbackOnly to true",
    ),
    "service metrics of loopback": (
        "cpu",
        {"monitoring": {"service": {"enabled": True}}, "networkPolicy": {"prometheusNamespace": "m"}},
        "monitoring.service.enabled",
        "set monitoring.service.enabled to false",
    ),
    "FHIR server shut out": (
        "cpu",
        {"settings": {"fhir_base_url": "https://ehr/fhir"}},
        "networkPolicy.fhirPeers",
        "name the FHIR server",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_with_the_mend(case: str) -> None:
    refused(*WRONG[case])


def test_the_checks_for_an_exposed_service_hold_too() -> None:
    right = merged(profile("values-gpu"), CONNECTED)
    rendered(right)
    for wrong, message in (
        ({"exposure": {"ingress": {"tlsSecretName": ""}}}, "exposure.ingress.tlsSecretName is empty"),
        ({"exposure": {"ingress": {"host": ""}}}, "exposure.ingress.host is empty"),
        ({"exposure": {"clients": []}}, "exposure.clients is empty"),
        ({"exposure": {"acknowledgeLoopbackOnly": True}}, "set exposure.acknowledgeLoopbackOnly to false"),
        ({"settings": {"auth_issuers": []}}, "set settings.auth_issuers to its issuer"),
        ({"upgrade": {"incremental": {"gatewayClassName": ""}}}, "upgrade.incremental.gatewayClassName is empty"),
        ({"upgrade": {"incremental": {"maxSurgePercent": 5}}}, "lower the step"),
    ):
        with pytest.raises(required("helm_python").HelmError, match=message):
            rendered(merged(right, wrong))
