"""The images' Dockerfiles: one install script, no root, no compiler, the same Python and Ray for all of a cluster."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helm.chart import CHART, ROOT

IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def steps(path: Path) -> list[str]:
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_an_image_ends_as_the_charts_user(path: Path) -> None:
    users = [step.split()[1] for step in steps(path) if step.startswith("USER")]
    values = (CHART / "values.yaml").read_text()
    (user,) = re.findall(r"userId: (\d+)", values)
    (group,) = re.findall(r"groupId: (\d+)", values)
    assert users[-1] == f"{user}:{group}"


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_an_image_installs_by_the_one_script_and_nothing_else(path: Path) -> None:
    text = "\n".join(steps(path))
    assert "docker/install-python.sh /opt/lang1/venv" in text
    assert not re.search(r"apt-get|apk |pip3? install|gcc|build-essential|curl|wget|:latest", text)
    assert not re.search(r"^ADD ", text, re.MULTILINE)


def test_what_an_image_copies_is_there_and_is_let_into_the_build() -> None:
    path = ROOT / "docker" / "serve.Dockerfile"
    ignore = (ROOT / "docker" / "serve.Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for step in steps(path)
        if step.startswith("COPY") and "--from" not in step
        for source in step.split()[1:-1]
    ]
    assert copied
    for source in copied:
        kept = f"!{source}" if (ROOT / source).suffix or (ROOT / source).is_file() else f"!{source.rstrip('/')}"
        assert (ROOT / source).exists()
        assert kept in ignore, source


def test_an_image_holds_every_package_of_the_distribution() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {each.rstrip("*") for each in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    text = (ROOT / "docker" / "serve.Dockerfile").read_text()
    assert all(f"COPY {package} {package}\n" in text for package in packages)


def test_training_is_on_top_of_the_services_image() -> None:
    values = (CHART / "values.yaml").read_text()
    (version,) = re.findall(r"^appVersion: (\S+)", (CHART / "Chart.yaml").read_text(), re.MULTILINE)
    assert f"SERVE_IMAGE=lang1-serve:{version}" in (ROOT / "docker" / "train.Dockerfile").read_text()
    assert "repository: lang1-serve\n" in values
