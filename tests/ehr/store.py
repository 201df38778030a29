"""The resources of the test EHR: every version of each, and an order of change."""

from __future__ import annotations

import copy
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.ehr.messages import Refused

Resource = dict[str, Any]


class ResourceStore:
    """`lock` is held by whoever reads and then writes: a conditional create is atomic."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._versions: dict[str, list[Resource | None]] = {}
        self._last = datetime(2000, 1, 1, tzinfo=UTC)
        self._ids = 0

    def put(self, resource: Resource, last_updated: str | None = None) -> Resource:
        """Store a new version; an id is given where there is none. The stored copy, with its meta."""
        with self.lock:
            kept = copy.deepcopy(resource)
            if "id" not in kept:
                self._ids += 1
                kept["id"] = f"ehr-{self._ids}"
            versions = self._versions.setdefault(f"{kept['resourceType']}/{kept['id']}", [])
            kept["meta"] = {
                **kept.get("meta", {}),
                "versionId": str(len(versions) + 1),
                "lastUpdated": last_updated or self._now(),
            }
            versions.append(kept)
            return kept

    def delete(self, reference: str) -> None:
        with self.lock:
            self.get(reference)
            self._versions[reference].append(None)

    def find(self, reference: str) -> Resource | None:
        """The current version; None where there is none or it was deleted."""
        versions = self._versions.get(reference)
        return versions[-1] if versions else None

    def get(self, reference: str, version: str | None = None) -> Resource:
        """Raises Refused: 404, or 410 after a delete."""
        with self.lock:
            versions = self._versions.get(reference)
            if versions is None:
                raise Refused(404, "not-found")
            if version is None:
                found = versions[-1]
            elif version.isdecimal() and 1 <= int(version) <= len(versions):
                found = versions[int(version) - 1]
            else:
                raise Refused(404, "not-found")
            if found is None:
                raise Refused(410, "deleted")
            return found

    def of_type(self, resource_type: str) -> list[Resource]:
        """Current versions, in the order in which their resources were made."""
        with self.lock:
            current = [versions[-1] for versions in self._versions.values()]
        return [each for each in current if each is not None and each["resourceType"] == resource_type]

    def history(self, reference: str) -> list[Resource | None]:
        """Every version, oldest first; None is a deletion."""
        with self.lock:
            return list(self._versions.get(reference, []))

    def types(self) -> list[str]:
        with self.lock:
            return sorted({reference.partition("/")[0] for reference in self._versions})

    def now(self) -> str:
        """An instant after every change so far."""
        with self.lock:
            return self._now()

    def _now(self) -> str:
        # Each change later than the one before, to the millisecond: what FHIR servers show.
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._last = max(now, self._last + timedelta(milliseconds=1))
        return self._last.isoformat(timespec="milliseconds").replace("+00:00", "Z")
