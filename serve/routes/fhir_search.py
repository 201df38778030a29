"""Query parameters of a RiskAssessment search to a SearchQuery, and back to paging links."""

from __future__ import annotations

import base64
import binascii
import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from fhir_adapters.canonical import ASSESSMENT_IDENTIFIER_SYSTEM
from serve.errors import Problem, ServiceError
from serve.store.records import SearchQuery

DEFAULT_COUNT = 50
MAX_COUNT = 500
PARAMETERS = ("subject", "patient", "encounter", "identifier", "_lastUpdated", "_id")
SHAPING = ("_count", "_sort", "_summary", "_total")
"""Parameters that choose no record, only what the page looks like."""
_CONTROL = (*SHAPING, "_totalMethod", "_cursor", "_format", "_pretty")
SUPPORTED = {
    "_sort": ("-_lastUpdated",),
    "_summary": ("count", "false"),
    "_total": ("none", "estimate", "accurate"),
    # Aidbox's word for `_total`, which its client sends to every server.
    "_totalMethod": ("count", "estimate", "none"),
}
_DATE = re.compile(
    r"(eq|ne|gt|lt|ge|le|sa|eb)?"
    r"(\d{4}(?:-\d{2}(?:-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:\d{2})?)?)?)?)"
)
_PAST, _FUTURE = 0, 2**62


def parse_search(parameters: list[tuple[str, str]]) -> SearchQuery:
    """The query. Raises ServiceError 400 for a parameter that is unknown or malformed: a search that silently drops a
    condition would show other patients' records. Values are never echoed.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in PARAMETERS and name not in _CONTROL:
            raise _bad(f"a search parameter is not known; known: {', '.join((*PARAMETERS, *SHAPING))}", "not-supported")
        if "\x00" in value or (not value and name not in _CONTROL):
            raise _bad(f"{name} is empty or holds a control character; give it a value or leave it out")
        if name in SUPPORTED and value not in SUPPORTED[name]:
            raise _bad(f"{name} is supported as {' or '.join(SUPPORTED[name])}; send that", "not-supported")
        given.setdefault(name, []).append(value)
    updated: list[tuple[int | None, int | None]] = []
    excluded: list[tuple[int, int]] = []
    for value in given.get("_lastUpdated", []):
        low, high, excludes = time_range(value)
        if excludes:
            excluded.append((low or _PAST, high or _FUTURE))
        else:
            updated.append((low, high))
    return SearchQuery(
        ids=_once(given, "_id", _any_of),
        subjects=_subjects(given),
        encounters=_once(given, "encounter", lambda value: references_of(value, "Encounter")),
        identifiers=_once(given, "identifier", _identifiers),
        updated=tuple(updated),
        not_updated=tuple(excluded),
        count=count_of(given),
        after=_cursor(given),
    )


def _once(given: dict[str, list[str]], name: str, read: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
    values = given.get(name, [])
    if len(values) > 1:
        raise _bad(f"{name} is given more than once; give one, with commas for a choice")
    return read(values[0]) if values else ()


def _any_of(value: str) -> tuple[str, ...]:
    return tuple(value.split(","))


def _subjects(given: dict[str, list[str]]) -> tuple[str, ...]:
    by_subject = _once(given, "subject", lambda value: references_of(value, "Patient"))
    by_patient = _once(given, "patient", lambda value: references_of(value, "Patient"))
    if by_subject and by_patient:
        both = tuple(each for each in by_subject if each in by_patient)
        # Two conditions that no record meets; an empty tuple would mean no condition at all.
        return both or ("",)
    return by_subject or by_patient


def references_of(value: str, kind: str) -> tuple[str, ...]:
    """`Patient/1`, `1` or an absolute URL."""
    return tuple(each if "/" in each or ":" in each else f"{kind}/{each}" for each in value.split(","))


def _identifiers(value: str) -> tuple[str, ...]:
    found = []
    for each in value.split(","):
        system, bar, code = each.rpartition("|")
        # Another system, or an explicit "no system", matches none of ours.
        found.append(code if not bar or system == ASSESSMENT_IDENTIFIER_SYSTEM else "")
    return tuple(found)


def count_of(given: dict[str, list[str]]) -> int:
    if "count" in given.get("_summary", []):
        return 0
    values = given.get("_count", [str(DEFAULT_COUNT)])
    if len(values) > 1 or not re.fullmatch(r"\d{1,9}", values[0]):
        raise _bad("_count must be one whole number")
    return min(int(values[0]), MAX_COUNT)


def time_range(value: str) -> tuple[int | None, int | None, bool]:
    """Half-open milliseconds of a FHIR date with prefix; the flag says that the range is excluded."""
    match = _DATE.fullmatch(value)
    if not match:
        raise _bad("_lastUpdated must be a FHIR date or instant, with or without a prefix such as ge")
    prefix, text = match.group(1) or "eq", match.group(2)
    try:
        start, end = _instants(text)
        low, high = _ms(start), _ms(end)
    except (ValueError, OverflowError):
        raise _bad("_lastUpdated is not a date of the calendar") from None
    ranges: dict[str, tuple[int | None, int | None]] = {
        "eq": (low, high), "ne": (low, high), "ge": (low, None), "gt": (high, None), "sa": (high, None),
        "le": (None, high), "lt": (None, low), "eb": (None, low),
    }  # fmt: skip
    return *ranges[prefix], prefix == "ne"


def _instants(text: str) -> tuple[datetime, datetime]:
    """First instant of a date of any precision, and the first instant after it. Without a zone: UTC."""
    if "T" in text:
        start = datetime.fromisoformat(text)
        start = start if start.tzinfo else start.replace(tzinfo=UTC)
        clock = re.split(r"Z|[+-]", text.partition("T")[2])[0]
        step = timedelta(milliseconds=1) if "." in clock else timedelta(seconds=1 if clock.count(":") == 2 else 60)
        return start, start + step
    start = datetime.fromisoformat((text + "-01-01")[:10]).replace(tzinfo=UTC)
    days = 1 if len(text) == 10 else monthrange(start.year, start.month)[1]
    if len(text) == 4:
        days = 366 if monthrange(start.year, 2)[1] == 29 else 365
    return start, start + timedelta(days=days)


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _cursor(given: dict[str, list[str]]) -> tuple[int, str] | None:
    if not given.get("_cursor"):
        return None
    try:
        at, _, last_id = base64.urlsafe_b64decode(given["_cursor"][0].encode("ascii")).decode("ascii").partition(":")
        if not re.fullmatch(r"[0-9a-f-]{36}", last_id) or not re.fullmatch(r"\d{1,15}", at):
            raise ValueError
        return int(at), last_id
    except (ValueError, binascii.Error):
        raise _bad("_cursor is not one of ours; follow the next link as it is") from None


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Links of a page."""

    self_url: str
    next_url: str | None


def page_links(base: str, parameters: list[tuple[str, str]], after: tuple[int, str] | None) -> PageLinks:
    """The page's own link and the next one's."""
    route = f"{base}/RiskAssessment"
    kept = [(name, value) for name, value in parameters if name != "_cursor"]
    own = urlencode(parameters)
    self_url = f"{route}?{own}" if own else route
    if after is None:
        return PageLinks(self_url, None)
    cursor = base64.urlsafe_b64encode(f"{after[0]}:{after[1]}".encode()).decode()
    return PageLinks(self_url, f"{route}?{urlencode([*kept, ('_cursor', cursor)])}")


def _bad(message: str, code: str = "value") -> ServiceError:
    return ServiceError(Problem(400, code, message))
