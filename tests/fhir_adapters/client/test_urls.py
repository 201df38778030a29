"""What the client may follow: the configured base and what is under it, compared as text."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_adapters.attachments.fetching import check_attachment_url
from fhir_adapters.client.errors import ClientConfigError, ErrorKind, FhirServerError
from fhir_adapters.client.urls import Base, origin_of, parse_reference, reference_at_end
from fhir_adapters.errors import FhirInputError
from tests.fhir_adapters.test_attachment_urls import REFUSED

BASE = Base.of("https://FHIR.host:8443/r4/")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://fhir.host/r4", "https://fhir.host/r4"),
        ("https://fhir.host:443", "https://fhir.host"),
        ("HTTP://10.0.0.5:80/fhir/", "http://10.0.0.5/fhir"),
        ("http://[::1]:8080/fhir", "http://[::1]:8080/fhir"),
    ],
)
def test_a_base_has_one_form(given: str, wanted: str) -> None:
    assert Base.of(given).url == wanted


@pytest.mark.parametrize(
    "given",
    ["", "fhir.host/r4", "ftp://fhir.host", "https://user:pw@fhir.host/r4", "https://fhir.host/r4?x=y", "https:///r4",
     "https://fhir.host/r4#x", "https://fhir.host/a/../b", "https://fhir.host:99999/", "https://fhir host/", "https://"],
)  # fmt: skip
def test_another_base_is_a_config_error(given: str) -> None:
    with pytest.raises(ClientConfigError):
        Base.of(given)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://fhir.host:8443/r4?_getpages=abc&_getpagesoffset=20", "?_getpages=abc&_getpagesoffset=20"),
        ("https://fhir.host:8443/r4/Patient?identifier=a|b", "/Patient?identifier=a|b"),
        ("HTTPS://fhir.host:8443/r4/Patient", "/Patient"),
        ("Patient?page=2", "/Patient?page=2"),
        ("?page=2", "?page=2"),
        ("/r4/Patient?page=2", "/Patient?page=2"),
        ("https://fhir.host:8443/r4/%E2%82%AC", "/%E2%82%AC"),
    ],
)
def test_a_link_under_the_base_is_followed(url: str, wanted: str) -> None:
    assert BASE.under(url) == f"https://fhir.host:8443/r4{wanted}"


OUTSIDE = [
    *(url for url in REFUSED if "://" in url or url.startswith("/")),
    "https://fhir.host:8443/",
    "https://fhir.host:8443/r4/../admin",
    "https://fhir.host:8443/r4/%2e%2e/admin",
    "https://fhir.host:8443/r4/%2E%2E%2Fadmin",
    "https://fhir.host:8443/r4/a%5c..%5cadmin",
    "https://fhir.host:8443/r4//evil.example/",
    "https://fhir.host:8443/r4/Patient?x=\r\nHost: evil",
    "https://fhir.host:8443/r4/Patient?x=%0d%0a#frag",
    "https://fhir.host:8443/r4/Patient%",
    "https://fhir.host:8443/r4/Patient\u2024",
    "../admin",
    "Patient/../../admin",
    "mailto:x@fhir.host",
    "https:Patient",
]
# What is refused as an attachment and is a link like another: a resource or a query under the base.
UNDER = {
    "https://fhir.host:8443/r4/Patient/1", "https://fhir.host:8443/r4/Binary/1?x=y", "/r4/Binary/1",
}  # fmt: skip


@pytest.mark.parametrize("url", [url for url in OUTSIDE if url not in UNDER])
def test_a_link_outside_the_base_is_refused(url: str) -> None:
    with pytest.raises(FhirServerError) as caught:
        BASE.under(url)
    assert caught.value.kind is ErrorKind.SECURITY
    assert not caught.value.may_retry


@given(st.text(st.sampled_from("htps:/.@fir4?#%2eE\\[]8b -\n\u2024"), max_size=60))
def test_what_passes_is_under_the_base_to_another_reader_too(tail: str) -> None:
    for url in (tail, "https://fhir.host:8443/r4" + tail):
        try:
            passed = urlsplit(BASE.under(url))
        except FhirServerError:
            continue
        assert (passed.scheme, passed.netloc) == ("https", "fhir.host:8443")
        assert passed.path == "/r4" or passed.path.startswith("/r4/")
        assert ".." not in passed.path.split("/")


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_no_attachment_is_read_only_where_it_is_a_reference(url: str) -> None:
    with pytest.raises(FhirInputError):
        check_attachment_url(url, BASE.url)
    if url in {"Patient/1", "https://fhir.host:8443/r4/Patient/1"}:
        assert BASE.reference(url).literal == "Patient/1"
        return
    with pytest.raises(FhirServerError):
        BASE.reference(url)


def test_references_with_and_without_a_version() -> None:
    assert BASE.reference("https://fhir.host:8443/r4/Patient/a/_history/2").path == "Patient/a/_history/2"
    assert parse_reference("Patient/a/_history/..") is None
    assert parse_reference("Patient/a/") is None
    located = reference_at_end("http://internal:8080/x/RiskAssessment/7/_history/3")
    assert located is not None
    assert (located.literal, located.version) == ("RiskAssessment/7", "3")
    assert reference_at_end("http://internal/") is None


def test_files_may_be_on_the_origin_or_on_a_listed_one() -> None:
    others = frozenset({origin_of("https://Files.host/")})
    assert BASE.on_origin("https://fhir.host:8443/bulk/1", "a file", others)
    assert BASE.on_origin("https://files.host:443/1?sig=a%2Fb", "a file", others) == "https://files.host/1?sig=a%2Fb"
    for url in ("https://files.host.evil/1", "http://files.host/1", "https://files.host:8443/1", "Patient/1"):
        with pytest.raises(FhirServerError):
            BASE.on_origin(url, "a file", others)
    with pytest.raises(ClientConfigError):
        origin_of("https://files.host/path")
