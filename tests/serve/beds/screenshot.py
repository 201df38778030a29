"""Writes docs/images/beds.png: the page over an invented hospital, on a morning at half past seven.

python -m tests.serve.beds.screenshot
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from selenium.webdriver.common.by import By

from bench.beds_census import Record
from bench.beds_hospital import DAY, TIMEZONE, simulate
from serve.beds.census import HospitalCensus
from tests.serve.beds.browser import chromium, wait_for
from tests.serve.beds.hospital import bed_app, served, shifted

IMAGE = Path(__file__).parents[3] / "docs" / "images" / "beds.png"
SHOWN = datetime(2026, 11, 17, 7, 30, tzinfo=TIMEZONE)
_DAY = 258
"""Of the invented hospital: the same weekday as SHOWN."""
WIDTH, MOST_HEIGHT = 1280, 1640


class MorningSource:
    """The hospital at SHOWN, whenever it is asked."""

    def __init__(self) -> None:
        self._record = Record(simulate(7, 270))

    async def census(self, now: datetime, history_days: int) -> HospitalCensus:
        found = self._record.census(_DAY * DAY + 7 * 60 + 30, history_days)
        assert found.now.weekday() == SHOWN.weekday()
        # In UTC: between two times of one zone Python subtracts the wall clocks.
        return shifted(found, SHOWN.astimezone(UTC) - found.now.astimezone(UTC))


def main() -> None:
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    with served(bed_app(MorningSource())) as url, chromium(WIDTH, 1000) as browser:
        browser.get(f"{url}/beds")
        wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "#cards svg"))
        height = min(int(browser.execute_script("return document.documentElement.scrollHeight")), MOST_HEIGHT)
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.save_screenshot(str(IMAGE))
    print(IMAGE)


if __name__ == "__main__":
    main()
