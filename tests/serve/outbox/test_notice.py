"""The remark in an answer whose scores cannot be written back yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fhir_adapters.bundles import collection_bundle
from serve.errors import StoreUnavailableError
from serve.outbox import letters, queue
from serve.outbox.notice import write_back_notice
from serve.outbox.work import After
from serve.store.core import Store
from tests.node_validator import validate_r4
from tests.serve.outbox.rig import Rig, scored

OWN = tuple(each.id for each in scored("a").predictions)


def notice(store: Store, sink: str = "risk-assessment") -> dict[str, Any] | None:
    async def read(work: Callable[..., Any], *args: Any) -> Any:
        return store.read(work, *args)

    return asyncio.run(write_back_notice(read, sink, OWN))


def test_it_is_there_while_the_write_back_pauses_and_the_scores_wait(rig: Rig) -> None:
    rig.store.write(letters.set_pause, "unavailable")
    assert notice(rig.store) is None, "these scores are in no outbox"
    rig.store.commit([scored("a")])
    said = notice(rig.store)
    assert said is not None
    assert (said["issue"][0]["severity"], said["issue"][0]["code"]) == ("information", "informational")
    assert notice(rig.store, "none") is None
    rig.store.write(letters.set_pause, None)
    assert notice(rig.store) is None
    assert validate_r4([said, collection_bundle([said])]) == [[], []]


def test_it_is_there_when_a_write_of_these_scores_failed_until_it_succeeds(rig: Rig) -> None:
    rig.store.commit([scored("a")])
    for held in rig.store.write(queue.lease, "t", 9, 1000, 8):
        rig.store.write(queue.fail, held, "rejected/422", After.DEAD, 0, 8)
    assert notice(rig.store) is not None
    rig.store.write(letters.replay, None)
    rig.write_all()
    assert notice(rig.store) is None


def test_a_store_that_is_away_costs_no_answer() -> None:
    async def away(*_: Any) -> Any:
        raise StoreUnavailableError("OperationalError")

    assert asyncio.run(write_back_notice(away, "observation", OWN)) is None
