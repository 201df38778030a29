"""Everything is denied but what the processes really open and call."""

from __future__ import annotations

from typing import Any

import pytest
from ray.scripts.scripts import start

from serve.settings import Settings
from tests.helm.chart import CONNECTED, PROFILES, merged, of_kind, profile, rendered

COMMON = {"node-manager-port", "object-manager-port", "dashboard-agent-grpc-port", "dashboard-agent-listen-port"}


def clusters(objects: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """ray start options by component."""
    found = {}
    for each in [*of_kind(objects, "RayService"), *of_kind(objects, "RayJob")]:
        cluster = each["spec"].get("rayClusterConfig") or each["spec"]["rayClusterSpec"]
        for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]:
            component = group["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
            found[component] = group["rayStartParams"]
    return found


def opened(params: dict[str, str]) -> set[tuple[int, int]]:
    """First and last of each range of ports that `ray start` opens to other nodes."""
    ports = {(int(params[name]), int(params[name])) for name in COMMON}
    if "port" in params:
        ports.add((int(params["port"]), int(params["port"])))
    return ports | {(int(params["min-worker-port"]), int(params["max-worker-port"]))}


def ports_of(policy: dict[str, Any], direction: str) -> set[tuple[int, int]]:
    return {
        (port["port"], port.get("endPort", port["port"]))
        for rule in policy["spec"].get(direction, [])
        for port in rule["ports"]
    }


@pytest.mark.parametrize("name", PROFILES)
def test_every_pod_is_denied_everything_first(name: str) -> None:
    (deny,) = [
        each for each in of_kind(rendered(profile(name)), "NetworkPolicy") if "deny-all" in each["metadata"]["name"]
    ]
    assert set(deny["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny["spec"]
    assert "egress" not in deny["spec"]
    assert deny["spec"]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "lang1",
        "app.kubernetes.io/instance": "lang1",
    }


@pytest.mark.parametrize("name", PROFILES)
def test_a_port_that_is_let_in_is_one_that_the_pod_opens(name: str) -> None:
    objects = rendered(profile(name))
    params = clusters(objects)
    for policy in of_kind(objects, "NetworkPolicy"):
        component = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        let_in = ports_of(policy, "ingress")
        if policy["metadata"]["name"].endswith("operator"):
            assert let_in == {(int(params[component]["dashboard-port"]),) * 2}
        elif policy["metadata"]["name"].endswith("-ray"):
            assert let_in == opened(params[component])
        elif policy["metadata"]["name"].endswith("clients"):
            assert component == "worker"
            assert let_in == {(Settings.model_fields["port"].default,) * 2}
        else:
            assert not let_in, policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule.get("from") or rule.get("to"), "a rule without peers lets everyone in"


def test_what_ray_nodes_call_is_what_they_open() -> None:
    objects = rendered(profile("values-ha"))
    params = clusters(objects)
    for policy in of_kind(objects, "NetworkPolicy"):
        if policy["metadata"]["name"].endswith("-ray"):
            for rule in policy["spec"]["egress"]:
                (peer,) = rule["to"]
                component = peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                called = {(port["port"], port.get("endPort", port["port"])) for port in rule["ports"]}
                assert called == opened(params[component])


def test_what_leaves_the_release() -> None:
    objects = rendered(profile("values-ha"))
    egress = {
        each["metadata"]["name"].removeprefix("lang1-"): ports_of(each, "egress")
        for each in of_kind(objects, "NetworkPolicy")
        if each["spec"].get("egress") and not each["metadata"]["name"].endswith("-ray")
    }
    assert egress == {
        "dns": {(53, 53)},
        "database": {(5432, 5432)},
        "redis": {(6379, 6379)},
        "kubernetes-api": {(443, 443)},
        "issuers": {(443, 443)},
        "migration": {(53, 53), (5432, 5432)},
    }


def test_a_loopback_service_lets_nobody_in_and_asks_the_database_of_none() -> None:
    names = {each["metadata"]["name"] for each in of_kind(rendered(profile("values-cpu")), "NetworkPolicy")}
    assert names == {f"lang1-{name}" for name in ("deny-all", "dns", "head-ray", "worker-ray", "operator")}


def test_the_migration_has_its_policy_before_its_job() -> None:
    """At the first install none of the release's other policies is there when the hook runs."""
    objects = rendered(profile("values-ha"))
    (job,) = of_kind(objects, "Job")
    (policy,) = [each for each in of_kind(objects, "NetworkPolicy") if each["metadata"]["name"] == "lang1-migration"]
    (account,) = [each for each in of_kind(objects, "ServiceAccount") if each["metadata"]["name"] == "lang1-migration"]
    assert policy["spec"]["podSelector"]["matchLabels"] == job["spec"]["template"]["metadata"]["labels"]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in policy["spec"]
    for each in (job, policy, account):
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (policy, account, job)]
    assert max(weights[:2]) < weights[2]


def test_clients_prometheus_issuers_and_the_fhir_server() -> None:
    objects = rendered(merged(profile("values-gpu"), CONNECTED))
    policies = {each["metadata"]["name"].removeprefix("lang1-"): each for each in of_kind(objects, "NetworkPolicy")}
    serving = Settings.model_fields["port"].default
    assert (
        ports_of(policies["clients"], "ingress") == ports_of(policies["service-metrics"], "ingress") == {(serving,) * 2}
    )
    assert ports_of(policies["ray-metrics"], "ingress") == {
        (int(clusters(objects)["worker"]["metrics-export-port"]),) * 2
    }
    assert ports_of(policies["fhir"], "egress") == {(port, port) for port in (443, 8443, 8444)}
    assert ports_of(policies["issuers"], "egress") == {(443, 443), (9443, 9443)}
    for name, peer in (("fhir", "10.0.0.9/32"), ("issuers", "10.0.0.7/32")):
        (rule,) = policies[name]["spec"]["egress"]
        assert rule["to"] == [{"ipBlock": {"cidr": peer}}]
        assert len({port["port"] for port in rule["ports"]}) == len(rule["ports"])


@pytest.mark.parametrize(("url", "port"), [("https://ehr/fhir", 443), ("http://ehr/fhir", 80), ("http://ehr:81/f", 81)])
def test_the_fhir_port_is_that_of_the_url(url: str, port: int) -> None:
    values = {
        "settings": {"fhir_base_url": url},
        "networkPolicy": {"fhirPeers": [{"ipBlock": {"cidr": "10.0.0.9/32"}}]},
    }
    objects = rendered(merged(profile("values-cpu"), values))
    (policy,) = [each for each in of_kind(objects, "NetworkPolicy") if each["metadata"]["name"].endswith("fhir")]
    assert ports_of(policy, "egress") == {(port, port)}


def test_ray_start_has_every_option() -> None:
    options = {option.removeprefix("--") for each in start.params for option in each.opts}
    for params in clusters(rendered(profile("values-ha"))).values():
        assert set(params) <= options


def test_no_two_ports_of_a_pod_are_the_same() -> None:
    for component, params in clusters(rendered(profile("values-ha"))).items():
        single = [*COMMON, "runtime-env-agent-port", "metrics-export-port"]
        if "port" in params:
            single += ["port", "dashboard-port"]
        # A list, not a set: two options of the same number must stay two.
        ranges = [
            *((int(params[name]),) * 2 for name in single),
            (int(params["min-worker-port"]), int(params["max-worker-port"])),
            (Settings.model_fields["port"].default,) * 2,
            (10001, 10001),  # Ray's client server, which a head opens unasked and no policy lets anyone to
        ]
        numbers = [number for first, last in ranges for number in range(first, last + 1)]
        assert len(set(numbers)) == len(numbers), component
