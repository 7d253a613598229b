"""Entries as bytes: one encoding, and nothing else is read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.canonical_json import encode_canonical
from pki.errors import AuditError, FormatError
from signer.log.entry import (
    ENTRY_SIZE_BYTES_MAX,
    decode_entry,
    encode_entry,
    indexed_values,
    leaf_hash,
    parse_time,
    request_event,
    time_text,
)
from signer.log.values import Event, EventKind
from tests.unit.log.logs import BEGUN, event

ENTRY = (
    b'{"actor":"ada","at":"2026-11-27T12:00:00Z","details":{"key_label":"sr:application-release:pump-x2:0001",'
    b'"number":7},"format":"strongroom-log-entry-1","kind":"sign-intent"}'
)
NAMES = st.from_regex(r"[ -~]{0,12}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=40)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


def test_the_bytes_are_those_of_the_specification() -> None:
    assert encode_entry(event(7), BEGUN) == ENTRY
    entry = decode_entry(3, ENTRY)
    assert (entry.index, entry.at, entry.event) == (3, BEGUN, event(7))


@settings(max_examples=60)
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_every_event_has_the_one_canonical_encoding(details: dict[str, Any]) -> None:
    """The fast way and the careful one write the same bytes, and they read back."""
    made = Event(kind=EventKind.RELEASED, actor="ada", details=details)
    document = {
        "actor": "ada",
        "at": "2026-11-27T12:00:00Z",
        "details": details,
        "format": "strongroom-log-entry-1",
        "kind": "released",
    }
    try:
        expected = encode_canonical(document)
    except ValueError:
        with pytest.raises(AuditError):
            encode_entry(made, BEGUN)
        return
    assert encode_entry(made, BEGUN) == expected
    assert decode_entry(0, expected).event == made


def test_an_entry_has_a_bound() -> None:
    size = ENTRY_SIZE_BYTES_MAX - len(encode_entry(event(0, text=""), BEGUN))
    assert len(encode_entry(event(0, text="x" * size), BEGUN)) == ENTRY_SIZE_BYTES_MAX
    with pytest.raises(AuditError, match="at most 16384"):
        encode_entry(event(0, text="x" * (size + 1)), BEGUN)


@pytest.mark.parametrize("details", [{"é": 1}, {"a": {"ü": 1}}, {"a": [{"ü": 1}]}])
def test_names_are_ascii(details: dict[str, Any]) -> None:
    with pytest.raises(AuditError, match="ASCII"):
        encode_entry(Event(kind=EventKind.RELEASED, actor="ada", details=details), BEGUN)


def spoiled(**changes: Any) -> bytes:
    document = {**json.loads(ENTRY), **changes}
    return json.dumps({name: value for name, value in document.items() if value is not None}, sort_keys=True,
                      separators=(",", ":")).encode()  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{}",
        b"[]",
        ENTRY + b"\n",
        ENTRY[:-1],
        ENTRY.replace(b'"actor":"ada",', b'"actor":"ada","actor":"ada",'),
        ENTRY.replace(b":7", b":7.0"),
        ENTRY.replace(b'"number":7', b'"number": 7'),
        spoiled(format="strongroom-log-entry-2"),
        spoiled(format=None),
        spoiled(actor=None),
        spoiled(actor=7),
        spoiled(actor="a\nb"),
        spoiled(more=1),
        spoiled(kind="unheard-of"),
        spoiled(details=[]),
        spoiled(at="2026-11-27T12:00:00.0Z"),
        spoiled(at="2026-11-27 12:00:00Z"),
        spoiled(at="2026-13-27T12:00:00Z"),
        spoiled(at="2026-11-27T12:00:00+00:00"),
        spoiled(at=7),
        spoiled(details={"é": 1}),
    ],
)
def test_nothing_else_is_an_entry(entry: bytes) -> None:
    with pytest.raises(FormatError):
        decode_entry(0, entry)


def test_the_leaf_hash_is_that_of_rfc_6962() -> None:
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_times_are_in_utc() -> None:
    assert parse_time(time_text(BEGUN)) == BEGUN
    assert time_text(datetime(7, 1, 1, tzinfo=UTC)) == "0007-01-01T00:00:00Z"
    with pytest.raises(ValueError, match="UTC"):
        time_text(BEGUN.astimezone(timezone(timedelta(hours=1))))
    with pytest.raises(ValueError, match="UTC"):
        time_text(BEGUN.replace(tzinfo=None))


def test_only_short_strings_under_known_names_are_indexed() -> None:
    details = {"product": "pump-x2", "key_label": "x" * 201, "request_digest": 7, "other": "text"}
    assert indexed_values(Event(kind=EventKind.RELEASED, actor="ada", details=details)) == [("product", "pump-x2")]


def test_what_is_about_a_request_of_a_product_is_found_by_kind_and_product() -> None:
    details = {"product": "pump-x2", "request_digest": "ab" * 32}
    event = Event(kind=EventKind.RELEASED, actor="ada", details=details)
    assert ("request_event", "released:pump-x2") in indexed_values(event)
    assert ("request_event", request_event(EventKind.RELEASED, "pump-x2")) in indexed_values(event)
