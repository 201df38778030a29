"""How the tests are dealt out to two workers (`make test`): whoever shares a running service stays together."""

from __future__ import annotations

import os

import pytest

# Session fixtures that start a process; each is started once when all that use it run in one worker.
SHARED = ("service", "postgres_url")


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Before torch is imported: two workers with a pool of threads each would wait for one another.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        shared = next((name for name in SHARED if name in names), None)
        item.add_marker(pytest.mark.xdist_group(shared or item.nodeid.partition("::")[0]))
