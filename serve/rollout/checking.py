"""What a start asks of the registry. Without Ray: its environment is set after this is imported."""

from __future__ import annotations

from serve.errors import SettingsError
from serve.settings import Settings


def replicas_of(settings: Settings) -> int:
    """How many processes the challenger has."""
    return settings.challenger_replicas or settings.scorer_replicas


def check_registry(settings: Settings) -> None:
    """Raise SettingsError where the registry cannot be opened or has no champion, before anything is started."""
    from lang1.registry import Registry, RegistryError

    folder = settings.resolved_registry
    if folder is None:
        return
    try:
        champion = Registry.open(folder).channels().champion
    except RegistryError as error:
        raise SettingsError(f"registry: {error}") from None
    if champion is None:
        raise SettingsError(f"registry: {folder} has no champion; set one with `lang1 registry champion`")
