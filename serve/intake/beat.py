"""A sign of life of a loop."""

from __future__ import annotations

import time


class Beat:
    """When a loop last got on, in monotonic seconds."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def now(self) -> None:
        """The loop got on."""
        self._at = time.monotonic()

    @property
    def age_s(self) -> float:
        """Seconds since."""
        return time.monotonic() - self._at
