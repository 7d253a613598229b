"""Canonical JSON: the one encoding is taken, everything else that means the same, or could, is refused."""

from __future__ import annotations

import pytest

from pki.canonical_json import DOCUMENT_SIZE_BYTES_MAX, INTEGER_MAX, encode_canonical, parse_canonical
from pki.errors import FormatError


def test_the_example_of_the_standard() -> None:
    # RFC 8785, section 3.2.3: members sorted by UTF-16 code units.
    value = {"\u20ac": "Euro Sign", "\r": "Carriage Return", "1": "One", "\u0080": "Control", "\u00f6": "o"}
    expected = '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"o","\u20ac":"Euro Sign"}'
    assert encode_canonical(value).decode() == expected


@pytest.mark.parametrize("value", [{}, {"a": [None, True, "é", -5, {"b": []}]}, {"n": INTEGER_MAX, "m": -INTEGER_MAX}])
def test_what_is_canonical_is_taken(value: dict[str, object]) -> None:
    assert parse_canonical(encode_canonical(value), "test") == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"text"',
        b"{} ",
        b" {}",
        b"{}\n",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":NaN}',
        b'{"a":-0}',
        b'{"a":9007199254740992}',
        b'{"a":"\\u0061"}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_canonical(data, "test", 1 << 20)


def test_a_document_has_a_greatest_size() -> None:
    with pytest.raises(FormatError, match="more than"):
        parse_canonical(encode_canonical({"a": "x" * DOCUMENT_SIZE_BYTES_MAX}), "test")


def test_a_float_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="not an integer"):
        encode_canonical({"a": [1.5]})
