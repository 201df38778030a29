"""A word that stands for a patient is in everything that is sent and answered; no error and no log holds it."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhir_adapters.client.bulk import BulkExport
from fhir_adapters.client.bulk_state import BulkDataError
from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import FhirServerError
from fhir_adapters.client.keys import KeyFile
from fhir_adapters.client.smart import BackendServices
from fhir_adapters.client.tokens import StaticToken
from fhir_adapters.client.wire import Timeouts, Wire
from tests.ehr.messages import PLANTED
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.conftest import FakeTime
from tests.fhir_adapters.client.test_keys import ec_key, pem, write

RISK = {"resourceType": "RiskAssessment", "id": PLANTED, "subject": {"reference": f"Patient/{PLANTED}"}}
FAULTS: dict[str, Callable[[TestEhr], None]] = {
    **{
        str(status): lambda ehr, status=status: ehr.faults.status(status, 99, code=PLANTED)  # type: ignore[misc]
        for status in (400, 401, 403, 404, 409, 412, 422, 429, 500, 502, 503)
    },
    "drop before": lambda ehr: ehr.faults.drop_before(99),
    "drop after": lambda ehr: ehr.faults.drop_after(99),
    "truncate": lambda ehr: ehr.faults.truncate(99),
    "redirect": lambda ehr: ehr.faults.redirect(f"http://{PLANTED}.example/{PLANTED}", 99),
    "not JSON": lambda ehr: ehr.faults.body(PLANTED.encode(), 99),
    "broken header": lambda ehr: ehr.faults.redirect(f"\x00{PLANTED}", 99, status=200),
    "another resource": lambda ehr: ehr.faults.body(b'{"resourceType": "%s"}' % PLANTED.encode(), 99),
    "another page": lambda ehr: ehr.faults.body(
        b'{"resourceType": "Bundle", "link": [{"relation": "next", "url": "https://%s/"}]}' % PLANTED.encode(), 99
    ),
    "down": lambda ehr: ehr.close(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_and_no_log_holds_it(
    ehr: TestEhr, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    time = FakeTime()
    ehr.add({"resourceType": "Patient", "id": PLANTED, "name": [{"text": PLANTED}]})
    wire = Wire(timeouts=Timeouts(1, 1, 5), clock=time.clock)
    key = KeyFile(write(tmp_path / "key.pem", pem(ec_key())))
    smart = BackendServices(
        ehr.url, client_id="lang1", key=key, scopes=PLANTED, wire=wire, token_url=f"{ehr.origin}/auth/token"
    )
    plain = FhirClient(ehr.url, token_source=StaticToken(PLANTED), clock=time.clock, wire=wire)
    state = BulkExport(plain).start("Patient")
    FAULTS[fault](ehr)
    shown = []
    for client in (plain, plain.with_token(smart)):
        calls: list[Callable[[], Any]] = [
            lambda client=client: client.read("Patient", PLANTED),  # type: ignore[misc]
            lambda client=client: client.read_url(f"https://{PLANTED}.example/Patient/1"),  # type: ignore[misc]
            lambda client=client: client.read_bytes(f"Binary/{PLANTED}", accept="*/*"),  # type: ignore[misc]
            lambda client=client: list(client.search("Patient", {"identifier": PLANTED, "name": PLANTED})),  # type: ignore[misc]
            lambda client=client: client.search_one_by_identifier("Patient", f"urn:x|{PLANTED}"),  # type: ignore[misc]
            lambda client=client: client.create(RISK, if_none_exist=f"identifier={PLANTED}"),  # type: ignore[misc]
            lambda client=client: client.update(RISK, if_match=PLANTED),  # type: ignore[misc]
            lambda client=client: BulkExport(client).start(f"Group/{PLANTED}"),  # type: ignore[misc]
            lambda client=client: BulkExport(client).wait(state, timeout_s=1),  # type: ignore[misc]
        ]
        for call in calls:
            try:
                call()
            except (FhirServerError, BulkDataError) as error:
                shown += traceback.format_exception(error)
                shown += [repr(error), str(vars(error)), str(pickle.dumps(error))]
    shown += [repr(plain), repr(smart), repr(state), caplog.text, *capfd.readouterr()]
    assert len(shown) > 40
    assert [line for line in "".join(shown).splitlines() if PLANTED in line] == []
