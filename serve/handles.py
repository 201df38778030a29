"""Calls to the other deployments, with a deadline, a retry where a replica died, and no exception with content."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ray.exceptions import ActorUnavailableError, RayActorError, RayError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from lang1.scores import RiskScores
from serve.errors import Problem, ServiceError, StoreUnavailableError, internal, scorer_away, throttled, timed_out
from serve.explaining import Explanation
from serve.logs import get_logger
from serve.outcome import Outcome
from serve.scorer import ModelDescription, NoteToScore
from serve.store.records import AuditEntry, CommittedNote, NewFeedback, NewNote, RecordedFeedback
from serve.store.transaction import Transaction

T = TypeVar("T")
P = ParamSpec("P")

# The scorer answers a passed deadline itself; this much longer is waited for one that hangs or is gone.
_GRACE_S = 0.5
_RETRY_PAUSE_S = 0.05
# Well over a busy database's own time-out, which answers sooner and says why.
_COMMIT_TIMEOUT_S = 30.0
_DESCRIBE_TIMEOUT_S = 5.0
# A large request is spread over the replicas in parts of at least so many notes: a smaller part fills no batch.
_NOTES_PER_CALL = 8


class ReplicaCallError(Exception):
    """A call did not come back; carries the problem to answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


async def call(
    make: Callable[[], Any], timeout_s: float, when_late: Callable[[bool], Problem], *, retries: bool = True
) -> Any:
    """Await a DeploymentResponse; a dead replica is retried until `timeout_s`. `when_late` gets whether one died.

    Raises ReplicaCallError.
    """
    until = time.monotonic() + timeout_s
    died = False
    while True:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise ReplicaCallError(when_late(died))
        response = make()
        try:
            async with asyncio.timeout(left_s):
                return await response
        except TimeoutError:
            response.cancel()
            raise ReplicaCallError(when_late(died)) from None
        except asyncio.CancelledError:
            # The client went away: let the replica drop what it has not begun.
            response.cancel()
            raise
        except (RayActorError, ActorUnavailableError, DeploymentUnavailableError):
            died = True
            if not retries:
                raise ReplicaCallError(when_late(died)) from None
            await asyncio.sleep(_RETRY_PAUSE_S)
        except BackPressureError:
            raise ReplicaCallError(throttled(0)) from None
        except RayError as error:
            # The class alone: Ray's text quotes the arguments.
            get_logger().error("call to a deployment failed: %s", type(error).__name__)
            raise ReplicaCallError(internal()) from None


class ScorerClient:
    """The scorers, as the ingress sees them."""

    def __init__(self, handle: Any, replicas: int, is_alive: Callable[[], bool], *, retries: bool = True) -> None:
        """`retries`: ask another replica where one died."""
        self._handle = handle
        self._replicas = replicas
        self._is_alive = is_alive
        self._retries = retries

    @property
    def replicas(self) -> int:
        """How many there are meant to be."""
        return self._replicas

    async def describe(
        self, known_sha256: str | None = None, timeout_s: float = _DESCRIBE_TIMEOUT_S
    ) -> ModelDescription | None:
        """What a scorer has loaded; None when that is the bundle with this hash. Raises ReplicaCallError."""
        result: ModelDescription | None = await call(
            lambda: self._handle.describe.remote(known_sha256), timeout_s, lambda died: scorer_away()
        )
        return result

    async def reference(self, timeout_s: float = _DESCRIBE_TIMEOUT_S) -> str | None:
        """The loaded bundle's reference profile, as JSON. Raises ServiceError."""
        try:
            found: str | None = await call(self._handle.reference.remote, timeout_s, lambda died: scorer_away())
        except ReplicaCallError as error:
            raise ServiceError(error.problem) from None
        return found

    async def score(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        """Risks in order, each its own Outcome. Many notes are spread over the replicas."""
        calls = max(1, min(self._replicas, -(-len(notes) // _NOTES_PER_CALL)))
        size = -(-len(notes) // calls)
        parts = [notes[start : start + size] for start in range(0, len(notes), size)]
        if len(parts) == 1:
            return await self._score_part(parts[0], deadline_s)
        answered = await asyncio.gather(*(self._score_part(part, deadline_s) for part in parts))
        return [outcome for part in answered for outcome in part]

    async def explain(self, note: NoteToScore, deadline_s: float) -> Outcome[Explanation]:
        """What moved one note's scores."""
        try:
            result: Outcome[Explanation] = await self._ask(self._handle.explain, note, deadline_s)
            return result
        except ReplicaCallError as error:
            return Outcome(problem=error.problem)

    async def _score_part(self, notes: Sequence[NoteToScore], deadline_s: float) -> list[Outcome[RiskScores]]:
        try:
            result: list[Outcome[RiskScores]] = await self._ask(self._handle.score, notes, deadline_s)
            return result
        except ReplicaCallError as error:
            return [Outcome(problem=error.problem)] * len(notes)

    async def _ask(self, method: Any, work: Any, deadline_s: float) -> Any:
        """`method(work, seconds left)` of a scorer. Raises ReplicaCallError, which tells late from away."""
        until = time.monotonic() + deadline_s
        died = False

        def make() -> Any:
            return method.remote(work, max(0.001, until - time.monotonic()))

        def when_late(one_died: bool) -> Problem:
            nonlocal died
            died = one_died
            return timed_out(deadline_s)

        try:
            return await call(make, deadline_s + _GRACE_S, when_late, retries=self._retries)
        except ReplicaCallError as error:
            late = error.problem.code == "timeout"
            if late and (died or not await asyncio.to_thread(self._is_alive)):
                raise ReplicaCallError(scorer_away()) from None
            raise


class StoreClient:
    """The store's writer, as the ingress sees it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def commit(self, notes: Sequence[NewNote], audit: Sequence[AuditEntry]) -> list[CommittedNote]:
        """Record in one transaction. A store that died is asked again, which changes nothing twice.

        Raises ServiceError.
        """
        outcome: Outcome[list[CommittedNote]] = await self._write(
            lambda: self._handle.commit.remote(tuple(notes), tuple(audit))
        )
        return outcome.unwrap()

    async def record_feedback(self, entries: Sequence[NewFeedback]) -> RecordedFeedback:
        """Record what people did with cards; the same again changes nothing. Raises ServiceError."""
        outcome: Outcome[RecordedFeedback] = await self._write(
            lambda: self._handle.record_feedback.remote(tuple(entries))
        )
        return outcome.unwrap()

    async def run(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(transaction, *args)`, a module-level function, in a write transaction of the store's writer.

        A writer that died is asked again, so the work must change nothing twice. Raises ServiceError.
        """
        assert not kwargs, "sent by position"
        outcome: Outcome[T] = await self._write(lambda: self._handle.run.remote(work, args))
        if outcome.problem is not None:
            raise ServiceError(outcome.problem)
        return cast("T", outcome.value)

    async def _write(self, make: Callable[[], Any]) -> Any:
        try:
            return await call(
                make,
                _COMMIT_TIMEOUT_S,
                lambda died: StoreUnavailableError("no store is running" if died else "timeout").problem,
            )
        except ReplicaCallError as error:
            raise ServiceError(error.problem) from None
