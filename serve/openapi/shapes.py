"""JSON Schema (2020-12) in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FILLED: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
TIME: Schema = {"type": "string", "format": "date-time"}
UUID: Schema = {"type": "string", "format": "uuid"}


def named(schema: str) -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/schemas/{schema}"}


def taken(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """An object in a request: nothing but these members."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def answered(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """An object in an answer: clients must expect members to be added."""
    return {"type": "object", "properties": properties, "required": list(required)}


def many(items: Schema, minimum: int = 0, maximum: int | None = None) -> Schema:
    """An array."""
    bounds = {"minItems": minimum} | ({} if maximum is None else {"maxItems": maximum})
    return {"type": "array", "items": items, **bounds}


def one_of(*values: str) -> Schema:
    """A string out of a closed list."""
    return {"type": "string", "enum": list(values)}


def exactly(value: str) -> Schema:
    """One string."""
    return {"const": value, "type": "string"}


def matching(pattern: str) -> Schema:
    """A string of a form (whole, as a regular expression of ECMA 262)."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}
