"""A bounded number of HTTP clients, each used by one thread at a time.

httpcore's own pool is not safe between threads: in 1.0.9 it may close a connection that another thread was just given,
whose read then fails or hangs until its time-out (encode/httpcore issue 1110). A pool that only one thread uses cannot.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx


class Slots:
    """Makes clients as they are needed, `count` at most. Thread-safe."""

    def __init__(self, count: int, make: Callable[[], httpx.Client]) -> None:
        self._make = make
        # Last in, first out: the client used last has the warmest connection.
        self._free: queue.LifoQueue[httpx.Client | None] = queue.LifoQueue()
        self._count = count
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def one(self, wait_s: float) -> Iterator[httpx.Client]:
        """A client of one's own. Raises TimeoutError where none comes free in time."""
        try:
            client = self._free.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            raise TimeoutError from None
        try:
            client = client or self._make()
            yield client
        finally:
            self._free.put(client)

    def close(self) -> None:
        """Close the connections that are not in use; a later exchange opens its own."""
        taken = 0
        while taken < self._count:
            try:
                client = self._free.get_nowait()
            except queue.Empty:
                break
            taken += 1
            if client is not None:
                client.close()
        for _ in range(taken):
            self._free.put(None)
