"""Sending resources to a running service in batches, from outside: what `lang1 pull` does with an export."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from lang1.errors import Lang1Error
from serve.intake.settings import NOTE_RESOURCE

MAX_ENTRIES: Final = 50
MAX_BYTES: Final = 8 * 2**20
# What says that the same may be taken later.
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_ENTRY_TRIES: Final = 6
_MAX_WAIT_S: Final = 30.0


class FeedError(Lang1Error):
    """The service does not take what is sent: says why and the mend, nothing of what was sent."""

    code = "transient"


@dataclass(slots=True)
class Tally:
    """How many resources were taken in, and how many refused by issue code."""

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.taken + sum(self.refused.values())

    def add(self, other: Tally) -> None:
        """Count another's too."""
        self.taken += other.taken
        self.refused += other.refused


class ServiceFeed:
    """Posts batches to `POST {url}/fhir`. Thread-safe."""

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 120.0,
        retry_for_s: float = 600.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`retry_for_s` is how long a service that is away is waited for."""
        import ssl

        tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._client = httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False, verify=tls)
        self._url = f"{url.rstrip('/')}/fhir"
        self._token_file = token_file
        self._retry_for_s = retry_for_s
        self._sleep = sleep

    def close(self) -> None:
        self._client.close()

    def send(self, resources: Sequence[dict[str, Any]]) -> Tally:
        """Until each is taken in or refused for good. Raises FeedError when the service will not, or not in time."""
        tally = Tally()
        left = list(resources)
        for attempt in range(_ENTRY_TRIES):
            if attempt:
                self._sleep(_wait_s(attempt, None))
            again: list[dict[str, Any]] = []
            for resource, (status, code) in zip(left, self._post(left), strict=True):
                if status < 300:
                    tally.taken += 1
                elif status in _PASSING:
                    again.append(resource)
                else:
                    tally.refused[code] += 1
            left = again
            if not left:
                return tally
        raise FeedError(f"the service failed {_ENTRY_TRIES} times on the same resources; see its logs, and start again")

    def _post(self, resources: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
        """Status and issue code of each resource."""
        until = time.monotonic() + self._retry_for_s
        attempt = 0
        body = orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": [_entry(each) for each in resources]})
        while True:
            attempt += 1
            after: float | None = None
            try:
                answer = self._client.post(self._url, content=body, headers=self._headers())
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                why = type(error).__name__
            else:
                if answer.status_code == 200:
                    return _statuses(answer, len(resources))
                if answer.status_code == 413 and len(resources) > 1:
                    half = len(resources) // 2
                    return self._post(resources[:half]) + self._post(resources[half:])
                if answer.status_code == 413:
                    return [(413, "too-long")]
                if answer.status_code not in _PASSING:
                    raise FeedError(_refusal(answer.status_code))
                why = str(answer.status_code)
                after = _retry_after(answer)
            wait_s = _wait_s(attempt, after)
            if time.monotonic() + wait_s > until:
                raise FeedError(f"the service does not answer ({why}); start it, and start again with the same state")
            self._sleep(wait_s)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        if self._token_file is not None:
            # Read each time: tokens are renewed while a long export runs.
            try:
                headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"
            except (OSError, UnicodeDecodeError) as error:
                raise FeedError(
                    f"token file {self._token_file}: {type(error).__name__}; write the token into it"
                ) from None
        return headers


def batches(
    resources: Iterable[tuple[Any, dict[str, Any]]], max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Resources in groups that a request can hold, each with the place (as given) of its last one."""
    group: list[dict[str, Any]] = []
    size = 0
    last: Any = None
    for place, resource in resources:
        length = len(orjson.dumps(resource))
        if group and (len(group) >= max_entries or size + length > max_bytes):
            yield last, group
            group, size = [], 0
        group.append(resource)
        size += length
        last = place
    if group:
        yield last, group


def _entry(resource: dict[str, Any]) -> dict[str, Any]:
    kind = resource.get("resourceType")
    url = f"{NOTE_RESOURCE}/$score" if kind == NOTE_RESOURCE else str(kind)
    return {"resource": resource, "request": {"method": "POST", "url": url}}


def _statuses(answer: httpx.Response, wanted: int) -> list[tuple[int, str]]:
    try:
        entries = orjson.loads(answer.content)["entry"]
        found = [(int(each["response"]["status"][:3]), _code(each["response"])) for each in entries]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        found = []
    if len(found) != wanted:
        raise FeedError("the service's answer is not a batch-response; is this URL the service's own?")
    return found


def _code(response: dict[str, Any]) -> str:
    issues = (response.get("outcome") or {}).get("issue") or [{}]
    return str(issues[0].get("code", "unknown"))


def _refusal(status: int) -> str:
    mend = {
        401: "the token is missing, wrong or expired; renew the token file",
        403: "the token lacks the scope system/DocumentReference.c",
        404: "there is no such service; mend the URL",
    }
    return f"the service answered {status}: {mend.get(status, 'it does not take this; see its logs')}"


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) < 6 else None


def _wait_s(attempt: int, asked_s: float | None) -> float:
    wait_s: float = min(_MAX_WAIT_S, 0.25 * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
    return max(wait_s, min(asked_s or 0.0, _MAX_WAIT_S))
