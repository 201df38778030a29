"""What `lang1 auth` asks: whether issuers can be used, and what a token would be answered."""

from __future__ import annotations

from dataclasses import dataclass

from serve.auth.bearer import BearerTokens
from serve.auth.caller import Caller
from serve.auth.faults import TokenError
from serve.auth.fetching import Fetcher
from serve.auth.gate import check_authentication
from serve.auth.jwks import KeySources
from serve.auth.oidc import Oidc
from serve.auth.settings import KeyPlace
from serve.errors import ServiceError, SettingsError
from serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Checked:
    """One issuer, and what came of asking it."""

    what: str
    good: bool
    result: str


async def check_issuers(settings: Settings) -> list[Checked]:
    """Every configured issuer; none without authentication. Raises SettingsError for files that cannot be used."""
    check_authentication(settings)
    fetcher = _fetcher(settings)
    keys = KeySources(settings, fetcher)
    places: list[tuple[str, KeyPlace]] = [
        *(("auth_issuers", each) for each in settings.auth_issuers),
        *(("cds_clients", each) for each in settings.cds_clients),
    ]
    found = [await _keys(f"{setting} {place.issuer}", keys, place) for setting, place in places]
    if settings.oidc_issuer is not None:
        what = f"oidc_issuer {settings.oidc_issuer}"
        try:
            provider = await Oidc(settings, settings.public_root, fetcher, keys).provider()
            await provider.jwks.find("", "RS256")
            found.append(Checked(what, True, f"redirect URI to register: {settings.public_root}/login/callback"))
        except ServiceError:
            found.append(Checked(what, False, "its configuration or its keys cannot be had"))
    return found


async def _keys(what: str, keys: KeySources, place: KeyPlace) -> Checked:
    try:
        await keys.of(place).find("", "RS256")
    except ServiceError:
        return Checked(what, False, "no JWK Set with a usable key is to be had from jwks_url")
    return Checked(what, True, "its keys can be used")


async def judge_token(settings: Settings, text: str) -> tuple[Caller | None, str]:
    """The caller that a bearer token proves; else None and why. Raises SettingsError without an issuer."""
    if not settings.auth_issuers:
        raise SettingsError("auth_issuers is empty, so no bearer token is taken; set it")
    try:
        return await BearerTokens(settings, KeySources(settings, _fetcher(settings))).caller(text), ""
    except TokenError as error:
        return None, error.problem.message
    except ServiceError as error:
        return None, error.problem.message
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _fetcher(settings: Settings) -> Fetcher:
    try:
        return Fetcher(settings.auth_ca_file)
    except ValueError as error:
        raise SettingsError(str(error)) from None
