"""The one error that FHIR input raises: an HTTP status, a FHIR IssueType, a message without content."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from lang1.errors import Lang1Error

HTTP_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "structure": 400,
        "login": 401,
        "expired": 401,
        "forbidden": 403,
        "not-found": 404,
        "invalid": 422,
        "code-invalid": 422,
        "required": 422,
        "value": 422,
        "business-rule": 422,
        "suppressed": 422,
        "not-supported": 422,
        "security": 422,
        "too-long": 422,
        "too-costly": 422,
        "exception": 500,
        "throttled": 503,
        "transient": 503,
        "no-store": 503,
        "timeout": 504,
    }
)
"""FHIR R4 IssueType to HTTP status, where the bad-input table of the serving contract names no other status."""


class FhirInputError(Lang1Error):
    """Input that cannot be taken. `message` says what, where and the mend, and never echoes what was sent.

    `status` is the HTTP status (from `HTTP_STATUS` unless given), `code` a FHIR R4 IssueType, `expression` a FHIRPath.
    """

    code: str  # type: ignore[misc]  # the base has one code a class; here each error carries its own

    def __init__(self, message: str, *, code: str, status: int | None = None, expression: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = HTTP_STATUS[code] if status is None else status
        self.expression = expression

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only fields are lost by Exception's own pickling, and errors cross process borders.
        return _rebuild, (self.message, self.code, self.status, self.expression)

    def at(self, prefix: str) -> FhirInputError:
        """The same error found inside a larger resource: `prefix` (a FHIRPath) goes before its place."""
        inner = self.expression.split(".", 1)[1] if self.expression and "." in self.expression else None
        return FhirInputError(
            self.message, code=self.code, status=self.status, expression=f"{prefix}.{inner}" if inner else prefix
        )


def _rebuild(message: str, code: str, status: int, expression: str | None) -> FhirInputError:
    return FhirInputError(message, code=code, status=status, expression=expression)


def http_status(error: Lang1Error) -> int:
    """The HTTP status of any of this project's errors: its own where it carries one, else by its issue code."""
    if isinstance(error, FhirInputError):
        return error.status
    return HTTP_STATUS.get(error.code, 500)


def from_lang1_error(error: Lang1Error, expression: str | None = None) -> FhirInputError:
    """A domain error (NoteError, UnknownTaskError) as a FhirInputError with the same code and message."""
    if isinstance(error, FhirInputError):
        return error
    return FhirInputError(str(error), code=error.code, status=http_status(error), expression=expression)
