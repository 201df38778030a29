"""Boards as pages, from a real Prometheus with a day's history: what Grafana would draw, without Grafana."""

from __future__ import annotations

import re
import struct
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from lang1.cli.main import app
from lang1.tasks import BUILT_IN
from monitoring.board_data import fetch, legend, span_of
from monitoring.board_page import board_page
from monitoring.boards import boards
from monitoring.panels import Board, Panel, with_namespace
from monitoring.pictures import PictureError, take_picture
from monitoring.prometheus_api import MAX_POINTS, PrometheusApi, PrometheusError
from monitoring.units import shown
from tests.monitoring.test_alertmanager import tool
from tests.serve.beds.browser import AXE, chromium, require_browser
from tests.serve.service import free_port

HOURS = 6
END_S = int(time.time()) // 60 * 60 - 3600
BEGIN_S = END_S - HOURS * 3600
BOARDS = boards(BUILT_IN)
HOSTILE = '</title><script>alert(1)</script>"&'


def samples() -> Iterator[str]:
    """OpenMetrics: a model, then another; a drift signal with a gap; answers; a retraining."""
    yield "# TYPE lang1_model_info gauge"
    for version, (begin, end) in {"1": (0, 3), "2": (3, HOURS)}.items():
        for at in range(BEGIN_S + begin * 3600, BEGIN_S + end * 3600, 60):
            yield f'lang1_model_info{{namespace="here",model_version="{version}"}} 1 {at}'
    yield "# TYPE lang1_drift_statistic gauge"
    for i, at in enumerate(range(BEGIN_S, END_S, 60)):
        if not 120 <= i < 180:
            yield f'lang1_drift_statistic{{namespace="here",signal="notes/length"}} {i / 3600:.4f} {at}'
        yield f'lang1_drift_statistic{{namespace="other",signal="notes/types"}} 0.5 {at}'
    yield "# TYPE lang1_queue_depth gauge"
    for at in range(BEGIN_S, END_S, 60):
        yield f'lang1_queue_depth{{namespace="here"}} 7 {at}'
    yield "# TYPE lang1_retraining_last_end_timestamp_seconds gauge"
    done = BEGIN_S + 5 * 3600
    for at in range(done, END_S, 60):
        yield f'lang1_retraining_last_end_timestamp_seconds{{namespace="here",code="done"}} {done} {at}'
    yield "# EOF"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.txt").write_text("\n".join(samples()) + "\n")
    command = [tool("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    port = free_port()
    listen = f"--web.listen-address=127.0.0.1:{port}"
    running = subprocess.Popen(
        [tool("prometheus"), "--config.file=prometheus.yml", listen, "--storage.tsdb.path=data"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < until
            time.sleep(0.05)  # polls with a limit
        yield url
    finally:
        running.terminate()
        running.wait(20)


def board(uid: str) -> Board:
    return next(each for each in BOARDS if each.uid == uid)


def page_of(url: str, uid: str, namespace: str | None = "here") -> str:
    with PrometheusApi(url) as api:
        data = fetch(api, board(uid), span_of(END_S, HOURS * 3600, 60), namespace)
    return board_page(data, BOARDS, END_S)


def test_a_page_shows_what_the_board_asks_for(prometheus: str) -> None:
    page = page_of(prometheus, "lang1-drift")
    for row, panels in board("lang1-drift").rows.items():
        assert row in page
        assert all(panel.title.replace("'", "&#x27;") in page for panel in panels)
    assert "notes/length" in page
    assert "notes/types" not in page
    assert "from 0.06" in page
    # The last value is over the line, and 180 minutes later than 120.
    assert re.search(r"<td class=bad>0\.0997</td><td>0</td><td class=bad>0\.0997</td>", page)
    assert page.count("No data in this range.") > 3


def test_a_gap_is_a_gap(prometheus: str) -> None:
    figure = re.search(r"<svg[^>]*role=.img.*?</svg>", page_of(prometheus, "lang1-drift"), re.DOTALL)
    assert figure is not None
    drawn = ET.fromstring(figure[0])  # noqa: S314
    lines = [each for each in drawn.iter() if each.tag.endswith("polyline")]
    assert len(lines) == 2
    first_ends = float(lines[0].attrib["points"].split()[-1].split(",")[0])
    second_begins = float(lines[1].attrib["points"].split()[0].split(",")[0])
    assert second_begins - first_ends > 50


def test_deploys_and_retrainings_are_marked_where_they_were(prometheus: str) -> None:
    with PrometheusApi(prometheus) as api:
        data = fetch(api, board("lang1-drift"), span_of(END_S, HOURS * 3600, 60), "here")
    assert [(each.title, each.text) for each in data.moments] == [
        ("Deploy", "model 2"), ("Retrained", "a retraining job came to its end"),
    ]  # fmt: skip
    for moment, hour in zip(data.moments, (3, 5), strict=True):
        assert abs(moment.at_s - (BEGIN_S + hour * 3600)) <= 60
    assert board_page(data, BOARDS, END_S).count('class="mark-name"') >= 2


def test_every_query_of_every_board_is_taken(prometheus: str) -> None:
    with PrometheusApi(prometheus) as api:
        for each in BOARDS:
            for query in each.expressions():
                api.range(with_namespace(query, "here"), END_S - 600, END_S, 60)


def test_the_command_writes_all_boards(prometheus: str, tmp_path: Path) -> None:
    arguments = ["monitor", "report", "--prometheus", prometheus, "--out", str(tmp_path), "--last", "6h"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert {each.name for each in tmp_path.iterdir()} == {"index.html", *(f"{each.uid}.html" for each in BOARDS)}
    service = (tmp_path / "lang1-service.html").read_text()
    assert 'href="lang1-drift.html"' in service
    assert 'aria-current="page">service' in service
    for each in tmp_path.iterdir():
        text = each.read_text()
        assert "<script" not in text
        assert not re.search(r"(src|href)=.?(https?:)?//", text)


@pytest.mark.parametrize("arguments", [
    ["--last", "6"], ["--last", "0h"], ["--step", "x"], ["--until", "yesterday"], ["--until", "2026-01-01T00:00:00"],
    ["--board", "lang1-none"], ["--namespace", 'a"} or up{b="'],
])  # fmt: skip
def test_a_wrong_call_is_refused(arguments: list[str], tmp_path: Path) -> None:
    first = ["monitor", "report", "--prometheus", "http://127.0.0.1:9", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*first, *arguments])
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_prometheus_that_is_away_or_none_is_said(prometheus: str, tmp_path: Path) -> None:
    with PrometheusApi(f"http://127.0.0.1:{free_port()}") as api, pytest.raises(PrometheusError, match="not answer"):
        api.range("up", 0, 60, 60)
    with PrometheusApi(prometheus) as api, pytest.raises(PrometheusError, match=r"refuses a query: .*parse error"):
        api.range("up{", 0, 60, 60)
    with PrometheusApi(f"{prometheus}/elsewhere") as api, pytest.raises(PrometheusError, match="no Prometheus"):
        api.range("up", 0, 60, 60)
    for url in ("ftp://x", "http://", "http://user:secret@x", "prometheus:9090"):
        with pytest.raises(PrometheusError, match="the URL of Prometheus"):
            PrometheusApi(url)


def test_a_token_crosses_no_network_in_the_open(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-of-the-test\n")
    PrometheusApi("http://127.0.0.1:9090", token_file=token)
    PrometheusApi("https://prometheus.example.org", token_file=token)
    with pytest.raises(PrometheusError, match="https alone") as told:
        PrometheusApi("http://prometheus.example.org", token_file=token)
    assert "secret" not in str(told.value)
    with pytest.raises(PrometheusError, match="cannot be read"):
        PrometheusApi("http://127.0.0.1:9090", token_file=tmp_path / "none")


@pytest.mark.slow
def test_a_page_is_for_everyone_and_has_its_picture(prometheus: str, tmp_path: Path) -> None:
    require_browser()
    page = tmp_path / "board.html"
    page.write_text(page_of(prometheus, "lang1-drift", None))
    take_picture(page, tmp_path / "board.png")
    width, height = struct.unpack(">II", (tmp_path / "board.png").read_bytes()[16:24])
    with chromium() as browser:
        browser.get(page.as_uri())
        assert (width, height) == (1280, height)
        browser.set_script_timeout(60)
        browser.execute_script(AXE.read_text(encoding="utf-8") + "\nwindow.axe = axe;")
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            found = browser.execute_async_script(
                "const done = arguments[arguments.length - 1]; axe.run(document).then(done)"
            )
            assert found["passes"]
            assert [(each["id"], [n["target"] for n in each["nodes"]][:3]) for each in found["violations"]] == []
        assert [each for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []
        metrics = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert height >= browser.execute_script("return document.documentElement.scrollHeight") - 2
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics | {"width": 320})
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320


def test_without_a_browser_there_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PictureError, match="install chromium"):
        take_picture(tmp_path / "page.html", tmp_path / "page.png")


def test_labels_are_text_and_never_markup() -> None:
    from monitoring.board_data import BoardData, Moment, NamedSeries

    span = span_of(END_S, 600, 60)
    series = NamedSeries(HOSTILE, ((span.start_s, 1.0), (span.end_s, 2.0)))
    hostile = Board("u", HOSTILE, HOSTILE, {HOSTILE: (
        Panel(HOSTILE, {HOSTILE: "up"}, says=HOSTILE), Panel(HOSTILE, {HOSTILE: "up"}, single=True),
    )})  # fmt: skip
    data = BoardData(hostile, span, tuple((panel, (series,)) for panel in hostile.rows[HOSTILE]),
                     (Moment(HOSTILE, HOSTILE, END_S - 60.0),))  # fmt: skip
    page = board_page(data, [hostile], END_S)
    assert "<script" not in page
    assert page.count("</title>") == page.count("<title")


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0.1234, "percentunit", "12.3%"), (0.0, "s", "0 s"), (0.0123, "s", "12.3 ms"), (42.0, "s", "42 s"),
    (900.0, "s", "15 min"), (93_600.0, "s", "26 h"), (3.0, "h", "3 h"), (12_345.0, "short", "12.3k"),
    (1234.5, "short", "1234"), (2.5, "reqps", "2.5/s"), (float("nan"), "short", "–"),  # noqa: RUF001
])  # fmt: skip
def test_figures_have_their_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_a_legend_is_grafanas() -> None:
    assert legend("{{bound}}, shown {{ shown }}", {"bound": "low", "shown": "yes"}) == "low, shown yes"
    assert legend("{{none}}", {}) == "value"


def test_no_more_points_are_asked_for_than_prometheus_gives() -> None:
    for length_s, step_s in ((365 * 86_400.0, 1.0), (60.0, None), (3600.0, 0.001)):
        span = span_of(END_S, length_s, step_s)
        assert (span.end_s - span.start_s) / span.step_s < MAX_POINTS
        assert span.step_s >= 1
