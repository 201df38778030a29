"""Settings: where they come from, what they refuse, and that each is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from lang1 import DEMO_BUNDLE
from lang1.errors import Lang1Error
from serve.errors import SettingsError
from serve.settings import Settings, load_settings
from serve.settings_docs import settings_markdown


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANG1_SETTINGS_FILE", "LANG1_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_described_in_the_reference(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")
    assert f"| `{name}` |" in settings_markdown()


def test_arguments_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("port: 1001\ndeadline_s: 3\nmax_queued_notes: 7\n")
    monkeypatch.setenv("LANG1_PORT", "1002")
    monkeypatch.setenv("LANG1_DEADLINE_S", "4")
    chosen = load_settings(file, port=1003)
    assert (chosen.port, chosen.deadline_s, chosen.max_queued_notes, chosen.max_batch_tokens) == (1003, 4, 7, 4096)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot: 1\n", "'prot'"),
        ("port: 99999999\n", "port"),
        ("- a\n", "mapping"),
        ("a: [", "YAML"),
        ("deadline_s: x", "deadline_s"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=named):
        load_settings(file)


def test_an_unknown_variable_or_argument_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="'prot'"):
        load_settings(prot=1)
    monkeypatch.setenv("LANG1_PROT", "1")
    with pytest.raises(SettingsError, match="LANG1_PROT"):
        load_settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "hospital.example"])  # noqa: S104
def test_any_address_but_loopback_is_refused_without_authentication(host: str) -> None:
    with pytest.raises(SettingsError, match="there is no authentication; set auth_issuers"):
        load_settings(host=host)
    issuer = {"issuer": "https://idp.example", "audience": "x", "jwks_url": "https://idp.example/jwks"}
    assert load_settings(host=host, auth_issuers=[issuer]).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_addresses_start(host: str) -> None:
    assert load_settings(host=host).host == host


def test_many_writers_need_postgresql() -> None:
    with pytest.raises(SettingsError, match="SQLite"):
        load_settings(store_replicas=2)
    assert load_settings(store_replicas=2, database_url="postgresql+psycopg://h/d").store_replicas == 2


def test_a_wrong_setting_is_a_wrong_call_for_the_command_line() -> None:
    assert issubclass(SettingsError, Lang1Error)
    assert SettingsError.code == "invalid"


def test_the_demo_bundle_is_the_default_and_the_reference_holds_no_path_of_this_machine() -> None:
    assert load_settings().bundle == DEMO_BUNDLE
    assert "| `bundle` | the demo bundle |" in settings_markdown()
    assert str(Path.home()) not in settings_markdown()
    assert str(DEMO_BUNDLE.parent) not in settings_markdown()


def test_a_database_password_is_not_shown(tmp_path: Path) -> None:
    assert "geheim" not in repr(load_settings(database_url="postgresql+psycopg://u:geheim@h/d"))


def test_probability_scale_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG1_PROBABILITY_SCALE", "100")
    assert load_settings().probability_scale == 100


def test_no_two_groups_share_the_name_of_a_check() -> None:
    """The one of a later base class would be dropped without a word."""
    owners: dict[str, list[str]] = {}
    for group in Settings.__mro__:
        checks = getattr(group, "__pydantic_decorators__", None)
        for name in [] if checks is None else (*checks.field_validators, *checks.model_validators):
            if name in vars(group):
                owners.setdefault(name, []).append(group.__name__)
    assert owners
    assert {name: groups for name, groups in owners.items() if len(groups) > 1} == {}
