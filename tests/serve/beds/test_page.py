"""The page `/beds` in a real headless Chromium: numbers, filters, keyboard, staleness, contrast and zoom, print."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from fastapi import FastAPI
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.beds.census import HospitalCensus
from tests.serve.beds.browser import AXE, chromium, require_browser, wait_for
from tests.serve.beds.hospital import InventedSource, bed_app, served

HOSTILE = '<img src=x onerror="window.hurt=1">'


def changed(census: HospitalCensus) -> HospitalCensus:
    """One ward with markup in its name, two beds too few in another."""
    beds = {**census.staffed_beds, "Surgery": 8, HOSTILE: 4}
    return replace(census, staffed_beds=beds)


class Faulty:
    """The app, made to fail or to be stale on demand."""

    def __init__(self, app: FastAPI) -> None:
        self._app: ASGIApp = app
        self.fails = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.fails.is_set() and scope["path"].startswith("/v1"):
            body = json.dumps({"detail": "the record is locked"}).encode()
            headers = [(b"content-type", b"application/problem+json")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def source() -> InventedSource:
    return InventedSource(change=changed)


@pytest.fixture(scope="module")
def app(source: InventedSource) -> Faulty:
    return Faulty(bed_app(source))


@pytest.fixture(scope="module")
def url(app: Faulty) -> Iterator[str]:
    require_browser()
    with served(app) as root:  # type: ignore[arg-type]
        yield root


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser: Chrome, url: str) -> Chrome:
    browser.get(f"{url}/beds")
    shown(browser)
    return browser


def shown(browser: Chrome) -> None:
    wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "#units-table tbody tr"))


def texts(browser: Chrome, selector: str) -> list[str]:
    return [each.text for each in browser.find_elements(By.CSS_SELECTOR, selector)]


def test_the_table_shows_what_the_api_answers(page: Chrome, url: str) -> None:
    answer = httpx.get(f"{url}/v1/beds/forecast", trust_env=False, timeout=60).json()
    names = texts(page, "#units-table tbody th")
    assert names == [unit["unit"] for unit in answer["units"]]
    cells = [text.split("\n")[0] for text in texts(page, "#units-table tbody tr:first-child td")]
    first = answer["units"][0]
    assert cells[0] == str(first["counts"]["patients_in"])
    assert cells[1] == str(first["staffed_beds"])
    assert abs(float(cells[5]) - first["days"][0]["expected_occupancy"]) < 0.2
    total = page.find_element(By.CSS_SELECTOR, "#units-table tfoot td").text.split("\n")[0]
    assert total == str(answer["hospital"]["counts"]["patients_in"])
    assert len(page.find_elements(By.CSS_SELECTOR, "#cards article")) == len(names) + 1


def test_a_name_with_markup_stays_text(page: Chrome) -> None:
    assert HOSTILE in texts(page, "#units-table tbody th")
    assert page.execute_script("return window.hurt") is None


def test_demo_numbers_are_marked(page: Chrome) -> None:
    assert "Do not run a hospital by it" in page.find_element(By.ID, "demo").text


def test_too_few_beds_are_said_in_words_not_colour_alone(page: Chrome) -> None:
    row = next(r for r in page.find_elements(By.CSS_SELECTOR, "#units-table tbody tr") if r.text.startswith("Surgery"))
    assert row.text.split("\n")[-1] == "likely"


def test_unit_days_and_order_change_the_view_and_the_address(page: Chrome) -> None:
    Select(page.find_element(By.ID, "unit")).select_by_visible_text("Oncology")
    assert texts(page, "#units-table tbody th") == ["Oncology"]
    Select(page.find_element(By.ID, "days")).select_by_visible_text("3")
    wait_for(lambda: len(page.find_elements(By.CSS_SELECTOR, "#cards svg .expected")) == 3)
    assert "unit=Oncology" in page.current_url
    page.refresh()
    shown(page)
    assert texts(page, "#units-table tbody th") == ["Oncology"]
    assert Select(page.find_element(By.ID, "days")).first_selected_option.text == "3"
    Select(page.find_element(By.ID, "unit")).select_by_visible_text("All units")
    Select(page.find_element(By.ID, "order")).select_by_visible_text("likeliest over first")
    assert texts(page, "#units-table tbody th")[0] == "Surgery"


def test_keyboard_alone_reaches_everything(page: Chrome) -> None:
    reached = []
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.execute_script("const a = document.activeElement; return a.id || a.className || a.tagName"))
    assert reached[0] == "skip"
    assert reached[1:6] == ["unit", "days", "order", "auto", "refresh"]
    assert "scroll" in reached
    assert "SUMMARY" in reached
    width = page.execute_script("return getComputedStyle(document.activeElement).outlineWidth")
    assert float(width.removesuffix("px")) >= 2


def test_old_numbers_stay_and_say_so_when_the_service_fails(page: Chrome, app: Faulty) -> None:
    before = texts(page, "#units-table tbody tr")
    app.fails.set()
    try:
        page.find_element(By.ID, "refresh").click()
        alert = wait_for(lambda: page.find_element(By.CSS_SELECTOR, "[role=alert]").text)
    finally:
        app.fails.clear()
    assert "the record is locked" in alert
    assert "The numbers below are of" in alert
    assert texts(page, "#units-table tbody tr") == before
    page.find_element(By.ID, "refresh").click()
    wait_for(lambda: not page.find_element(By.CSS_SELECTOR, "[role=alert]").text)


def test_stale_data_are_marked(page: Chrome, source: InventedSource) -> None:
    def old(census: HospitalCensus) -> HospitalCensus:
        return replace(changed(census), last_update=census.now - timedelta(hours=5))

    source.change = old
    try:
        page.find_element(By.ID, "refresh").click()
        wait_for(lambda: "OUT OF DATE" in page.find_element(By.ID, "as-of").text)
    finally:
        source.change = changed
    assert any("Encounter updates have stopped" in text for text in texts(page, "#warnings .bad"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Chrome, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for details in page.find_elements(By.CSS_SELECTOR, "details"):
        page.execute_script("arguments[0].open = true", details)
    # With the CSP in force a page takes no script from outside: the driver's own evaluation does.
    page.execute_script(AXE.read_text(encoding="utf-8") + "\nwindow.axe = axe;")
    run = "const done = arguments[arguments.length - 1]; axe.run(document).then(done)"
    page.set_script_timeout(60)
    found = page.execute_async_script(run)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["passes"]
    assert [(each["id"], [n["target"] for n in each["nodes"]][:3]) for each in found["violations"]] == []


def test_it_reflows_at_400_percent_zoom(page: Chrome) -> None:
    # WCAG 1.4.10: 320 CSS pixels are a window of 1280 at 400%. Tables may scroll in their own region.
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        wide = page.execute_script("return document.documentElement.scrollWidth")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 320


def test_it_prints_without_controls(page: Chrome) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find_element(By.ID, "controls").is_displayed()
    assert page.find_element(By.ID, "units-table").is_displayed()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000


def test_charts_have_a_text_that_says_the_numbers(page: Chrome) -> None:
    for chart in page.find_elements(By.CSS_SELECTOR, "#cards svg"):
        assert chart.get_attribute("role") == "img"
        assert "80%" in chart.get_attribute("aria-label")


def test_only_this_service_is_asked_and_nothing_is_refused(page: Chrome, url: str) -> None:
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"}
    foreign = {each for each in urls if each.startswith(("http", "ws")) and not each.startswith(url)}
    assert f"{url}/beds" in urls
    assert not foreign
    problems = [e for e in page.get_log("browser") if e["level"] == "SEVERE" and "503" not in e["message"]]
    assert problems == []
