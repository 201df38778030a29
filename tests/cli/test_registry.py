"""`lang1 registry` and `lang1 rollout`: what people and programs read, who is named, and the exit codes."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lang1.cli import main
from lang1.registry import Registry
from tests.lang1.registry.plain_bundle import make_plain_bundle


class Command:
    """`lang1 …` with the registry in the environment, as it would be on the service's machine."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("LANG1_REGISTRY", str(folder))
        monkeypatch.setenv("COLUMNS", "160")

    def __call__(self, *words: str, code: int = 0) -> str:
        self._monkeypatch.setattr(sys, "argv", ["lang1", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
            sys.exit(0)
        self.out, self.err = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, self.err
        return self.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def lang1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(capsys, monkeypatch, tmp_path / "registry")


@pytest.fixture
def pair(lang1: Command, tmp_path: Path) -> tuple[str, str]:
    lang1("registry", "init", str(tmp_path / "registry"))
    one, two = (
        lang1("registry", "add", str(make_plain_bundle(tmp_path / v, v)), "-m", f"version {v}").strip()
        for v in ("1.0.0", "1.1.0")
    )
    lang1("registry", "champion", one[:12], "--reason", "the first", "--as", "ana")
    return one, two


def test_the_whole_way_by_commands(lang1: Command, pair: tuple[str, str], tmp_path: Path) -> None:
    one, two = pair
    why = ("-m", "as planned", "--as", "ben")
    lang1("rollout", "shadow", two[:8], *why, code=1)
    assert "run the gate first" in lang1.err
    shadow = lang1.json("rollout", "shadow", two[:8], *why, "--force")
    assert (shadow["challenger"], shadow["stage"], shadow["approved_by"]) == (two, "shadow", None)
    lang1("rollout", "canary", *why, code=1)
    assert lang1.json("rollout", "approve", two, "-m", "reviewed", "--as", "dr. c")["approved_by"] == "dr. c"
    assert [lang1.json("rollout", "canary", *why)["share"]] == [5]
    assert "answers 5% of encounters" in lang1("rollout", "status")
    assert [lang1.json("rollout", "advance", *why)["share"] for _ in range(3)] == [25, 50, 100]
    assert lang1.json("rollout", "promote", *why)["champion"] == two
    assert lang1.json("rollout", "rollback", *why)["champion"] == one
    lang1("rollout", "rollback", *why, code=1)
    assert "no promotion to undo" in lang1.err
    out = lang1("registry", "log", "--limit", "3", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["actor"], line["action"]) for line in lines] == [
        ("ben", "promote"), ("ben", "rollback"), ("ben", "rollback-refused"),
    ]  # fmt: skip
    lang1("registry", "verify")
    assert "2 bundles" in lang1.err


def test_the_user_of_the_machine_is_named_where_nobody_else_is(lang1: Command, pair: tuple[str, str]) -> None:
    (first, *_) = lang1.json("registry", "list")
    assert first["added_by"] == getpass.getuser()
    assert (first["bundle_sha256"], first["channels"]) == (pair[0], ["champion"])
    assert pair[0][:12] in lang1("registry", "list")
    assert "the first" in lang1("registry", "log")


def test_what_was_changed_is_found(lang1: Command, pair: tuple[str, str], tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "registry")
    weights = registry.path(pair[1]) / "model.safetensors"
    weights.chmod(0o600)
    weights.write_text("other")
    log = registry.folder / "log.jsonl"
    log.write_text(log.read_text().replace("version 1.0.0", "version 9.0.0"))
    lang1("registry", "verify", code=1)
    assert "model.safetensors was changed" in lang1.err
    assert "chain is broken before line 3" in lang1.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("registry", "list", "--registry", "/nonexistent"), 1),
        (("registry", "champion", "0" * 8, "-m", "x"), 2),
        (("rollout", "advance"), 2),
        (("rollout", "explode", "-m", "x"), 2),
        (("rollout", "rollback", "-m", ""), 2),
    ],
)
def test_wrong_calls_are_2_and_failed_work_is_1(
    lang1: Command, pair: tuple[str, str], words: tuple[str, ...], code: int
) -> None:
    lang1(*words, code=code)


def test_without_a_registry_the_mend_is_named(lang1: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANG1_REGISTRY")
    lang1("rollout", "status", code=2)
    assert "--registry" in lang1.err
