"""Canonical JSON: the one encoding is taken, everything else that means the same, or could, is refused."""

from __future__ import annotations

import enum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

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


# Python's own encoder does it where it is known to do the same

ATOMS = st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | st.text()
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(st.dictionaries(st.text() | st.text(st.characters(max_codepoint=127)), VALUES))
def test_every_document_is_encoded_as_rfc8785_does(value: dict[str, Any]) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        with pytest.raises(ValueError, match=r"."):
            encode_canonical(value)
    else:
        assert encode_canonical(value) == expected


@pytest.mark.parametrize("code_point", [*range(0x100), 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF])
def test_every_character_of_a_text_is_encoded_as_rfc8785_does(code_point: int) -> None:
    value: dict[str, Any] = {"a": f"<{chr(code_point)}>", "b": {chr(code_point): 1}}
    assert encode_canonical(value) == rfc8785.dumps(value)


def test_names_are_sorted_by_utf_16_and_not_by_code_point() -> None:
    value = {"\uffff": 1, "\U00010000": 2, "a": 3}
    assert encode_canonical(value) == '{"a":3,"\U00010000":2,"\uffff":1}'.encode()


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


ODD = [
    ({"a": Colour.RED}, b'{"a":"red"}'),
    ({Colour.RED: 1}, b'{"red":1}'),
    ({"a": Number.ONE}, b'{"a":1}'),
    ({"a": (1, 2)}, b'{"a":[1,2]}'),
]
REFUSED = [
    {1: 2},
    {None: 1},
    {"a": {True: 1}},
    {"a": b"x"},
    {"a": INTEGER_MAX + 1},
    {"a": -INTEGER_MAX - 1},
    {"a": "\ud800"},
]


@pytest.mark.parametrize(("value", "expected"), ODD)
def test_what_is_not_exactly_plain_is_encoded_all_the_same(value: dict[str, Any], expected: bytes) -> None:
    assert encode_canonical(value) == expected


@pytest.mark.parametrize("value", REFUSED)
def test_what_json_has_no_canonical_form_for_is_refused(value: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_canonical(value)
