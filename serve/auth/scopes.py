"""Scopes: SMART App Launch v2 system scopes, their v1 forms, and this service's own for routes that are not FHIR.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

SCORE: Final = "lang1/score"
BEDS_READ: Final = "lang1/beds.read"
OUTCOMES_WRITE: Final = "lang1/outcomes.write"
METRICS_READ: Final = "lang1/metrics.read"
NOTIFY: Final = "lang1/notify"
OPERATE: Final = "lang1/operate"
RETRAINING_ASK: Final = "lang1/retraining.ask"
OWN: Final = frozenset({SCORE, BEDS_READ, OUTCOMES_WRITE, METRICS_READ, NOTIFY, OPERATE, RETRAINING_ASK})

# With a query (`system/Observation.rs?category=…`) a scope grants less than its resource; that is not judged here, so
# such a scope grants nothing. `patient/` and `user/` scopes are of people at an app, not of systems.
_SYSTEM: Final = re.compile(r"system/(\*|[A-Z][A-Za-z]{1,63})\.(read|write|\*|(?=[cruds])c?r?u?d?s?)", re.ASCII)
_V1: Final = {"read": "rs", "write": "cud", "*": "cruds"}
EVERYTHING: Final = frozenset({"system/*.cruds", *OWN})


@lru_cache(maxsize=512)
def _parsed(scope: str) -> tuple[str, str] | None:
    """Resource type or `*`, and interactions out of `cruds`; None for anything else."""
    found = _SYSTEM.fullmatch(scope)
    return (found[1], _V1.get(found[2], found[2])) if found else None


def granted(values: Iterable[object]) -> frozenset[str]:
    """The scopes in claim values, each a string with spaces or a list of strings, as far as they mean anything here."""
    words: set[str] = set()
    for value in values:
        if isinstance(value, str):
            words.update(value.split(" "))
        elif isinstance(value, list):
            words.update(each for each in value if isinstance(each, str))
    return frozenset(word for word in words if len(word) <= 256 and (word in OWN or _parsed(word)))


def allows(scopes: frozenset[str], resource: str, interaction: str) -> bool:
    """Whether a system scope grants `interaction` (one of `c`, `r`, `u`, `d`, `s`) on a FHIR resource type."""
    return any(
        parsed is not None and parsed[0] in (resource, "*") and interaction in parsed[1]
        for parsed in map(_parsed, scopes)
    )


def satisfies(scopes: frozenset[str], wanted: str) -> bool:
    """Whether `wanted`, one scope as routes name it, is granted: an own scope, or `system/Type.x` with one letter."""
    parsed = _parsed(wanted)
    return wanted in scopes if parsed is None else all(allows(scopes, parsed[0], letter) for letter in parsed[1])
