"""Wrong values are refused before anything is installed, with the value and the mend."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import profile, refused, rendered, required

POSTGRES = {"kind": "postgresql", "secretName": "db", "peers": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]}
TRAIN = {"train": {"enabled": True, "runName": "r", "existingClaim": "c"}}

# profile, what is wrong over it, the value that the message names, the mend that it gives
WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "wrong type": ("cpu", {"workers": {"cpu": "two"}}, "/workers/cpu", "want integer"),
    "half a CPU for a pod": ("cpu", {"workers": {"cpu": 1.5}}, "/workers/cpu", "want integer"),
    "unknown key": ("cpu", {"workerz": {}}, "workerz", "not allowed"),
    "unknown nested key": ("cpu", {"workers": {"replicaz": 1}}, "/workers", "'replicaz' not allowed"),
    "unknown setting": ("cpu", {"settings": {"max_batch_token": 1}}, "/settings", "'max_batch_token' not allowed"),
    "setting out of range": ("cpu", {"settings": {"deadline_s": 601}}, "/settings/deadline_s", "want 600"),
    "setting of another value": ("cpu", {"settings": {"host": "127.0.0.1"}}, "/settings", "'host' not allowed"),
    "secret as a setting": ("cpu", {"settings": {"database_url": "x"}}, "/settings", "'database_url' not allowed"),
    "setting not of the list": ("cpu", {"settings": {"device": "tpu"}}, "/settings/device", "'auto', 'cpu', 'cuda'"),
    "latest": ("cpu", {"image": {"tag": "latest"}}, "/image/tag", "'not' failed"),
    "no image": ("cpu", {"image": {"repository": ""}}, "/image/repository", "want 1"),
    "digest": ("cpu", {"image": {"digest": "sha256:12"}}, "/image/digest", "does not match"),
    "pull policy": ("cpu", {"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy", "'IfNotPresent'"),
    "memory in GB": ("cpu", {"workers": {"memory": "4GB"}}, "/workers/memory", "(Mi|Gi|Ti)"),
    "root": ("cpu", {"podSecurity": {"userId": 0}}, "/podSecurity/userId", "want 1"),
    "open network": (
        "ha",
        {"database": {"peers": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}},
        "/database/peers/0/ipBlock/cidr",
        "'not' failed",
    ),
    "replicas 0 with autoscaling": ("ha", {"workers": {"minReplicas": 0}}, "/workers/minReplicas", "want 1"),
    "bundle path climbs out": ("gpu", {"bundle": {"path": "../x"}}, "/bundle/path", "does not match"),
    "two GPUs to train on": ("train-h100", {"train": {"gpus": 2}}, "/train/gpus", "want 1"),
    "run name": ("train-h100", {"train": {"runName": "a b; rm"}}, "/train/runName", "does not match"),
    "migration of SQLite": (
        "cpu",
        {"migration": {"enabled": True}},
        "migration.enabled",
        "set migration.enabled to false",
    ),
    "a role that migrates nothing": (
        "gpu",
        {"migration": {"enabled": False, "secretName": "owner"}},
        "migration.secretName",
        "set migration.enabled to true",
    ),
    "two authorities": (
        "gpu",
        {"database": {"ca": {"secretName": "a", "configMapName": "b"}}},
        "database.ca.secretName",
        "leave one empty",
    ),
    "an authority of SQLite": (
        "cpu",
        {"database": {"ca": {"secretName": "a"}}},
        "database.ca",
        "leave database.ca empty",
    ),
    "CPU shares of what fetches and writes": (
        "cpu",
        {
            "scorer": {"cpus": 1.6},
            "settings": {"fhir_base_url": "https://ehr/fhir", "poll_every_s": 60, "sink": "observation"},
            "networkPolicy": {"fhirPeers": [{"ipBlock": {"cidr": "10.0.0.9/32"}}]},
        },
        "workers: the processes reserve 2.1",
        "lower scorer.cpus",
    ),
    "monitoring shut out": (
        "cpu",
        {"monitoring": {"ray": {"enabled": True}}},
        "networkPolicy.prometheusNamespace",
        "set it to the namespace of Prometheus",
    ),
    "traffic steps of loopback": (
        "ha",
        {
            "exposure": {
                "enabled": False,
                "acknowledgeLoopbackOnly": True,
                "clients": [],
                "ingress": {"enabled": False},
            },
            "upgrade": {"type": "NewClusterWithIncrementalUpgrade"},
        },
        "upgrade.type",
        "set upgrade.type to NewCluster",
    ),
    "no database secret in HA": (
        "ha",
        {"database": {"secretName": ""}},
        "database.secretName",
        "set database.secretName",
    ),
    "database shut out": ("ha", {"database": {"peers": []}}, "database.peers", "set database.peers"),
    "HA on SQLite": (
        "cpu",
        {"highAvailability": True},
        "highAvailability",
        "set database.kind to postgresql",
    ),
    "HA without Redis": (
        "ha",
        {"ray": {"redis": {"address": "", "secretName": ""}}},
        "ray.redis.address",
        "set ray.redis.address",
    ),
    "HA with one store": ("ha", {"replicas": {"store": 1}}, "replicas.store", "set replicas.store to 2"),
    "HA on one node": ("ha", {"workers": {"spread": "ScheduleAnyway"}}, "workers.spread", "to DoNotSchedule"),
    "Redis without a secret": (
        "ha",
        {"ray": {"redis": {"secretName": ""}}},
        "ray.redis.secretName",
        "set it to the Secret",
    ),
    "Redis shut out": ("ha", {"ray": {"redis": {"peers": []}}}, "ray.redis.peers", "set ray.redis.peers"),
    "two SQLite writers": ("cpu", {"replicas": {"store": 2}}, "replicas.store", "or replicas.store to 1"),
    "SQLite on two pods": (
        "cpu",
        {"workers": {"minReplicas": 2, "maxReplicas": 2}},
        "workers.maxReplicas",
        "or workers.maxReplicas to 1",
    ),
    "SQLite with autoscaling": (
        "cpu",
        {"autoscaling": {"enabled": True}, "networkPolicy": {"kubernetesApi": {"cidrs": ["10.96.0.1/32"]}}},
        "autoscaling.enabled",
        "or autoscaling.enabled to false",
    ),
    "SQLite in two clusters": ("cpu", {"upgrade": {"type": "NewCluster"}}, "upgrade.type", "set upgrade.type to None"),
    "secret of SQLite": ("cpu", {"database": {"secretName": "db"}}, "database.secretName", "set database.kind"),
    "more at least than at most": ("ha", {"workers": {"minReplicas": 9}}, "workers.minReplicas 9", "lower the other"),
    "nothing to scale by": (
        "ha",
        {"autoscaling": {"enabled": False}},
        "workers.maxReplicas",
        "set autoscaling.enabled to true",
    ),
    "API shut out": (
        "ha",
        {"networkPolicy": {"kubernetesApi": {"cidrs": []}}},
        "networkPolicy.kubernetesApi.cidrs",
        "set it to the API's addresses",
    ),
    "GPU without a runtime class": (
        "gpu",
        {"workers": {"runtimeClassName": ""}},
        "workers.runtimeClassName",
        "such as nvidia",
    ),
    "GPU that no pod has": ("gpu", {"workers": {"gpus": 0}}, "scorer.gpus", "set workers.gpus"),
    "GPU that no scorer takes": ("gpu", {"scorer": {"gpus": 0}}, "workers.gpus", "set scorer.gpus"),
    "cuda without a GPU": ("cpu", {"settings": {"device": "cuda"}}, "settings.device", "settings.device to cpu"),
    "GPU and device cpu": ("gpu", {"settings": {"device": "cpu"}}, "settings.device", "settings.device to cuda"),
    "more scorers than room": ("cpu", {"replicas": {"scorer": 3}}, "workers: 3 scorers", "raise workers.maxReplicas"),
    "CPU shares": ("cpu", {"scorer": {"cpus": 2}}, "workers: the processes reserve 2.3", "lower scorer.cpus"),
    "more threads than cores": ("cpu", {"scorer": {"threads": 4}}, "scorer.threads 4", "raise workers.cpu"),
    "scorers begin outside": ("ha", {"replicas": {"scorer": 7}}, "replicas.scorer 7", "set it between"),
    "bundle of no claim": ("cpu", {"bundle": {"path": "champion"}}, "bundle.path", "set bundle.existingClaim"),
    "nothing": ("cpu", {"scoring": {"enabled": False}}, "scoring.enabled", "set one to true"),
    "run without a name": ("train-h100", {"train": {"runName": ""}}, "train.runName", "name the run"),
    "run without a claim": ("train-h100", {"train": {"existingClaim": ""}}, "train.existingClaim", "set it to a claim"),
    "training GPU without a class": (
        "train-h100",
        {"train": {"runtimeClassName": ""}},
        "train.runtimeClassName",
        "such as nvidia",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_with_the_mend(case: str) -> None:
    refused(*WRONG[case])


def test_a_release_name_that_kuberay_refuses() -> None:
    with pytest.raises(required("helm_python").HelmError, match="begin it with a letter"):
        rendered(profile("values-cpu"), name="1-lang1")
