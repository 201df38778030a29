"""Faults to order: what goes wrong with the next requests, and how often it did."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tests.ehr.messages import Request

Kind = Literal["status", "delay", "drop-before", "drop-after", "truncate", "drip", "chunk", "redirect", "body"]


@dataclass(frozen=True)
class Fault:
    """`status`, `redirect` and `body` answer in place of the server; the others but `delay` come after the work.

    `delay_s` is before the work; with `drip`, between the bytes.
    """

    kind: Kind
    method: str | None = None
    path: str = ""
    status: int = 503
    code: str = "transient"
    retry_after_s: float | None = None
    delay_s: float = 0.0
    share: float = 0.5
    """How much of the body `truncate` sends."""
    location: str = ""
    body: bytes = b""
    content_type: str = "application/fhir+json"

    def matches(self, request: Request) -> bool:
        return self.method in (None, request.method) and re.search(self.path, request.path) is not None


class Faults:
    """Ordered faults come first, in the order in which they were ordered; then chance. `hits` counts by kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ordered: list[tuple[Fault, int]] = []
        self._chances: list[tuple[Fault, float]] = []
        self._random = random.Random(0)
        self.hits: Counter[str] = Counter()

    def add(self, fault: Fault, times: int = 1) -> None:
        """For the next `times` matching requests."""
        with self._lock:
            self._ordered.append((fault, times))

    def status(
        self, status: int, times: int = 1, *, method: str | None = None, path: str = "", code: str = "transient",
        retry_after_s: float | None = None,
    ) -> None:  # fmt: skip
        """Answer `status` with an OperationOutcome; nothing is done."""
        self.add(Fault("status", method, path, status, code, retry_after_s), times)

    def delay(self, delay_s: float, times: int = 1, *, method: str | None = None, path: str = "") -> None:
        """Answer late."""
        self.add(Fault("delay", method, path, delay_s=delay_s), times)

    def drop_before(self, times: int = 1, *, method: str | None = None, path: str = "") -> None:
        """Close the connection when the request was read; nothing is done."""
        self.add(Fault("drop-before", method, path), times)

    def drop_after(self, times: int = 1, *, method: str | None = None, path: str = "") -> None:
        """Do the work and close the connection in place of an answer."""
        self.add(Fault("drop-after", method, path), times)

    def truncate(
        self, times: int = 1, *, method: str | None = None, path: str = "", share: float = 0.5
    ) -> None:  # fmt: skip
        """Do the work, send the headers and a share of the body, close."""
        self.add(Fault("truncate", method, path, share=share), times)

    def drip(self, delay_s: float, times: int = 1, *, method: str | None = None, path: str = "") -> None:
        """Do the work and send the answer a byte at a time, `delay_s` apart."""
        self.add(Fault("drip", method, path, delay_s=delay_s), times)

    def chunk(self, times: int = 1, *, method: str | None = None, path: str = "") -> None:
        """Do the work and send the answer in chunks, its length not told."""
        self.add(Fault("chunk", method, path), times)

    def redirect(
        self, location: str, times: int = 1, *, status: int = 307, method: str | None = None, path: str = ""
    ) -> None:
        self.add(Fault("redirect", method, path, status, location=location), times)

    def body(
        self, body: bytes, times: int = 1, *, status: int = 200, content_type: str = "application/fhir+json",
        method: str | None = None, path: str = "",
    ) -> None:  # fmt: skip
        """Answer these bytes."""
        self.add(Fault("body", method, path, status, body=body, content_type=content_type), times)

    def at_random(self, seed: int, chances: Mapping[Fault, float]) -> None:
        """From now on each matching request meets the first fault whose chance comes up; `{}` ends it."""
        with self._lock:
            self._random = random.Random(seed)
            self._chances = list(chances.items())

    def clear(self) -> None:
        with self._lock:
            self._ordered.clear()
            self._chances.clear()

    def take(self, request: Request) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            fault = self._ordered_for(request) or self._chance_for(request)
            if fault is not None:
                self.hits[fault.kind] += 1
            return fault

    def _ordered_for(self, request: Request) -> Fault | None:
        for place, (fault, times) in enumerate(self._ordered):
            if fault.matches(request):
                if times > 1:
                    self._ordered[place] = (fault, times - 1)
                else:
                    del self._ordered[place]
                return fault
        return None

    def _chance_for(self, request: Request) -> Fault | None:
        for fault, chance in self._chances:
            if fault.matches(request) and self._random.random() < chance:
                return fault
        return None
