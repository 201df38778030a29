"""What a writer is given: its options, the two sides of the store, and where it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from fhir_adapters.risk_assessment import ProbabilityScale
from serve.outbox.delivery import WriteMode
from serve.outbox.work import Backlog
from serve.settings import Settings
from serve.store.records import StoredPrediction
from serve.store.transaction import Transaction

T = TypeVar("T")
P = ParamSpec("P")


class StoreWriter(Protocol):
    """The store's writer: `serve.handles.StoreClient`."""

    async def run(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...


class StoreReader(Protocol):
    """A read-only `serve.store.core.Store`."""

    def read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    def find(self, ids: Sequence[str]) -> dict[str, StoredPrediction]: ...


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """Of `serve.outbox.settings`; times in seconds."""

    mode: WriteMode = "conditional-create"
    concurrency: int = 4
    tries: int = 8
    retry_base_s: float = 1.0
    retry_max_s: float = 300.0
    probe_s: float = 5.0
    lease_s: float = 60.0
    poll_s: float = 0.25
    drain_s: float = 20.0
    probability_scale: ProbabilityScale = 1

    @classmethod
    def of(cls, settings: Settings) -> WriterOptions:
        """The options that the settings give."""
        return cls(
            mode=settings.write_mode,
            concurrency=settings.write_concurrency,
            tries=settings.write_tries,
            retry_base_s=settings.write_retry_base_s,
            retry_max_s=settings.write_retry_max_s,
            probe_s=settings.write_probe_s,
            lease_s=settings.write_lease_s,
            drain_s=settings.drain_s,
            probability_scale=settings.probability_scale,
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """What a writer tells the metrics: the end of each try by sink and code, and now and then the backlog."""

    ended: Callable[[str, str], None] = lambda sink, code: None
    backlog: Callable[[Backlog], None] = lambda backlog: None
