"""When a resource that could not be taken in is tried again, and when the FHIR server as a whole is away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from fhir_adapters.client.errors import ErrorKind, FhirServerError
from serve.intake.rows import MAX_TRIES, LeasedRow, Settled
from serve.intake.take_in import Taken

_MAX_WAIT_S: Final = 3600.0
_GROWTH: Final = 3
# A notification can overtake the transaction that it tells of: a first 404 is no proof.
_NOT_FOUND_TRIES: Final = 2
# Our own queue and database: nothing is wrong with the resource.
_OURS: Final = frozenset({"throttled", "no-store"})
_AWAY_KINDS: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.THROTTLED, ErrorKind.UNAUTHORIZED})
_AWAY_STATUS: Final = frozenset({None, 401, 429, 502, 503, 504})
_AWAY_AFTER: Final = 3
_MAX_PAUSE_S: Final = 60.0


class ServerState:
    """Whether the FHIR server answers at all. While it is away one resource at a time is tried, and no try counts."""

    def __init__(self, first_pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_pause_s = first_pause_s
        self._clock = clock
        self._failures = 0
        self._next_probe = 0.0

    @property
    def away(self) -> bool:
        return self._failures >= _AWAY_AFTER

    def may_ask(self) -> bool:
        """Whether there may be a request now: always, but for a server that is away once a pause."""
        return not self.away or self._clock() >= self._next_probe

    def asking(self) -> None:
        """A request begins: while the server is away, the next one waits for the pause."""
        if self.away:
            self._next_probe = self._clock() + self.pause_s

    def answered(self, error: FhirServerError | None = None) -> None:
        """What came of a request."""
        if error is None or not is_away(error):
            self._failures = 0
            return
        self._failures += 1
        self._next_probe = self._clock() + max(self.pause_s, error.retry_after_s or 0.0)

    @property
    def pause_s(self) -> float:
        """Seconds between two tries while the server is away."""
        over = min(max(0, self._failures - _AWAY_AFTER), 10)
        return float(min(_MAX_PAUSE_S, self._first_pause_s * 2**over))


def is_away(error: FhirServerError) -> bool:
    """Whether the error tells of the server and not of the resource: a 500 is often one resource's own."""
    return error.kind in _AWAY_KINDS and error.status in _AWAY_STATUS


def after_fetch_error(row: LeasedRow, error: FhirServerError, *, away: bool, first_wait_s: float) -> Settled:
    """What becomes of a row whose resource could not be read. A deleted one (410) is not for here."""
    code = str(error.kind)
    if away and is_away(error):
        return Settled(row, "pending", code, wait_ms=_ms(_jittered(first_wait_s)), charged=False)
    early = error.kind is ErrorKind.NOT_FOUND and row.attempts < _NOT_FOUND_TRIES
    if early or (error.may_retry and row.attempts < MAX_TRIES):
        return Settled(row, "pending", code, wait_ms=_wait_ms(row.attempts, first_wait_s, error.retry_after_s))
    return Settled(row, "dead", code)


def after_taking(row: LeasedRow, taken: Taken, *, first_wait_s: float) -> Settled:
    """What becomes of a row whose resource was read and then taken in, or not."""
    if taken.problem is None or not (taken.may_retry or taken.is_dead):
        return Settled(row, "done", taken.code)
    if taken.is_dead:
        return Settled(row, "dead", taken.code)
    if taken.problem.code in _OURS:
        wait_s = max(_jittered(first_wait_s), taken.problem.retry_after_s or 0)
        return Settled(row, "pending", taken.code, wait_ms=_ms(wait_s), charged=False)
    if row.attempts >= MAX_TRIES:
        return Settled(row, "dead", taken.code)
    wait_ms = _wait_ms(row.attempts, first_wait_s, taken.problem.retry_after_s)
    return Settled(row, "pending", taken.code, wait_ms=wait_ms)


def _wait_ms(attempts: int, first_wait_s: float, asked_s: float | None) -> int:
    wait_s = min(_MAX_WAIT_S, first_wait_s * _GROWTH ** min(attempts - 1, 20))
    return _ms(max(_jittered(wait_s), asked_s or 0.0))


def _jittered(wait_s: float) -> float:
    # Half to whole: what failed together must not come back together.
    return wait_s * random.uniform(0.5, 1.0)  # noqa: S311


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
