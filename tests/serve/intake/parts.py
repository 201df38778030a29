"""The pipeline over a real store, with a scorer that answers at once: the intake without Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fhir_adapters.subscriptions import parse_notification
from lang1.scores import RiskScores
from lang1.tasks import BUILT_IN
from serve.ehr.connection import make_client
from serve.errors import Problem
from serve.intake.actor import Intake
from serve.intake.inbox import Inbox
from serve.intake.rows import backlog, listed
from serve.intake.take_in import intake_source, own_context, takers
from serve.outcome import Outcome
from serve.pipeline import Pipeline
from serve.scorer import ModelDescription, NoteToScore
from serve.settings import load_settings
from serve.store.core import Store
from serve.store.records import SearchQuery
from tests.ehr.server import TestEhr
from tests.fhir_adapters.samples import DEMO_MODEL, scores


class InstantScorer:
    """Answers fixed scores; `problem` answers instead for every note whose text it finds, `scored` counts texts."""

    replicas = 1

    def __init__(self) -> None:
        self.scored: list[str] = []
        self.problem: Callable[[str], Problem | None] = lambda text: None

    async def describe(self, known: str | None = None, timeout_s: float = 5) -> ModelDescription | None:
        if known == DEMO_MODEL.bundle_sha256:
            return None
        return ModelDescription(DEMO_MODEL, tuple(BUILT_IN.values()), "", {}, 512, "", "")

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        answers: list[Outcome[RiskScores]] = []
        for each in notes:
            problem = self.problem(each.note.text)
            if problem is None:
                self.scored.append(each.note.text)
            answers.append(Outcome(scores()) if problem is None else Outcome(problem=problem))
        return answers


class DirectStore:
    """The store's writer in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def commit(self, notes: Any, audit: Any) -> Any:
        return await asyncio.to_thread(self._store.commit, notes, audit)

    async def run(self, work: Any, *args: Any) -> Any:
        return await asyncio.to_thread(self._store.write, work, *args)


def make_pipeline(store: Store, scorer: InstantScorer) -> Pipeline:
    return Pipeline(scorer, DirectStore(store), store)  # type: ignore[arg-type]


class Running:
    """The intake and the inbox over one store and one test EHR, in the test's own event loop.

    async with Running(store, ehr) as running: ...
    """

    def __init__(self, store: Store, ehr: TestEhr, **options: Any) -> None:
        given = {"fhir_base_url": ehr.url, "notifications": True, "intake_retry_s": 0.02, "gap_wait_s": 0.2,
                 "ehr_timeout_s": 2, "state_dir": "/nonexistent", **options}  # fmt: skip
        self.settings = load_settings(**given)
        self.store = store
        self.scorer = InstantScorer()
        self.ehr = ehr

    async def __aenter__(self) -> Running:
        self.pipeline = make_pipeline(self.store, self.scorer)
        client = make_client(self.settings)
        assert client is not None
        self.intake = Intake(self.settings, self.pipeline, client)
        self.inbox = Inbox(self.settings, self.pipeline, takers(self.pipeline, self.settings))
        self.intake.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.intake.check()
        await self.intake.stop(5)

    async def notify(self, bundle: dict[str, Any]) -> None:
        """As the route does. Raises ServiceError and FhirInputError."""
        notification = parse_notification(bundle)
        self.inbox.check_allowed(notification)
        await self.inbox.take(notification, own_context(self.settings, intake_source(self.settings)))

    def rows(self, status: str = "dead") -> list[tuple[str, str | None]]:
        """Reference and code of the rows of a status."""
        return [(each.reference, each.code) for each in self.store.read(listed, (status,), (), 1000)[1]]

    async def idle(self, limit_s: float = 20) -> None:
        """Until nothing is left to do."""
        await until(lambda: self.store.read(backlog).pending == 0, limit_s)

    def standing(self, document: str) -> dict[str, str]:
        """By version of a document, whether its scores stand: `stands`, `superseded` or `retracted`."""
        found = {}
        for each in self.store.search(SearchQuery(count=1000)).predictions:
            if each.payload["document_id"] == document:
                now = "retracted" if each.retracted else "superseded" if each.superseded else "stands"
                found[each.payload["document_version"]] = now
        return found


async def until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    """Until it holds. AssertionError past the limit."""
    end = time.monotonic() + limit_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, f"not within {limit_s} s"
        await asyncio.sleep(0.02)  # polls with a limit


def run(check: Callable[[], Coroutine[Any, Any, None]], limit_s: float = 60) -> None:
    """An asynchronous test."""
    asyncio.run(asyncio.wait_for(check(), limit_s))


def texts(store: Store) -> int:
    """How many texts were scored."""
    return len({each.payload["text_sha256"] for each in store.search(SearchQuery(count=10_000)).predictions})
