"""Parsing with fhir.resources' R4B models, in a way whose errors name elements and never values.

R4B is the nearest that fhir.resources 8.3 has to R4; the checks that it leaves out are made where the resource is read.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any, Final

from fhir_adapters.errors import FhirInputError

_PLAIN_WORDS: Final = {
    "missing": "is required",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}


@lru_cache(maxsize=64)
def _model(resource_type: str) -> Any:
    # Imported at first use: the models take 0.3 s, and a command line that never parses FHIR should not pay for them.
    return getattr(importlib.import_module(f"fhir.resources.R4B.{resource_type.lower()}"), resource_type)


def check_resource_type(resource: dict[str, Any], *expected: str) -> None:
    """Raise FhirInputError (422 invalid) unless `resourceType` is one of `expected`. What was got is not echoed."""
    if resource.get("resourceType") not in expected:
        raise FhirInputError(
            f"resourceType is not {' or '.join(expected)}; send that resource", code="invalid", expression=expected[0]
        )


def validate_structure(resource: dict[str, Any], resource_type: str) -> None:
    """Check cardinalities, types and element names of a resource against R4B.

    Raises FhirInputError: 422 required for a missing element, 422 structure for an unknown one, 422 value for the rest.
    Only names that the FHIR model itself knows are repeated: an unknown name is the sender's words and may be anything.
    """
    from pydantic import ValidationError

    try:
        _model(resource_type).model_validate(resource)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _from_pydantic(first["type"], first["loc"], resource_type) from None
    except Exception:
        # The models' own validators raise bare ValueError, TypeError and KeyError for some shapes, with values in them.
        raise FhirInputError(
            f"the {resource_type} has an element of a type that FHIR R4 does not allow; check it with a validator",
            code="invalid",
            expression=resource_type,
        ) from None


def _from_pydantic(kind: str, location: tuple[int | str, ...], resource_type: str) -> FhirInputError:
    unknown = kind == "extra_forbidden"
    path = _fhir_path(location[:-1] if unknown else location, resource_type)
    if unknown:
        return FhirInputError(
            f"{path} has an element that FHIR R4 does not define there; remove it or move it into an extension",
            code="structure",
            status=422,
            expression=path,
        )
    # Some models check what is required themselves, and say `model_field_validation.missing`.
    kind = kind.rpartition(".")[2]
    complaint = _PLAIN_WORDS.get(kind, "has a value that FHIR R4 does not allow")
    return FhirInputError(
        f"{path} {complaint}; correct the resource", code="required" if kind == "missing" else "value", expression=path
    )


def _fhir_path(location: tuple[int | str, ...], resource_type: str) -> str:
    known = _element_names(resource_type)
    path = resource_type
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in known:
            path += f".{part}"
        else:
            break
    return path


@lru_cache(maxsize=64)
def _element_names(resource_type: str) -> frozenset[str]:
    """Every element name reachable in a few steps from the resource's model: the only names an error may repeat."""
    names: set[str] = set()
    _collect(_model(resource_type), names, 3)
    return frozenset(names)


def _collect(model: Any, names: set[str], steps: int) -> None:
    for field_name, field in model.model_fields.items():
        names.add(field.alias or field_name)
        if steps:
            for nested in _models_in(field.annotation):
                _collect(nested, names, steps - 1)


def _models_in(annotation: Any) -> list[Any]:
    inner = [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]
    return [*inner, annotation] if hasattr(annotation, "model_fields") else inner
