from __future__ import annotations

import pytest

from fhir_adapters.attachments.fetching import FetchedBinary, check_attachment_url
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.reading import read_document_text
from fhir_adapters.errors import FhirInputError
from tests.fhir_adapters.samples import linked

BASE = "https://fhir.host:8443/r4"


@pytest.mark.parametrize(
    ("url", "base", "wanted"),
    [
        ("Binary/abc-1.2", BASE, f"{BASE}/Binary/abc-1.2"),
        ("Binary/1/_history/2", BASE + "/", f"{BASE}/Binary/1/_history/2"),
        (f"{BASE}/Binary/1", BASE, f"{BASE}/Binary/1"),
        ("HTTPS://FHIR.host:8443/r4/Binary/1", BASE, f"{BASE}/Binary/1"),
        ("https://fhir.host/Binary/1", "https://fhir.host", "https://fhir.host/Binary/1"),
        ("Binary/1", "http://10.0.0.5/fhir", "http://10.0.0.5/fhir/Binary/1"),
    ],
)
def test_a_binary_under_the_base_is_allowed(url: str, base: str, wanted: str) -> None:
    assert check_attachment_url(url, base) == wanted


REFUSED = [
    "",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/r4/Binary/1",
    "http://localhost/r4/Binary/1",
    "http://[::1]/r4/Binary/1",
    "http://2852039166/r4/Binary/1",
    "https://fhir.host:8443@evil.example/r4/Binary/1",
    "https://user:pw@fhir.host:8443/r4/Binary/1",
    "https://fhir.host:8443.evil.example/r4/Binary/1",
    "https://fhir.host.evil/r4/Binary/1",
    "https://fhir.host/r4/Binary/1",
    "https://fhir.host:8444/r4/Binary/1",
    "http://fhir.host:8443/r4/Binary/1",
    "https://fhir.host:8443/r4evil/Binary/1",
    "https://fhir.host:8443/other/Binary/1",
    "https://fhir.host:8443/r4/Patient/1",
    "https://fhir.host:8443/r4/Binary/1?x=y",
    "https://fhir.host:8443/r4/Binary/1#x",
    "https://fhir.host:8443/r4/Binary/../Patient/1",
    "https://fhir.host:8443/r4/Binary/..",
    "https://fhir.host:8443/r4//Binary/1",
    "https://fhir.host:8443\\@evil.example/r4/Binary/1",
    "https:///r4/Binary/1",
    "https:fhir.host:8443/r4/Binary/1",
    "//fhir.host:8443/r4/Binary/1",
    "//evil.example/Binary/1",
    "/Binary/1",
    "/r4/Binary/1",
    "Binary/",
    "Binary/.",
    "Binary/..",
    "Binary/1/_history/..",
    "Binary/1/../../Patient/1",
    "Binary/%2e%2e",
    "Binary/..%2fPatient%2f1",
    "Binary/1%0d%0aHost:x",
    "Binary/1\n",
    "Binary/1\r\nX: y",
    " Binary/1",
    "Binary/" + "a" * 65,
    "Binary/\u0661",
    "binary/1",
    "Patient/1",
    "file:///etc/passwd",
    "ftp://fhir.host:8443/r4/Binary/1",
    "gopher://fhir.host:8443/r4/Binary/1",
    "data:text/plain,hello",
    "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", REFUSED)
def test_anything_else_is_422_security_and_never_fetched(url: str) -> None:
    with pytest.raises(FhirInputError) as caught:
        check_attachment_url(url, BASE)
    assert (caught.value.status, caught.value.code) == (422, "security")


@pytest.mark.parametrize("url", [*REFUSED, f"{BASE}/Binary/1", "/Binary/1", "://x/Binary/1", "///Binary/1"])
def test_without_a_server_only_a_relative_url_is_not_an_attack(url: str) -> None:
    assert check_attachment_url("Binary/1", None) == "Binary/1"
    with pytest.raises(FhirInputError) as caught:
        check_attachment_url(url, None)
    assert caught.value.code == "security"


class Redirecting:
    fhir_base = BASE

    def __init__(self) -> None:
        self.calls = 0

    def fetch(self, url: str) -> FetchedBinary:
        self.calls += 1
        raise FhirInputError("the attachment's url answered a redirect; mend it", code="security")


def test_a_redirect_is_422_security() -> None:
    fetcher = Redirecting()
    with pytest.raises(FhirInputError) as caught:
        read_document_text([linked("Binary/1")], fetcher, AttachmentLimits())
    assert (caught.value.code, fetcher.calls) == ("security", 1)
    with pytest.raises(FhirInputError):
        read_document_text([linked("http://169.254.169.254/Binary/1")], fetcher, AttachmentLimits())
    assert fetcher.calls == 1
