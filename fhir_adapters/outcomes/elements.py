"""What every fact is read by: identity, version, references as names, times, extensions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from fhir_adapters.errors import FhirInputError
from fhir_adapters.outcomes.facts import FactIdentity, Reading
from fhir_adapters.references import identifier_token, is_storable, objects, parse_instant, text_of

MAX_NAMES: Final = 50
# An index row of PostgreSQL takes 2,700 bytes.
_MAX_NAME_BYTES: Final = 1024
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_HISTORY: Final = re.compile(r"/_history/[^/]*$")
_CONDITIONAL: Final = re.compile(r"[A-Za-z]+\?identifier=([^&]*)")
_VERSION: Final = re.compile(r"[0-9]{1,15}")
# Clocks of two systems differ; a day more is a mistake that would keep every later version out.
_FUTURE: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """An aware datetime as milliseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def canonical_name(literal: str, base_url: str | None) -> str | None:
    """A literal reference as the name that facts are found by; None for a contained one.

    The EHR's own base URL and a version are left off; a search by identifier is the identifier.
    """
    if literal.startswith("#"):
        return None
    name = _HISTORY.sub("", literal)
    if base_url and name.startswith(base_url.rstrip("/") + "/"):
        name = name[len(base_url.rstrip("/")) + 1 :]
    if searched := _CONDITIONAL.fullmatch(name):
        name = unquote(searched[1])
        return name if "|" in name else f"|{name}"
    return name


def literal_variants(name: str, base_url: str | None) -> tuple[str, ...]:
    """How a reference to what goes by `name` may have been written: the inverse of `canonical_name`."""
    if "|" in name:
        return (name, f"Encounter?identifier={name}", f"Encounter?identifier={quote(name, safe='')}")
    return (name, f"{base_url.rstrip('/')}/{name}") if base_url else (name,)


def reference_names(element: object, path: str, base_url: str | None) -> tuple[str, ...]:
    """The names in a Reference: of its literal and of its identifier. Raises FhirInputError 422 value."""
    literal = text_of(element, "reference")
    token = identifier_token(element.get("identifier")) if isinstance(element, dict) else None
    names = [canonical_name(literal, base_url) if literal else None, token]
    return tuple(dict.fromkeys(checked_name(name, path) for name in names if name))


def checked_name(name: str, path: str) -> str:
    """The name, if a database can hold and index it. Raises FhirInputError 422 value."""
    if not is_storable(name) or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES or _has_surrogate(name):
        raise FhirInputError(
            f"{path} is over {_MAX_NAME_BYTES} bytes or holds a character that cannot be kept; correct it",
            code="value",
            expression=path,
        )
    return name


def _has_surrogate(name: str) -> bool:
    return any(0xD800 <= ord(character) <= 0xDFFF for character in name)


def identity(resource: dict[str, Any], reading: Reading) -> FactIdentity:
    """Names and version. Raises FhirInputError: 422 required without id and identifier, 422 value for a wrong one."""
    kind = str(resource["resourceType"])
    meta = resource.get("meta")
    own_id, raw = text_of(resource, "id"), resource.get("identifier")
    tokens = [token for each in objects(raw)[:MAX_NAMES] if (token := identifier_token(each))]
    if "id" in resource and (own_id is None or not _ID.fullmatch(own_id)):
        raise FhirInputError(
            f"{kind}.id is not an R4 id (letters, digits, - and ., 64 at most); correct it",
            code="value",
            expression=f"{kind}.id",
        )
    names = [f"{kind}/{own_id}"] if own_id else []
    names += [checked_name(token, f"{kind}.identifier") for token in tokens]
    if not names:
        raise FhirInputError(
            f"{kind} has neither an id nor an identifier with a value, so a later version could not be told from "
            "another resource; send one",
            code="required",
            expression=f"{kind}.id",
        )
    number = text_of(meta, "versionId") or ""
    return FactIdentity(
        type=kind,
        reference=names[0],
        names=tuple(dict.fromkeys(names)),
        updated_ms=_updated_ms(meta, kind, reading.now),
        version=int(number) if _VERSION.fullmatch(number) else 0,
    )


def _updated_ms(meta: object, kind: str, now: datetime) -> int | None:
    path = f"{kind}.meta.lastUpdated"
    if not isinstance(meta, dict) or meta.get("lastUpdated") is None:
        return None
    moment = parse_instant(str(meta["lastUpdated"]))
    if moment is None:
        raise FhirInputError(f"{path} is not an instant with time and zone; correct it", code="value", expression=path)
    refuse_future(moment, path, now)
    return to_ms(moment)


def refuse_future(moment: datetime, path: str, now: datetime) -> None:
    """Raise FhirInputError 422 value for what cannot have happened yet."""
    if moment > now + _FUTURE:
        raise FhirInputError(f"{path} lies in the future; correct it", code="value", expression=path)


def instant(element: object, name: str, path: str) -> datetime | None:
    """The time at `name`, None when absent. Raises FhirInputError 422 value for a date alone."""
    value = element.get(name) if isinstance(element, dict) else None
    if value is None:
        return None
    moment = parse_instant(str(value))
    if moment is None:
        raise FhirInputError(
            f"{path} is not a time with its zone; a date alone does not say which stay came first, nor the hour of a "
            "bed; send date, time and zone",
            code="value",
            expression=path,
        )
    return moment


def instant_or_day(element: object, name: str, path: str, at: time, zone: ZoneInfo) -> datetime | None:
    """The time at `name`; a date alone is at `at` on the hospital's clock. Raises FhirInputError 422 value."""
    value = element.get(name) if isinstance(element, dict) else None
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return datetime.combine(date.fromisoformat(value), at, tzinfo=zone)
        except ValueError:
            raise FhirInputError(f"{path} is no date; correct it", code="value", expression=path) from None
    return instant(element, name, path)


def extension(resource: dict[str, Any], url: str | None) -> dict[str, Any] | None:
    """The resource's extension of this URL; None when there is none."""
    if url is None:
        return None
    return next((each for each in objects(resource.get("extension")) if each.get("url") == url), None)


def check_code(resource: dict[str, Any], name: str, allowed: Sequence[str]) -> str:
    """The required code at `name`. Raises FhirInputError 422 required or code-invalid."""
    path, value = f"{resource['resourceType']}.{name}", resource.get(name)
    if value is None:
        raise FhirInputError(f"{path} is missing; send one of {', '.join(allowed)}", code="required", expression=path)
    if value not in allowed:
        raise FhirInputError(
            f"{path} is not one of {', '.join(allowed)}; send one of those codes", code="code-invalid", expression=path
        )
    return str(value)


def merged(parts: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All names, once each, in order."""
    return tuple(dict.fromkeys(name for part in parts for name in part))
