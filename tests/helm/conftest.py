"""A copy of the chart as it will be once the service authenticates its clients."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helm.chart import CHART

FLAG = "lang1/service-authentication: "


@pytest.fixture(scope="session")
def authenticating_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("chart") / "lang1"
    shutil.copytree(CHART, copy)
    file = copy / "Chart.yaml"
    # As it is now, or already as it will be.
    file.write_text(file.read_text().replace(f'{FLAG}"false"', f'{FLAG}"true"'))
    assert f'{FLAG}"true"' in file.read_text()
    return copy
