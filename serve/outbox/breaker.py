"""When to write: pauses while the server is away, with one write now and then to see whether it is back."""

from __future__ import annotations

from fhir_adapters.client.clock import SYSTEM_CLOCK, Clock

_LONGEST = 12


class Breaker:
    """Of one writer, in one thread. `threshold` failures in a row, of whichever rows, open it.

    While it is open, one write is let through after each pause; pauses double from `pause_s` to 12 times that, with
    jitter. One success closes it.
    """

    def __init__(self, pause_s: float, *, threshold: int = 3, clock: Clock = SYSTEM_CLOCK) -> None:
        self._pause_s = pause_s
        self._threshold = threshold
        self._clock = clock
        self._failures = 0
        self._opened = 0
        self._until = 0.0
        self.code: str | None = None
        """Why it is open; None while it is closed."""

    def slots(self, concurrency: int, under_way: int) -> int:
        """How many more writes may begin now, with so many under way."""
        if self.code is None:
            return max(0, concurrency - under_way)
        return 1 if not under_way and self._clock.monotonic() >= self._until else 0

    def succeeded(self) -> None:
        """The server took a write, or answered for one."""
        self._failures = self._opened = 0
        self.code = None

    def failed(self, code: str, retry_after_s: float | None = None) -> None:
        """A write failed for a reason that others may share. `retry_after_s`: the server named a time, which counts
        at once and for all.
        """
        self._failures += 1
        if retry_after_s is None and self.code is None and self._failures < self._threshold:
            return
        self.code = code
        jittered_s = self._pause_s * min(_LONGEST, 2**self._opened) * (0.5 + 0.5 * self._clock.random())
        pause_s = jittered_s if retry_after_s is None else retry_after_s
        self._until = max(self._until, self._clock.monotonic() + pause_s)
        self._opened += 1
