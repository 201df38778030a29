"""FHIR's REST of the test EHR: read, create, update, delete, search, batch, metadata."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.ehr.messages import Refused, Reply, Request, fhir
from tests.ehr.search import search, sort
from tests.ehr.store import Resource, ResourceStore


@dataclass
class Behaviour:
    """How real servers differ."""

    bodies: Literal["prefer", "always", "never"] = "prefer"
    """What a write answers: as `Prefer` asks, the resource, or nothing."""
    location: Literal["absolute", "relative", "unversioned", "none"] = "absolute"
    binary: Literal["accept", "json", "raw"] = "accept"
    update_as_create: bool = True
    page_size: int = 20
    unsupported_types: set[str] = field(default_factory=set)
    """Types that answer 404, as a server that does not know RiskAssessment."""
    ignored_params: set[str] = field(default_factory=set)
    """Search parameters that are passed over even where handling is strict."""
    next_link: str | None = None
    """Answered as the next page's link in place of the right one."""


class Rest:
    """Requests under the FHIR base, whose paths come without the base and without a leading slash."""

    def __init__(self, store: ResourceStore, behaviour: Behaviour, base_url: str) -> None:
        self._store = store
        self._behaviour = behaviour
        self._base_url = base_url
        self._pages: dict[str, list[Resource]] = {}
        self._page_ids = itertools.count(1)

    def answer(self, request: Request, path: str) -> Reply:
        """Raises Refused."""
        if path == "metadata":
            return fhir(self._capabilities())
        if path == "":
            if request.method == "POST":
                return self._batch(request)
            if request.param("_getpages"):
                return self._page(request.param("_getpages") or "", int(request.param("_getpagesoffset") or 0))
        found = re.fullmatch(r"([A-Z][A-Za-z]+)(?:/([A-Za-z0-9\-.]{1,64})(?:/_history/([A-Za-z0-9\-.]{1,64}))?)?", path)
        if found is None or found[1] in self._behaviour.unsupported_types:
            raise Refused(404, "not-supported")
        type_, id_, version = found.groups()
        match request.method, id_:
            case "GET", None:
                return self._search(request, type_)
            case "POST", None:
                return self._create(request, type_)
            case "GET", _:
                return self._read(request, f"{type_}/{id_}", version)
            case "PUT", str():
                return self._update(request, type_, id_)
            case "DELETE", str():
                self._store.delete(f"{type_}/{id_}")
                return Reply(204)
        raise Refused(405, "not-supported")

    def _read(self, request: Request, reference: str, version: str | None) -> Reply:
        resource = self._store.get(reference, version)
        if resource["resourceType"] == "Binary" and not self._binary_as_json(request):
            return Reply(200, base64.b64decode(resource["data"]), {"Content-Type": resource["contentType"]})
        return self._resource(resource, 200)

    def _binary_as_json(self, request: Request) -> bool:
        first = request.headers.get("accept", "").split(",")[0].partition(";")[0].strip()
        wanted = first in {"application/fhir+json", "application/json"}
        return wanted if self._behaviour.binary == "accept" else self._behaviour.binary == "json"

    def _create(self, request: Request, type_: str) -> Reply:
        resource = _resource_of(request, type_)
        resource.pop("id", None)
        with self._store.lock:
            if (condition := request.headers.get("if-none-exist")) is not None:
                found = search(self._store.of_type(type_), parse_qsl(condition), strict=True)
                if len(found) > 1:
                    raise Refused(412, "multiple-matches")
                if found:
                    return self._written(request, found[0], 200)
            return self._written(request, self._store.put(resource), 201)

    def _update(self, request: Request, type_: str, id_: str) -> Reply:
        resource = _resource_of(request, type_)
        if resource.get("id") != id_:
            raise Refused(400, "invalid")
        with self._store.lock:
            held = self._store.find(f"{type_}/{id_}")
            match = request.headers.get("if-match")
            if match is not None and (held is None or match != f'W/"{held["meta"]["versionId"]}"'):
                raise Refused(412, "conflict")
            if held is None and not self._behaviour.update_as_create:
                raise Refused(405, "not-supported")
            return self._written(request, self._store.put(resource), 200 if held else 201)

    def _written(self, request: Request, resource: Resource, status: int) -> Reply:
        bodies = self._behaviour.bodies
        whole = not request.prefers("return=minimal") if bodies == "prefer" else bodies == "always"
        reply = self._resource(resource, status)
        reply = reply if whole else Reply(status, b"", {"ETag": reply.headers["ETag"]})
        place = f"{resource['resourceType']}/{resource['id']}"
        full = f"{place}/_history/{resource['meta']['versionId']}"
        location = {"absolute": f"{self._base_url}/{full}", "relative": full, "unversioned": place, "none": ""}
        chosen = location[self._behaviour.location]
        return reply.with_headers(Location=chosen) if chosen else reply

    def _resource(self, resource: Resource, status: int) -> Reply:
        meta = resource["meta"]
        return fhir(resource, status).with_headers(ETag=f'W/"{meta["versionId"]}"')

    def _search(self, request: Request, type_: str) -> Reply:
        params = [each for each in request.query if each[0] not in self._behaviour.ignored_params]
        found = search(self._store.of_type(type_), params, strict=request.prefers("handling=strict"))
        key = f"p{next(self._page_ids)}"
        self._pages[key] = sort(found, request.param("_sort"))
        size = int(request.param("_count") or self._behaviour.page_size)
        return self._page(f"{key}.{size}", 0)

    def _page(self, key: str, offset: int) -> Reply:
        name, _, size = key.partition(".")
        if name not in self._pages:
            raise Refused(410, "not-found")
        found, step = self._pages[name], int(size)
        page = found[offset : offset + step]
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": []}
        if offset + step < len(found):
            query = urlencode({"_getpages": key, "_getpagesoffset": offset + step})
            url = self._behaviour.next_link or f"{self._base_url}?{query}"
            bundle["link"].append({"relation": "next", "url": url})
        if page:
            bundle["entry"] = [
                {
                    "fullUrl": f"{self._base_url}/{each['resourceType']}/{each['id']}",
                    "resource": each,
                    "search": {"mode": "match"},
                }
                for each in page
            ]
        return fhir(bundle)

    def _batch(self, request: Request) -> Reply:
        bundle = request.json
        if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "batch":
            raise Refused(422, "not-supported")
        entries = [self._entry(request, entry) for entry in bundle.get("entry", [])]
        return fhir({"resourceType": "Bundle", "type": "batch-response", "entry": entries})

    def _entry(self, request: Request, entry: Mapping[str, Any]) -> dict[str, Any]:
        asked = entry["request"]
        headers = {"accept": "application/fhir+json"}
        if "ifNoneExist" in asked:
            headers["if-none-exist"] = asked["ifNoneExist"]
        if "ifMatch" in asked:
            headers["if-match"] = asked["ifMatch"]
        part = Request.of(asked["method"], asked["url"], headers, json.dumps(entry.get("resource")).encode())
        try:
            reply = self.answer(part, urlsplit(asked["url"]).path)
        except Refused as refused:
            reply = refused.reply
        answer: dict[str, Any] = {"status": str(reply.status)}
        if "Location" in reply.headers:
            answer["location"] = reply.headers["Location"]
        if reply.status >= 400:
            return {"response": answer | {"outcome": json.loads(reply.body)}}
        return {"response": answer} | ({"resource": json.loads(reply.body)} if reply.body else {})

    def _capabilities(self) -> dict[str, Any]:
        interactions = [{"code": each} for each in ("read", "vread", "update", "create", "search-type", "delete")]
        types = sorted(
            {"Patient", "Encounter", "DocumentReference", "Binary", "RiskAssessment", "Observation"}
            - self._behaviour.unsupported_types
        )
        return {
            "resourceType": "CapabilityStatement", "status": "active", "date": "2026-01-01", "kind": "instance",
            "fhirVersion": "4.0.1", "format": ["json"],
            "rest": [{"mode": "server", "resource": [
                {"type": each, "interaction": interactions, "conditionalCreate": True,
                 "updateCreate": self._behaviour.update_as_create} for each in types
            ]}],
        }  # fmt: skip


def _resource_of(request: Request, type_: str) -> Resource:
    try:
        resource = request.json
    except ValueError:
        raise Refused(400, "structure") from None
    if not isinstance(resource, dict) or resource.get("resourceType") != type_:
        raise Refused(400, "invalid")
    return resource
