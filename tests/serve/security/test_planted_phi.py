"""Fake PHI in everything that the service takes; none of it in anything that its processes wrote, but the database."""

from __future__ import annotations

import base64
import itertools
import json
import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.documentreference import DocumentReference

from serve.auth.access import ROUTES
from tests.serve.notes import FHIR, TEXT
from tests.serve.security.plants import (
    BODIES,
    DOCUMENT,
    KNOWN_VALUES,
    WORD,
    Markers,
    Planted,
    at,
    attachments,
    leaves,
    marked,
    replaced,
)
from tests.serve.security.process_tree import open_files, tree
from tests.serve.service import RunningService

# A service to start and every route to call.
pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
# What a score is found by, in the database alone. Nothing else that was sent may lie there.
IN_DATABASE = re.compile(
    r"(\.|\s)(id|subject|encounter|masterIdentifier|identifier|relatesTo|context|reference|patient|url|fullUrl|value"
    r"|location|request|versionId|code)(\.|$)|^(id|path)\b|valueReference|valueCanonical"
)


@dataclass
class Sent:
    """What was planted and what came back."""

    markers: Markers
    since: float = field(default_factory=time.time)
    answers: list[tuple[Planted, httpx.Response]] = field(default_factory=list)


def headers(markers: Markers, place: str) -> dict[str, str]:
    """A marker in every header that a client or a proxy may send."""
    claims = {"sub": markers.new(f"{place} claim sub"), "patient": markers.new(f"{place} claim patient")}
    unsigned = ".".join(
        base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in ({"alg": "none"}, claims)
    )
    names = ("X-Request-Id", "User-Agent", "Referer", "Cookie", "Origin", "X-Forwarded-For", "Forwarded", "From",
             "traceparent", "tracestate", "baggage", "Prefer", "If-None-Match", "X-Request-Timeout-Seconds",
             "serve_multiplexed_model_id", "Accept-Language")  # fmt: skip
    return {"Authorization": f"Bearer {unsigned}."} | {name: markers.new(f"{place} header {name}") for name in names}


def paths(template: str, markers: Markers) -> list[str]:
    """The path with values that are routes, and with markers in their place."""
    names = re.findall(r"{(\w+)}", template)
    known, strange = template, template
    for name in names:
        known = known.replace(f"{{{name}}}", KNOWN_VALUES.get(name, markers.new(f"path {name}")))
        strange = strange.replace(f"{{{name}}}", markers.new(f"path {name}"))
    return [known, strange] if names else [known]


def planted_gets(api: dict[str, Any], markers: Markers) -> Iterator[Planted]:
    for template, operations in api["paths"].items():
        if "get" not in operations:
            continue
        declared = [each["name"] for each in operations["get"].get("parameters", []) if each["in"] == "query"]
        for path in paths(template, markers):
            yield Planted("GET", path, headers=headers(markers, path))
            yield Planted("GET", path, headers={"Accept": markers.new(f"{path} accept")})
            for name in (*declared, "_format", "_cursor", markers.new("query name")):
                yield Planted("GET", f"{path}?{name}={markers.new(f'query {name}')}")
    for name in ("subject", "patient"):
        yield Planted("GET", f"/fhir/RiskAssessment?{name}=Patient/{markers.new('path patient')}")


def planted_bodies(markers: Markers) -> Iterator[Planted]:
    for template, bodies in BODIES.items():
        kind = FHIR if template.startswith("/fhir") else JSON
        path = paths(template, markers)[0]
        for strange in paths(template, markers)[1:]:
            yield Planted("POST", strange, json.dumps(bodies[0]).encode(), kind)
        for body in bodies:
            whole = json.dumps(marked(body, markers, path)).encode()
            yield Planted("POST", path, whole, kind)
            yield Planted("POST", path, whole, kind | headers(markers, path))
            yield Planted("POST", f"{path}?x={markers.new('query x')}", whole, kind)
            yield Planted("POST", path, whole[:-2], kind)
            yield Planted("POST", path, whole, {"Content-Type": f"text/{markers.new('content type')}"})
            for place in leaves(body):
                if not _inside_document(body, place) or body is DOCUMENT:
                    name = f"{path} {'.'.join(map(str, place))}"
                    alone = replaced(body, place, markers.new(name))
                    yield Planted("POST", path, json.dumps(alone).encode(), kind)
                    key = markers.new(f"key {name}")
                    yield Planted("POST", path, json.dumps(replaced(body, place, {key: [key]})).encode(), kind)
        yield Planted("POST", path, json.dumps(markers.new("bare text")).encode(), kind)
        yield Planted("POST", path, markers.new("no JSON").encode() + b"\xff", kind)


def _inside_document(body: Any, place: tuple[Any, ...]) -> bool:
    return any(at(body, place[:depth]) is DOCUMENT for depth in range(len(place)))


def planted_attachments(markers: Markers) -> Iterator[Planted]:
    for _, attachment in attachments(lambda place: markers.new(f"attachment {place} data")):
        body = DOCUMENT | {"content": [{"attachment": attachment}]}
        yield Planted("POST", "/fhir/DocumentReference/$score", json.dumps(body).encode(), FHIR)


@pytest.fixture(scope="module")
def sent(service: RunningService) -> Sent:
    """Everything, eight requests at a time."""
    sent = Sent(Markers())
    api = service.client.get("/openapi.json").json()
    every = list(
        itertools.chain(
            planted_gets(api, sent.markers), planted_bodies(sent.markers), planted_attachments(sent.markers),
            [Planted("GET", f"/{sent.markers.new('path')}"), Planted("PUT", f"/fhir/{sent.markers.new('path')}/x")],
        )
    )  # fmt: skip

    def call(one: Planted) -> tuple[Planted, httpx.Response]:
        return one, service.client.request(one.method, one.path, content=one.body, headers=one.headers)

    with ThreadPoolExecutor(8) as pool:
        sent.answers = list(pool.map(call, every))
    return sent


def spellings() -> list[bytes]:
    """The word as it is, in UTF-16, and in base64 wherever it begins in a group of three bytes."""
    found = [WORD.encode(), WORD.encode("utf-16-le")]
    for before in range(3):
        text = base64.b64encode(b"\0" * before + WORD.encode() + b"\0" * 3)
        found.append(text[-(-before * 8 // 6) : (before + len(WORD)) * 8 // 6])
    return found


SPELLINGS = spellings()


def written(service: RunningService) -> set[Path]:
    """Every file of the service's own folders, and all that its processes hold open for writing, but the database."""
    folders = (service.log_dir.parent, service.state_dir, service.output.parent)
    every = [each for folder in folders for each in folder.rglob("*")] + open_files(tree(service.process.pid))
    return {each for each in every if each.is_file() and not each.name.startswith(service.database.name)}


def new_in_temp(since: float) -> set[Path]:
    """Files that lie loose in the temporary folder and are young; other programs' too, which never saw a marker."""
    found = set()
    for file in Path(tempfile.gettempdir()).iterdir():
        with suppress(OSError):
            if file.is_file() and file.stat().st_mtime >= since:
                found.add(file)
    return found


def test_the_sample_has_every_element_of_a_document_reference() -> None:
    elements = {each.alias or name for name, each in DocumentReference.model_fields.items()}
    # `implicitRules` and `modifierExtension` are refused wherever they stand, by the base specification.
    skipped = {"fhir_comments", "resource_type", "resourceType", "implicitRules", "modifierExtension"}
    assert {each for each in elements - skipped if not each.startswith("_")} <= DOCUMENT.keys()


def test_every_route_that_takes_a_body_has_one_here(service: RunningService) -> None:
    api = service.client.get("/openapi.json").json()
    taking = {path for path, operations in api["paths"].items() if operations.keys() - {"get"}}
    taking |= {path for method, path in ROUTES if method != "GET"}
    assert taking - BODIES.keys() == set(), "add a good body of the route to plants.BODIES"
    assert {path for method, path in ROUTES if method == "GET" and path in api["paths"]}


def test_the_good_ones_are_scored(sent: Sent) -> None:
    good = [answer for one, answer in sent.answers if one.body and answer.status_code == 200]
    assert len(good) > 40
    assert any(WORD in answer.text for answer in good)  # what was asked for is answered


def test_no_error_says_what_was_sent(sent: Sent) -> None:
    for one, answer in sent.answers:
        where = sent.markers.place(one.path + (one.body or b"").decode(errors="replace"))
        assert answer.status_code < 500 or answer.status_code == 502, (one.method, one.path, where, answer.text)
        assert WORD not in str(answer.headers), (one.method, where)
        if answer.status_code >= 400:
            assert WORD not in answer.text, (one.method, sent.markers.place(answer.text), answer.status_code)


def test_metrics_say_nothing_of_what_was_sent(sent: Sent, service: RunningService) -> None:
    assert WORD not in service.client.get("/metrics").text


def test_nothing_that_was_sent_is_in_a_file(sent: Sent, service: RunningService) -> None:
    own = written(service)
    assert any("replica" in file.name for file in own)
    assert len(own) > 20
    for file in own | new_in_temp(sent.since):
        content = file.read_bytes()
        words = [*SPELLINGS, *([TEXT[:30].encode()] if file in own else [])]
        found = next((word for word in words if word in content), None)
        assert found is None, (str(file), sent.markers.place(content.decode(errors="replace")), found)


def test_the_database_holds_names_and_no_text(sent: Sent, service: RunningService) -> None:
    content = b"".join(file.read_bytes() for file in service.state_dir.glob(service.database.name + "*"))
    assert TEXT[:30].encode() not in content
    numbers = {int(number) for number in re.findall(WORD.encode() + rb"(\d{5})", content)}
    assert numbers  # subjects and encounters are there to be found by
    places = sorted(sent.markers.places[number] for number in numbers)
    assert [place for place in places if not IN_DATABASE.search(place) or place.endswith(("display", "data"))] == []
