"""A test EHR for each test, and a clock whose sleeps take no time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.clock import Clock
from fhir_adapters.client.wire import Timeouts
from tests.ehr.server import TestEhr


@dataclass
class FakeTime:
    """Real time plus what was slept; chance is always the same. The time of day is the real one."""

    slept: list[float] = field(default_factory=list)
    chance: float = 0.5
    offset_s: float = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(
            monotonic=lambda: time.monotonic() + self.offset_s,
            now=time.time,  # the server's clock runs on
            sleep=self._sleep,
            random=lambda: self.chance,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.offset_s += seconds


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def client(ehr: TestEhr, fake_time: FakeTime) -> Iterator[FhirClient]:
    made = FhirClient(ehr.url, timeouts=Timeouts(2, 5, 20), clock=fake_time.clock)
    yield made
    made.close()
