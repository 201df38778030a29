from __future__ import annotations

import json
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from lang1.bundle import MANIFEST, load_bundle
from lang1.registry import NotRegisteredError, Registry, RegistryError

Bundles = tuple[Path, Path, Path]
WHO: dict[str, Any] = {"actor": "ana", "reason": "for the test"}


def test_a_bundle_is_copied_in_once_and_can_be_loaded(registry: Registry, plain_bundles: Bundles) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO, evidence={"run": 7})
    assert sha256 == load_bundle(plain_bundles[0]).sha256
    assert registry.add(plain_bundles[0], **WHO) == sha256
    assert registry.bundle(sha256).manifest.version == "1.0.0"
    (listed,) = registry.listed()
    assert (listed.sha256, listed.version, listed.added_by, listed.channels) == (sha256, "1.0.0", "ana", ())
    assert [(e.action, e.evidence.get("run")) for e in registry.log()] == [("create", None), ("add", 7)]
    assert registry.find(sha256[:8]) == sha256
    assert [each.name for each in (registry.folder / "bundles").iterdir()] == [sha256]


@pytest.mark.parametrize("beginning", ["", "0" * 8, "../../etc"])
def test_a_hash_that_is_not_registered_is_said_so(registry: Registry, plain_bundles: Bundles, beginning: str) -> None:
    registry.add(plain_bundles[0], **WHO)
    with pytest.raises(NotRegisteredError):
        registry.find(beginning)
    with pytest.raises(NotRegisteredError):
        registry.path(beginning)


def _change_a_byte(folder: Path) -> None:
    (folder / "model.safetensors").write_text("other weights")


def _add_a_file(folder: Path) -> None:
    (folder / "extra.py").write_text("import os")


def _link_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")


def _drop_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize("spoil", [_change_a_byte, _add_a_file, _link_the_weights, _drop_the_manifest])
def test_a_spoilt_bundle_is_refused_with_the_reason_in_the_log(
    registry: Registry, plain_bundles: Bundles, tmp_path: Path, spoil: Any
) -> None:
    own = Path(shutil.copytree(plain_bundles[0], tmp_path / "own"))
    spoil(own)
    with pytest.raises(RegistryError, match="refused"):
        registry.add(own, **WHO)
    last = registry.log()[-1]
    assert last.action == "add-refused"
    assert last.actor == "ana"
    assert "own" in last.reason
    assert not list((registry.folder / "bundles").iterdir())


def test_a_bundle_that_is_damaged_in_the_registry_is_found_and_mended(
    registry: Registry, plain_bundles: Bundles
) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    weights = registry.path(sha256) / "model.safetensors"
    weights.chmod(0o600)
    weights.write_text("rot")
    with pytest.raises(RegistryError, match="changed after the bundle was sealed"):
        registry.bundle(sha256)
    registry.add(plain_bundles[0], **WHO)
    assert registry.bundle(sha256).sha256 == sha256


def test_a_folder_that_leads_elsewhere_is_refused(registry: Registry, plain_bundles: Bundles, tmp_path: Path) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    registry.path(sha256).rename(tmp_path / "moved")
    registry.path(sha256).symlink_to(tmp_path / "moved")
    with pytest.raises(RegistryError, match="link"):
        registry.bundle(sha256)


def test_another_bundle_under_the_hash_is_refused(registry: Registry, plain_bundles: Bundles) -> None:
    one, two = (registry.add(each, **WHO) for each in plain_bundles[:2])
    shutil.rmtree(registry.path(one))
    shutil.copytree(registry.path(two), registry.path(one))
    with pytest.raises(RegistryError, match="another bundle"):
        registry.bundle(one)


def test_only_the_owner_may_read_and_bundles_cannot_be_written(registry: Registry, plain_bundles: Bundles) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    assert stat.S_IMODE(registry.folder.stat().st_mode) == 0o700
    for path in registry.folder.rglob("*"):
        expected = 0o700 if path.is_dir() else 0o400 if sha256 in path.parts else 0o600
        assert (path.name, stat.S_IMODE(path.stat().st_mode)) == (path.name, expected)


def test_a_folder_that_a_group_shares_stays_shared(tmp_path: Path, plain_bundles: Bundles) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2770)
    registry = Registry.create(folder)
    sha256 = registry.add(plain_bundles[0], **WHO)
    registry.set_champion(sha256, **WHO)
    assert stat.S_IMODE(registry.path(sha256).stat().st_mode) == 0o2770
    for name in ("channels.json", "log.jsonl", "lock"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o660
    folder.chmod(0o777)
    with pytest.raises(RegistryError, match="everyone"):
        Registry.open(folder)


def test_a_foreign_folder_is_not_made_a_registry(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(RegistryError, match=r"dear\.txt"):
        Registry.create(tmp_path / "letters")
    with pytest.raises(RegistryError, match="already"):
        Registry.create(registry.folder)
    with pytest.raises(RegistryError, match="lang1 registry init"):
        Registry.open(tmp_path / "letters")


@pytest.mark.parametrize("name", ["channels.json", "log.jsonl", "registry.json", "lock"])
def test_a_link_in_the_place_of_a_file_is_not_followed(registry: Registry, tmp_path: Path, name: str) -> None:
    (registry.folder / name).rename(tmp_path / "elsewhere")
    (registry.folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RegistryError):
        Registry.open(registry.folder).note("hello", **WHO)


def test_a_changed_line_a_missing_one_and_channels_moved_by_hand_are_found(
    registry: Registry, plain_bundles: Bundles
) -> None:
    registry.set_champion(registry.add(plain_bundles[0], **WHO), **WHO)
    registry.note("hello", **WHO)
    registry.verify_log()
    path, channels = registry.folder / "log.jsonl", registry.folder / "channels.json"
    good = path.read_text()
    lines = good.splitlines(keepends=True)
    for spoilt, message in (
        (good.replace('"actor":"ana"', '"actor":"eve"', 1), "chain is broken before line 3"),
        ("".join(lines[:1] + lines[2:]), "chain is broken before line 2"),
        ("".join(lines[:2]), "cut off"),
        (good.replace('"champion"', '"chumpion"', 1), "line"),
    ):
        path.write_text(spoilt)
        with pytest.raises(RegistryError, match=message):
            registry.verify_log()
        path.write_text(good)
    moved = json.loads(channels.read_text()) | {"champion": "0" * 64}
    channels.write_text(json.dumps(moved))
    with pytest.raises(RegistryError, match="by hand"):
        registry.verify_log()


def test_a_torn_last_line_is_cut_off(registry: Registry) -> None:
    registry.note("hello", **WHO)
    with (registry.folder / "log.jsonl").open("a") as log:
        log.write('{"at":"2026-11-21T10:00:00Z","act')
    assert [entry.action for entry in registry.log()] == ["create", "hello"]
    registry.note("again", **WHO)
    registry.verify_log()
    assert [entry.action for entry in registry.log()] == ["create", "hello", "again"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"actor": ""}, "actor"),
        ({"reason": "\u00a0"}, "reason"),
        ({"actor": "a" * 300}, "actor"),
        ({"reason": "red \x1b[31m"}, "reason"),
        ({"evidence": {"auroc": float("nan")}}, "finite"),
        ({"evidence": {"rows": "x" * 70_000}}, "bytes"),
    ],
)
def test_words_that_the_log_does_not_take_are_refused(registry: Registry, given: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        registry.note("hello", **{**WHO, **given})
    assert len(registry.log()) == 1


def test_a_reason_of_several_lines_becomes_one(registry: Registry) -> None:
    registry.note("hello", actor="ana", reason="first\n\tsecond ")
    assert registry.log()[-1].reason == "first second"


def test_writers_wait_for_each_other(registry: Registry) -> None:
    def write(name: str) -> None:
        for _ in range(20):
            Registry.open(registry.folder).note("hello", actor=name, reason="at once")

    threads = [threading.Thread(target=write, args=(f"writer {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry.verify_log()
    assert len(registry.log()) == 81


def test_a_lock_that_is_held_for_too_long_is_an_error(registry: Registry) -> None:
    with registry.writing(), pytest.raises(RegistryError, match="another writer"), registry.writing(timeout_s=0.05):
        pass
    with registry.writing():
        # A reader does not wait.
        assert Registry.open(registry.folder).channels().revision == 0


def test_gate_reports_are_kept_logged_and_sealed(registry: Registry, plain_bundles: Bundles) -> None:
    champion, challenger = (registry.add(each, **WHO) for each in plain_bundles[:2])
    registry.set_champion(champion, **WHO)
    report = {"verdict": "fail", "reasons": ["AUROC fell"], "champion": champion, "tasks": {"a": 0.5}}
    registry.record_gate(challenger, report, actor="gate")
    assert registry.latest_gate(challenger) == report
    registry.record_gate(challenger, report | {"verdict": "pass", "reasons": []}, actor="gate")
    latest = registry.latest_gate(challenger)
    assert latest is not None
    assert latest["verdict"] == "pass"
    assert [(e.action, e.reason) for e in registry.log()[-2:]] == [
        ("gate-fail", "AUROC fell"), ("gate-pass", "the gate says pass"),
    ]  # fmt: skip
    path = registry.folder / "gates" / challenger / "2.json"
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(RegistryError, match="changed after the gate"):
        registry.latest_gate(challenger)


def test_a_gate_against_another_champion_does_not_count(registry: Registry, plain_bundles: Bundles) -> None:
    one, two, three = (registry.add(each, **WHO) for each in plain_bundles)
    registry.set_champion(one, **WHO)
    registry.record_gate(three, {"verdict": "pass", "reasons": [], "champion": one}, actor="gate")
    registry.set_champion(two, **WHO)
    assert registry.latest_gate(three) is None


@pytest.mark.parametrize(
    "report",
    [
        {"verdict": "splendid", "reasons": [], "champion": "0" * 64},
        {"verdict": "pass", "champion": "0" * 64},
        {"verdict": "pass", "reasons": [], "champion": "the old one"},
        {"verdict": "pass", "reasons": [], "champion": "0" * 64, "auroc": float("inf")},
    ],
)
def test_a_gate_report_of_another_shape_is_refused(
    registry: Registry, plain_bundles: Bundles, report: dict[str, Any]
) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    with pytest.raises(RegistryError, match="gate report"):
        registry.record_gate(sha256, report, actor="gate")
    assert registry.log()[-1].action == "add"


def test_a_registry_that_may_only_be_read_can_be_opened(registry: Registry, plain_bundles: Bundles) -> None:
    sha256 = registry.add(plain_bundles[0], **WHO)
    registry.set_champion(sha256, **WHO)
    registry.folder.chmod(0o500)
    try:
        opened = Registry.open(registry.folder)
        assert opened.bundle(sha256).sha256 == sha256
        opened.verify_log()
    finally:
        registry.folder.chmod(0o700)
