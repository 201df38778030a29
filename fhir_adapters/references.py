"""Small readers of FHIR elements that are already known to be R4: references, identifiers, instants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

_PARTIAL_DATE: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_DATE_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


def objects(value: object) -> list[dict[str, Any]]:
    """The JSON objects in a list; an empty list for anything else. Null entries are passed over."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


MAX_REFERENCE_CHARS: Final = 1024
"""Longest literal reference or identifier token that is taken; a database's key columns need a bound."""


def is_storable(name: str) -> bool:
    """Whether a reference or token is of a sane length and free of control characters (PostgreSQL takes no NUL)."""
    return len(name) <= MAX_REFERENCE_CHARS and not any(character < " " or character == "\x7f" for character in name)


def text_of(element: object, name: str) -> str | None:
    """The non-empty string at `name`; None when absent or not a string."""
    value = element.get(name) if isinstance(element, dict) else None
    return value if isinstance(value, str) and value else None


def identifier_token(identifier: object) -> str | None:
    """An Identifier as a search token, `system|value` (or `|value` without a system); None without a value."""
    value = text_of(identifier, "value")
    return None if value is None else f"{text_of(identifier, 'system') or ''}|{value}"


def identifier_from_token(token: str) -> dict[str, str]:
    """The Identifier of `system|value`: the inverse of `identifier_token`."""
    system, _, value = token.partition("|")
    return {"system": system, "value": value} if system else {"value": value}


def reference(literal: str | None, token: str | None) -> dict[str, Any] | None:
    """A Reference by literal (`Patient/1`), else by identifier (`system|value`); None when both are absent."""
    if literal is not None:
        return {"reference": literal}
    return None if token is None else {"identifier": identifier_from_token(token)}


def parse_instant(value: str) -> datetime | None:
    """A FHIR dateTime with time and zone as an aware datetime; None for a partial date or a value that is no time."""
    if not _DATE_TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def is_date_time(value: str) -> bool:
    """Whether the string is an R4 dateTime: YYYY, YYYY-MM, YYYY-MM-DD or a full time with zone."""
    if parse_instant(value) is not None:
        return True
    if not _PARTIAL_DATE.fullmatch(value):
        return False
    try:
        datetime.fromisoformat((value + "-01-01")[:10])
    except ValueError:
        return False
    return True


def codings(concept: object) -> list[dict[str, Any]]:
    """The codings of a CodeableConcept; an empty list when it has none."""
    return objects(concept.get("coding")) if isinstance(concept, Mapping) else []
