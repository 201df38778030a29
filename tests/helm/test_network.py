"""Everything is denied but what the processes really open and call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.scripts.scripts import start

from serve.settings import Settings
from tests.helm.chart import EXPOSED, PROFILES, merged, of_kind, profile, rendered

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
    }


def test_clients_prometheus_and_the_fhir_server_once_exposed(authenticating_chart: Path) -> None:
    objects = rendered(merged(profile("values-gpu"), EXPOSED), chart=authenticating_chart)
    policies = {each["metadata"]["name"].removeprefix("lang1-"): each for each in of_kind(objects, "NetworkPolicy")}
    serving = Settings.model_fields["port"].default
    assert (
        ports_of(policies["clients"], "ingress") == ports_of(policies["service-metrics"], "ingress") == {(serving,) * 2}
    )
    assert ports_of(policies["ray-metrics"], "ingress") == {
        (int(clusters(objects)["worker"]["metrics-export-port"]),) * 2
    }
    assert ports_of(policies["fhir"], "egress") == {(8443, 8443)}


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
