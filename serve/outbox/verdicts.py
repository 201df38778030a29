"""What a failed write means: for its row, and for all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fhir_adapters.client.clock import Clock
from fhir_adapters.client.errors import ErrorKind, FhirServerError
from serve.outbox.work import After

# The server, or the way to it, is not there for anybody: no row is at fault.
_AWAY: Final = frozenset({None, 408, 425, 502, 503, 504})
_NOBODY: Final = frozenset({ErrorKind.THROTTLED, ErrorKind.UNAUTHORIZED, ErrorKind.SECURITY})
_NEVER: Final = frozenset(
    {ErrorKind.REJECTED, ErrorKind.FORBIDDEN, ErrorKind.NOT_FOUND, ErrorKind.TOO_LONG}
)  # fmt: skip
# 404 and 403 may be of one patient, or of a base URL or a scope that is wrong for all.
_SHARED: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.UNKNOWN_OUTCOME, ErrorKind.FORBIDDEN, ErrorKind.NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`shared`: other writes would probably fail as well, which counts for the breaker."""

    after: After
    shared: bool
    error: str
    """Kind, status and FHIR code: nothing of the server's text."""
    retry_after_s: float | None = None


def judge(error: FhirServerError, *, paused: bool = False) -> Verdict:
    """The verdict on a write that raised. `paused`: it was a probe of a server that is taken to be away."""
    kind = error.kind
    shown = "/".join(str(part) for part in (kind, error.status, error.code) if part is not None)
    if kind in _NOBODY or (kind is ErrorKind.UNAVAILABLE and error.status in _AWAY):
        return Verdict(After.WAIT, True, shown, error.retry_after_s)
    if kind is ErrorKind.UNKNOWN_OUTCOME and paused:
        return Verdict(After.WAIT, True, shown)
    return Verdict(After.DEAD if kind in _NEVER else After.TRY_AGAIN, kind in _SHARED, shown)


def delay_s(attempts: int, base_s: float, max_s: float, clock: Clock) -> float:
    """Seconds before the next try after `attempts` earlier ones: full jitter under a doubling bound."""
    return float(clock.random() * min(max_s, base_s * 2.0 ** min(attempts, 60)))
