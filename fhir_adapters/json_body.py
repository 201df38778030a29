"""Bytes of a request to a JSON object, with limits that hold before anything recursive looks at them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

from fhir_adapters.errors import FhirInputError

MAX_DEPTH: Final = 64

# A string is skipped whole, closed or not (possessive, closing quote optional), so no input makes the scan quadratic.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class _DuplicateKeyError(Exception):
    pass


def parse_json_object(body: bytes, *, max_bytes: int | None = None, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """The JSON object in `body` (UTF-8, optional byte order mark).

    Raises FhirInputError: 413 too-long over `max_bytes`; 400 structure for broken JSON, invalid UTF-8, nesting deeper
    than `max_depth` (counted without recursion), NaN or Infinity, a name twice in one object, or a top level that is no
    object.
    """
    if max_bytes is not None and len(body) > max_bytes:
        raise FhirInputError(
            f"the body has {len(body)} bytes, over the cap of {max_bytes}; send fewer or shorter notes",
            code="too-long",
            status=413,
        )
    body = body.removeprefix(b"\xef\xbb\xbf")
    if _deeper_than(body, max_depth):
        raise _broken(f"the JSON is nested deeper than {max_depth} levels; send a flatter resource")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _broken(
            f"the body is not JSON in UTF-8 (line {error.lineno}, column {error.colno}); send one JSON object"
        ) from None
    if not isinstance(value, dict):
        raise _broken("the body's top level is not a JSON object; send one FHIR resource")
    _refuse_duplicate_names(body)
    return value


def _deeper_than(body: bytes, max_depth: int) -> bool:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        character = body[token.start()]
        if character in b"[{":
            depth += 1
            if depth > max_depth:
                return True
        elif character in b"]}":
            depth -= 1
    return False


def _refuse_duplicate_names(body: bytes) -> None:
    # orjson keeps the last of two equal names; another reader may keep the first and see another patient or status.
    def check(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise _DuplicateKeyError

    try:
        json.loads(body, object_pairs_hook=check, parse_int=str, parse_float=str)
    except _DuplicateKeyError:
        raise _broken("a name appears twice in one JSON object; send each element once") from None


def _broken(message: str) -> FhirInputError:
    return FhirInputError(message, code="structure", status=400)
