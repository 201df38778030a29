"""Attachments by URL against a real FHIR server: what the sender is told, and the token that goes along."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_adapters.attachments.fetching import NoFetcher
from fhir_adapters.errors import FhirInputError
from serve.ehr.connection import client_jwks, make_client
from serve.errors import SettingsError
from serve.fetching import HttpFetcher, make_fetcher
from serve.settings import Settings, load_settings
from tests.ehr.certificates import Authority
from tests.ehr.messages import PLANTED
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.test_keys import ec_key, pem, write

NOTE = b"The patient was admitted with chest pain."


@pytest.fixture
def ehr() -> Iterator[TestEhr]:
    with TestEhr() as running:
        yield running


def settings(ehr: TestEhr, **given: Any) -> Settings:
    return load_settings(fhir_base_url=ehr.url, **given)


def binary(ehr: TestEhr, data: bytes = NOTE) -> str:
    return ehr.add({"resourceType": "Binary", "contentType": "text/plain", "data": base64.b64encode(data).decode()})


def refused(ehr: TestEhr, reference: str, **given: Any) -> tuple[int, str]:
    with pytest.raises(FhirInputError) as caught:
        make_fetcher(settings(ehr, **given)).fetch(f"{ehr.url}/{reference}")
    assert PLANTED not in str(caught.value)
    assert caught.value.expression == "DocumentReference.content.attachment.url"
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("answers", ["accept", "json", "raw"])
def test_a_binary_as_resource_or_as_it_is(ehr: TestEhr, answers: Any) -> None:
    reference = binary(ehr)
    ehr.behaviour.binary = answers
    fetched = make_fetcher(settings(ehr)).fetch(f"{ehr.url}/{reference}")
    assert (fetched.content_type, fetched.data) == ("text/plain", NOTE)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (400, (502, "transient")),
        (401, (424, "not-found")),
        (403, (424, "not-found")),
        (404, (424, "not-found")),
        (410, (424, "not-found")),
        (429, (502, "transient")),
        (500, (502, "transient")),
        (503, (502, "transient")),
    ],
)
def test_what_the_server_answers_decides_what_the_sender_is_told(
    ehr: TestEhr, status: int, wanted: tuple[int, str]
) -> None:
    ehr.faults.status(status, times=9)
    assert refused(ehr, binary(ehr)) == wanted
    assert len(ehr.requests()) <= 2


def test_one_passing_failure_is_not_noticed(ehr: TestEhr) -> None:
    reference = binary(ehr)
    ehr.faults.status(503)
    assert make_fetcher(settings(ehr)).fetch(f"{ehr.url}/{reference}").data == NOTE


def test_redirects_oversize_rubbish_and_silence(ehr: TestEhr) -> None:
    reference = binary(ehr, b"x" * 10_000)
    with TestEhr() as other:
        ehr.faults.redirect(f"{other.url}/{reference}")
        assert refused(ehr, reference) == (422, "security")
        assert other.requests() == []
    assert refused(ehr, reference, max_attachment_bytes=1024) == (422, "too-long")
    ehr.faults.body(b"<html>", times=9)
    assert refused(ehr, reference) == (502, "transient")
    ehr.faults.clear()
    ehr.faults.drip(0.05)
    assert refused(ehr, reference, ehr_timeout_s=0.3) == (502, "transient")
    with ehr.down():
        assert refused(ehr, reference) == (502, "transient")


def test_it_fetches_with_a_token_of_its_own(ehr: TestEhr, tmp_path: Path) -> None:
    key_file = write(tmp_path / "key.pem", pem(ec_key()))
    ehr.auth.required = True
    given = settings(ehr, ehr_client_id="lang1", ehr_key_file=key_file)
    published = client_jwks(given)
    assert published is not None
    ehr.auth.register("lang1", published)
    fetcher = make_fetcher(given)
    reference = binary(ehr)
    assert fetcher.fetch(f"{ehr.url}/{reference}").data == NOTE
    ehr.auth.revoke_tokens()
    assert fetcher.fetch(f"{ehr.url}/{reference}").data == NOTE
    assert len(ehr.auth.assertions) == 2
    assert refused(ehr, reference) == (424, "not-found")


def test_it_trusts_the_configured_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine = authority.sign("client", client=True)
    with TestEhr(tls=authority.server_context(asks_for_client=True)) as ehr:
        reference = binary(ehr)
        fetcher = make_fetcher(settings(ehr, ehr_ca_file=authority.ca_file, ehr_tls_cert_file=mine))
        assert fetcher.fetch(f"{ehr.url}/{reference}").data == NOTE
        assert refused(ehr, reference) == (502, "transient")


def test_without_a_server_there_is_no_client() -> None:
    assert make_client(load_settings()) is None
    assert client_jwks(load_settings()) is None
    assert isinstance(make_fetcher(load_settings()), NoFetcher)


def test_a_fetcher_says_which_base_it_reads(ehr: TestEhr) -> None:
    fetcher = make_fetcher(load_settings(fhir_base_url=ehr.url + "/"))
    assert isinstance(fetcher, HttpFetcher)
    assert fetcher.fhir_base == ehr.url


KEY = {"ehr_client_id": "lang1", "ehr_key_file": "/none"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"ehr_client_id": "lang1"}, "go together"),
        ({"ehr_key_file": "/none"}, "go together"),
        ({"ehr_tls_key_file": "/none"}, "ehr_tls_cert_file"),
        ({"ehr_token_url": "http://idp.example/token"}, "ehr_token_url"),
        ({"ehr_token_url": "https://u:p@idp.example/token"}, "ehr_token_url"),
        ({"ehr_bulk_hosts": ("https://files.example/path",)}, "ehr_bulk_hosts"),
        ({"ehr_scopes": " system/Patient.rs"}, "ehr_scopes"),
        ({**KEY, "fhir_base_url": None}, "fhir_base_url"),
        ({**KEY, "fhir_base_url": "http://ehr.example/fhir"}, "ehr_allow_http"),
        ({"fhir_base_url": "ftp://ehr.example/fhir"}, "fhir_base_url"),
        ({**KEY, "fhir_base_url": "https://ehr.example/fhir"}, "/none"),
        ({"ehr_ca_file": "/none"}, "/none"),
    ],
)
def test_settings_that_cannot_work_are_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        make_client(load_settings(**{"fhir_base_url": "https://ehr.example/fhir", **given}))


def test_a_service_mesh_may_encrypt(tmp_path: Path) -> None:
    key_file = write(tmp_path / "key.pem", pem(ec_key()))
    base = "http://ehr.mesh/fhir"
    client = make_client(
        load_settings(fhir_base_url=base, ehr_client_id="lang1", ehr_key_file=key_file, ehr_allow_http=True)
    )
    assert client is not None
    assert client.base_url == base
