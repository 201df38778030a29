"""A process that dies between any two file operations, or in the middle of a write, leaves a registry that works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lang1.bundle import load_bundle
from lang1.registry import Registry, rollout
from lang1.registry import files as registry_files
from tests.lang1.registry import crash_driver

Bundles = tuple[Path, Path, Path]
WHO: dict[str, Any] = {"actor": "ben", "reason": "after the crash"}
DEEDS = tuple(crash_driver.DEEDS)


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory, plain_bundles: Bundles) -> dict[str, list[dict[str, str]]]:
    scratch = tmp_path_factory.mktemp("crashes")
    command = [sys.executable, "-m", "tests.lang1.registry.crash_driver", *map(str, (scratch, *plain_bundles[:2]))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, str]]] = {deed: [] for deed in DEEDS}
    for line in done.stdout.splitlines():
        crash = json.loads(line)
        found[crash["deed"]].append(crash)
    return found


@pytest.mark.parametrize("deed", [each for each in DEEDS if each != "create"])
def test_the_registry_opens_and_its_champion_loads(
    deed: str, crashes: dict[str, list[dict[str, str]]], plain_bundles: Bundles
) -> None:
    one, two = (load_bundle(each).sha256 for each in plain_bundles[:2])
    champions = set()
    assert any(each["before"] == "write" for each in crashes[deed])
    for crash in crashes[deed]:
        registry = Registry.open(Path(crash["folder"]))
        champion = registry.channels().champion
        assert champion in {one, two}, crash
        assert registry.bundle(champion).sha256 == champion, crash
        registry.verify_log()
        left = {each.name for each in (registry.folder / "bundles").iterdir()}
        assert left <= {one, two}, crash
        champions.add(champion)
    assert champions == ({one, two} if deed in {"champion", "promote"} else {one})


@pytest.mark.parametrize("deed", DEEDS)
def test_doing_it_again_ends_it(deed: str, crashes: dict[str, list[dict[str, str]]], plain_bundles: Bundles) -> None:
    one, two = (load_bundle(each).sha256 for each in plain_bundles[:2])
    for crash in crashes[deed]:
        folder = Path(crash["folder"])
        if deed == "create":
            if not (folder / "registry.json").exists():
                Registry.create(folder)
            registry = Registry.open(folder)
            assert registry.channels().revision == 0, crash
        else:
            registry = Registry.open(folder)
            if deed == "champion":
                assert registry.add(plain_bundles[1], **WHO) == two, crash
            if deed == "champion" and registry.channels().champion != two:
                registry.set_champion(two, **WHO)
            if deed == "promote" and registry.channels().in_rollout:
                rollout.promote(registry, **WHO)
            if deed == "rollback" and registry.channels().in_rollout:
                rollout.rollback(registry, **WHO)
            expected = two if deed in {"champion", "promote"} else one
            assert registry.channels().champion == expected, crash
            assert not registry.channels().in_rollout
        registry.verify_log()


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of what was synced and renamed, as it came."""
    found: list[str] = []
    real_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        found.append(f"replace {Path(target).name}")
        return real_replace(self, target)

    def fsync(descriptor: int) -> None:
        found.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    yield found


def test_bytes_are_on_the_disk_before_the_name_is(registry: Registry, plain_bundles: Bundles, order: list[str]) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    registry.set_champion(sha256, **WHO)
    moved = order.index(f"replace {sha256}")
    assert {"fsync model.safetensors", "fsync lang1.json", "fsync bundle"} <= set(order[:moved])
    assert order[moved + 1 :] == [
        "fsync bundles", "fsync log.jsonl",
        "fsync log.jsonl", "fsync .channels.json.new", "replace channels.json", "fsync registry",
    ]  # fmt: skip


def test_an_adder_that_lives_is_left_alone(
    registry: Registry, plain_bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    real = registry_files.sync_folder

    def look(folder: Path) -> None:
        if folder.name == "bundle":
            opened.append(Registry.open(registry.folder).channels())
            assert (folder / "model.safetensors").exists()
        real(folder)

    monkeypatch.setattr("lang1.registry.bundles.sync_folder", look)
    registry.add(plain_bundles[0], **WHO)
    assert opened
