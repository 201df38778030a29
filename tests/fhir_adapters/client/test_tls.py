"""TLS: whom the client trusts, and the certificate that it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhir_adapters.client.client import FhirClient
from fhir_adapters.client.errors import ClientConfigError, ErrorKind
from fhir_adapters.client.tls import tls_context
from tests.ehr.certificates import Authority
from tests.ehr.server import TestEhr
from tests.fhir_adapters.client.test_reads import failed

RISK = {"resourceType": "RiskAssessment"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_only_the_given_authority_is_trusted(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "Another")
    with TestEhr(tls=authority.server_context()) as ehr:
        ehr.add({"resourceType": "Patient", "id": "a"})
        assert ehr.url.startswith("https:")
        trusting = FhirClient(ehr.url, tls=tls_context(authority.ca_file))
        assert trusting.read("Patient", "a")["id"] == "a"
        for tls in (None, tls_context(), tls_context(other.ca_file)):
            client = FhirClient(ehr.url, tls=tls, max_attempts=1)
            assert "not trusted" in failed(ErrorKind.UNAVAILABLE, client.create, RISK).message
        assert ehr.resources("RiskAssessment") == []


def test_another_host_name_is_not_trusted(authority: Authority) -> None:
    with TestEhr(tls=authority.server_context()) as ehr:
        client = FhirClient(
            ehr.url.replace("127.0.0.1", "localhost"), tls=tls_context(authority.ca_file), max_attempts=1
        )
        assert "not trusted" in failed(ErrorKind.UNAVAILABLE, client.read, "Patient", "a").message


def test_mutual_tls(authority: Authority) -> None:
    mine = authority.sign("client", client=True)
    with TestEhr(tls=authority.server_context(asks_for_client=True)) as ehr:
        ehr.add({"resourceType": "Patient", "id": "a"})
        with_it = FhirClient(ehr.url, tls=tls_context(authority.ca_file, cert_file=mine))
        assert with_it.read("Patient", "a")["id"] == "a"
        without = FhirClient(ehr.url, tls=tls_context(authority.ca_file), max_attempts=1)
        failed(ErrorKind.UNAVAILABLE, without.read, "Patient", "a")


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    mine = authority.sign("client", client=True)
    for options in ({"ca_file": empty}, {"ca_file": tmp_path / "none"}, {"cert_file": authority.ca_file}):
        with pytest.raises(ClientConfigError, match=str(next(iter(options.values())))):
            tls_context(**options)
    with pytest.raises(ClientConfigError, match="client certificate"):
        tls_context(cert_file=mine, key_file=empty)
