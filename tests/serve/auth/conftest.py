"""A provider for each test, and the API over a pipeline that records who asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.auth.idp import Idp


@pytest.fixture
def idp() -> Iterator[Idp]:
    running = Idp()
    yield running
    running.close()
