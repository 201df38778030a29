"""A real headless Chromium of the machine's own packages, with a profile that is thrown away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

AXE = Path(__file__).parents[2] / "node" / "node_modules" / "axe-core" / "axe.min.js"
T = TypeVar("T")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    # Nothing but this machine can be reached: a request elsewhere fails and shows.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server", "--lang=en-GB",
)  # fmt: skip


def missing_reason() -> str | None:
    """Why the page cannot be tested here, or None."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed; apt-get install chromium chromium-driver"
    if not AXE.is_file():
        return "axe-core is absent; run `npm ci` in tests/node"
    return None


def require_browser() -> None:
    """Skip the calling test, with the reason, where there is no browser; fail it when LANG1_REQUIRE_ALL is set."""
    if reason := missing_reason():
        if os.environ.get("LANG1_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def chromium(width: int = 1400, height: int = 1000) -> Iterator[Chrome]:
    """A driver that logs requests and console messages."""
    with tempfile.TemporaryDirectory(prefix="lang1-chromium-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        driver.set_page_load_timeout(60)
        try:
            yield driver
        finally:
            driver.quit()


def wait_for(found: Callable[[], T], limit_s: float = 30.0) -> T:
    """Poll until `found` gives something true. Raises AssertionError after the limit."""
    import time

    until = time.monotonic() + limit_s
    while not (value := found()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return value
