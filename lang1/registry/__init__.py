"""The model registry: a folder of sealed bundles by content hash, three channels, gate reports and a chained log.

The service and the training jobs share it, on a local disk or over NFS. `rollout` moves the channels.
"""

from lang1.registry.channels import Channels, Stage
from lang1.registry.errors import NotRegisteredError, RegistryError, RolloutRefusedError, WordsError
from lang1.registry.listing import RegisteredBundle
from lang1.registry.log import LogEntry
from lang1.registry.registry import Registry

__all__ = [
    "Channels",
    "LogEntry",
    "NotRegisteredError",
    "RegisteredBundle",
    "Registry",
    "RegistryError",
    "RolloutRefusedError",
    "Stage",
    "WordsError",
]
