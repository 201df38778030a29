"""One running service for these tests, ended before the next folder's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lang1 import DEMO_BUNDLE
from serve.openapi.examples import examples
from tests.foreign.node_programs import medplum_ehr
from tests.node_validator import missing_reason
from tests.serve.service import RunningService

# A bearer token that every client here sends; None while the service under test asks for none.
TOKEN: str | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What talks to the service of this package is slow: a model, an EHR on Node and two environments to start."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "service" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def ehr_url() -> Iterator[str | None]:
    """The EHR that the service writes back to; None without Node."""
    if missing_reason() is not None:
        yield None
        return
    with medplum_ehr() as url:
        yield url


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory, ehr_url: str | None) -> Iterator[RunningService]:
    running = RunningService(
        tmp_path_factory.mktemp("foreign"), DEMO_BUNDLE, deadline_s=60, max_body_bytes=1_000_000, notifications=True,
        fhir_base_url=ehr_url or "http://127.0.0.1:9/fhir", sink="none" if ehr_url is None else "risk-assessment",
        write_unmatched_types=True,
    )  # fmt: skip
    if TOKEN is not None:
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="package")
def fhir_url(service: RunningService) -> str:
    return f"{service.url}/fhir"


@pytest.fixture
def token() -> str | None:
    return TOKEN


def discharge_summary(patient: str, **changes: Any) -> dict[str, Any]:
    """The demo's discharge summary as the document of another patient, whose stay is `<patient>-stay`."""
    return examples()["document"] | {
        "id": f"{patient}-note",
        "identifier": [{"system": "urn:example:notes", "value": f"{patient}-note"}],
        "subject": {"reference": f"Patient/{patient}"},
        "context": {"encounter": [{"reference": f"Encounter/{patient}-stay"}]},
    } | changes  # fmt: skip
