"""Where an access token comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Protocol

from fhir_adapters.client.errors import ErrorKind, FhirServerError

TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
"""What a header can carry as a token."""


class TokenSource(Protocol):
    """Gives bearer tokens. Thread-safe."""

    def token(self, until: float) -> str | None:
        """A token that is good now; None where none is needed. `until` is on the client's monotonic clock.

        Raises FhirServerError: `unauthorized` where the server refuses us, `unavailable` where it does not answer.
        """
        ...

    def refused(self, token: str | None) -> bool:
        """The server answered 401 to `token`. True when another may be had by asking again."""
        ...


class NoToken:
    """For a server without authorisation."""

    def token(self, until: float) -> str | None:
        return None

    def refused(self, token: str | None) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A token that someone else got, as `fhirAuthorization` of a CDS Hooks call."""

    value: str = field(repr=False)

    def token(self, until: float) -> str | None:
        if not TOKEN.fullmatch(self.value):
            raise FhirServerError("the token that was given is not one (RFC 6750)", kind=ErrorKind.UNAUTHORIZED)
        return self.value

    def refused(self, token: str | None) -> bool:
        return False
