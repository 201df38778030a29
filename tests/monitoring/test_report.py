"""`lang1 monitor replay` and its report: a table, JSON, and a page that needs no network, no script and no eyes."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lang1.cli import monitor
from monitoring.plots import Line, line_plot
from monitoring.report import HTML_FILE, JSON_FILE, Report
from tests.monitoring.streams import READMISSION, STAY, Hospital, simulate, write_files

runner = CliRunner()
app = typer.Typer()
app.add_typer(monitor.app, name="monitor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("replay")
    outcome = {READMISSION.name: (70, lambda z: z + 1.0)}
    write_files(simulate(Hospital(3, 120, 90, tasks=(STAY, READMISSION), outcome=outcome, shown=0.3)), made)
    return made


def call(folder: Path, *more: str, reference: str = "first 5 weeks") -> list[str]:
    files = ["--predictions", str(folder / "predictions.csv"), "--outcomes", str(folder / "outcomes.csv")]
    return ["monitor", "replay", *files, "--reference", reference, *more]


@pytest.fixture(scope="module")
def out(folder: Path) -> Path:
    done = runner.invoke(
        app, call(folder, "--out", str(folder / "out")), env={"COLUMNS": "200"}, catch_exceptions=False
    )
    assert done.exit_code == 0
    for word in ("alarms", "calibration", f"{READMISSION.name}/not shown/understated", "where the monitors stand"):
        assert word in done.output
    return folder / "out"


def test_the_json_report_holds_alarms_states_and_course(out: Path) -> None:
    report = Report.model_validate_json((out / JSON_FILE).read_text())
    assert {alarm.signal for alarm in report.alarms if alarm.kind == "calibration"} == {
        f"{READMISSION.name}/shown/understated",
        f"{READMISSION.name}/not shown/understated",
    }
    assert {final.state for final in report.final} <= {"alarm", "quiet", "insufficient", "immature"}
    assert report.state.weeks and report.state.quality and set(report.coverage) == {STAY.name, READMISSION.name}
    assert report.predictions[STAY.name] == 120 * 90


def test_json_on_standard_output_is_the_same_report(folder: Path, out: Path) -> None:
    done = runner.invoke(app, call(folder, "--json"), catch_exceptions=False)
    printed, written = json.loads(done.stdout), json.loads((out / JSON_FILE).read_text())
    assert printed["alarms"] == written["alarms"] and printed["state"] == written["state"]


def test_the_page_is_self_contained_and_accessible(out: Path) -> None:
    page = (out / HTML_FILE).read_text()
    assert not re.search(r"<script|https?://|@import|url\(|<img|<link", page)
    assert 'lang="en"' in page and "prefers-color-scheme:dark" in page and 'name="viewport"' in page
    plots = re.findall(r"<svg viewBox.*?</svg>", page)
    drawn = [plot for plot in plots if 'role="img"' in plot]
    assert len(drawn) >= 7
    for plot in plots:
        tree = ET.fromstring(plot)  # noqa: S314 - our own text
        if tree.get("role") == "img":
            ids = {node.get("id") for node in tree}
            assert set((tree.get("aria-labelledby") or "").split()) <= ids
        else:
            assert tree.get("aria-hidden") == "true"
    assert "nan" not in "".join(plots)
    assert page.count("<th ") == page.count('<th scope="col"') > 0
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_the_page_names_no_patient_and_no_encounter(out: Path) -> None:
    for name in (HTML_FILE, JSON_FILE):
        assert not re.search(rf"{STAY.name}-\d|{READMISSION.name}-\d", (out / name).read_text())


def test_words_of_a_file_are_text_and_not_markup() -> None:
    plot = line_plot("x", "<b>&", "a<b", [Line("<i>", [(0, 1.0), (1, float("nan"))])], x_labels=["<u>", "b"])
    ET.fromstring(plot)  # noqa: S314
    assert "<b>" not in plot and "<i>" not in plot and "<u>" not in plot


@pytest.mark.parametrize("reference", ["last 3 weeks", "missing.json", "first weeks"])
def test_a_wrong_reference_is_a_wrong_call(folder: Path, reference: str) -> None:
    done = runner.invoke(app, call(folder, reference=reference))
    assert done.exit_code == 2 and "first 8 weeks" in done.output


def test_a_missing_file_is_a_wrong_call(tmp_path: Path) -> None:
    done = runner.invoke(app, call(tmp_path))
    assert done.exit_code == 2 and "is not a file" in " ".join(done.output.split())
