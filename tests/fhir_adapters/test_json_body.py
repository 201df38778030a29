from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_adapters.errors import FhirInputError
from fhir_adapters.json_body import MAX_DEPTH, parse_json_object


def test_an_object_is_parsed_with_or_without_a_byte_order_mark() -> None:
    assert parse_json_object(b'{"a": [1, 2.5, "\\u00e9"]}') == {"a": [1, 2.5, "\u00e9"]}
    assert parse_json_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1,}',
        b"[]",
        b'"text"',
        b"null",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 1, "a": 2}',
        b'{"x": [{"status": "current", "status": "superseded"}]}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 1_000_000,
    ],
)
def test_a_broken_body_is_400_structure(body: bytes) -> None:
    with pytest.raises(FhirInputError) as caught:
        parse_json_object(body)
    assert (caught.value.status, caught.value.code) == (400, "structure")


def test_depth_counts_brackets_and_not_those_in_strings() -> None:
    assert parse_json_object(b'{"a": "' + b"[" * 500 + b'\\"{"}') == {"a": "[" * 500 + '"{'}
    deepest = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert parse_json_object(deepest)
    with pytest.raises(FhirInputError, match="deeper than 64"):
        parse_json_object(b'{"b":' + deepest + b"}")


def test_a_body_over_the_cap_is_413() -> None:
    with pytest.raises(FhirInputError) as caught:
        parse_json_object(b'{"a": 1}', max_bytes=7)
    assert (caught.value.status, caught.value.code) == (413, "too-long")


def test_no_input_makes_the_depth_scan_slow() -> None:
    start = time.monotonic()
    for body in (b'"\\' * 1_000_000, b'\\"' * 1_000_000, b'{"a": "' + b"x" * 5_000_000):
        with pytest.raises(FhirInputError):
            parse_json_object(body)
    assert time.monotonic() - start < 5


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_our_error(body: bytes) -> None:
    try:
        assert isinstance(parse_json_object(body), dict)
    except FhirInputError as error:
        assert error.status == 400
