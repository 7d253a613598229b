"""BR-01: one encoding, against JSON put together by hand; every field of another form is refused."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pki.errors import PolicyViolation
from provisioning.station.records import BirthEvent, BirthRecord, parse_record

AT = datetime(2026, 12, 1, 8, 0, 5, tzinfo=UTC)

BEGUN: dict[str, Any] = {
    "type": "strongroom-birth-record-1",
    "order_id": "65" * 16,
    "order_digest": "01" * 32,
    "station": "02" * 32,
    "number": 1,
    "previous": "00" * 32,
    "at": "2026-12-01T08:00:05Z",
    "event": "begun",
    "uid": "03" * 12 + "00" * 4,
    "product_id": "04" * 16,
    "lot": "LOT-7",
    "hardware_revision": 3,
    "identity_public_key": "05" * 64,
    "sequence": 1,
    "serial": "A1",
    "protection": 13,
    "trust_bundle_version": 2,
    "made_agreement_public_key": "06" * 64,
    "agreement_public_key": "07" * 64,
    "certificate": "30" * 200,
    "activation": "08" * 864,
    "activation_digest": "09" * 32,
    "receipt": None,
    "status_nonce": None,
    "signed_status": None,
    "reason": None,
}
ISSUED_ONLY = ("made_agreement_public_key", "certificate", "activation")
STATED = ("protection", "trust_bundle_version", "agreement_public_key")
ACTIVATED = (
    BEGUN
    | dict.fromkeys(ISSUED_ONLY)
    | {"event": "activated", "status_nonce": "0a" * 32, "signed_status": "0b" * 576, "receipt": "0c" * 320}
)
FAILED = BEGUN | dict.fromkeys(ISSUED_ONLY + STATED) | {"event": "failed", "reason": "ST-48"}
UNCOUNTED = FAILED | dict.fromkeys(("sequence", "serial", "activation_digest", "identity_public_key"))
SCRAPPED = UNCOUNTED | {"event": "scrapped", "reason": "cracked housing"}
RENEWED = BEGUN | {"event": "renewed"}
ALL = {"begun": BEGUN, "renewed": RENEWED, "activated": ACTIVATED, "failed": FAILED, "scrapped": SCRAPPED}


def by_hand(fields: dict[str, Any]) -> bytes:
    """RFC 8785 for plain values: sorted names, no spaces."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize("fields", [*ALL.values(), UNCOUNTED], ids=[*ALL, "uncounted"])
def test_a_record_is_read_and_written_in_its_one_form(fields: dict[str, Any]) -> None:
    record = parse_record(by_hand(fields))
    assert record.canonical == by_hand(fields)
    assert record.hash == hashlib.sha256(by_hand(fields)).digest()
    assert record.digest.value == hashlib.sha256(b"SR-birth-v1\0\0\0\0\0" + by_hand(fields)).digest()
    assert record.at == AT


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "strongroom-birth-record-2"},
        {"order_id": "65" * 15},
        {"order_id": "65" * 17},
        {"order_digest": "AB" * 32},
        {"station": None},
        {"number": 0},
        {"number": "1"},
        {"number": True},
        {"number": 1 << 53},
        {"previous": "00" * 31 + "0"},
        {"at": "2026-12-01T08:00:05"},
        {"at": "2026-12-01 08:00:05Z"},
        {"at": "2026-13-01T08:00:05Z"},
        {"at": "2026-12-1T08:00:05Z"},
        {"at": 5},
        {"event": "made"},
        {"event": None},
        {"uid": "00" * 16},
        {"uid": "03" * 12},
        {"lot": "a lot of more than 16"},
        {"lot": "ü"},
        {"lot": "\n"},
        {"hardware_revision": 65536},
        {"hardware_revision": -1},
        {"identity_public_key": None},
        {"identity_public_key": "05" * 63},
        {"sequence": 0},
        {"sequence": None},
        {"serial": None},
        {"serial": "x" * 33},
        {"protection": 32},
        {"trust_bundle_version": 0},
        {"certificate": ""},
        {"certificate": "30" * 1025},
        {"activation": "08" * 863},
        {"receipt": "0c" * 320},
        {"signed_status": "0b" * 576},
        {"reason": "ST-48"},
    ],
)
def test_a_field_of_another_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(PolicyViolation, match="BR-01"):
        parse_record(by_hand(BEGUN | changed))


@pytest.mark.parametrize("event", list(ALL))
def test_each_event_has_its_own_fields(event: str) -> None:
    """What one event has and another has not is refused in the other."""
    for other, fields in ALL.items():
        if {name for name, value in fields.items() if value is None} - {"receipt"} == {
            name for name, value in ALL[event].items() if value is None
        } - {"receipt"}:
            continue
        mixed = fields | {"event": event}
        if {event, other} == {"failed", "scrapped"} or (event == "scrapped" and other == "failed"):
            continue
        with pytest.raises(PolicyViolation, match="BR-01"):
            parse_record(by_hand(mixed))


@pytest.mark.parametrize(
    "fields", [FAILED | {"reason": ""}, FAILED | {"reason": "x" * 201}, SCRAPPED | {"reason": None}]
)
def test_an_end_has_a_reason(fields: dict[str, Any]) -> None:
    with pytest.raises(PolicyViolation, match="BR-01"):
        parse_record(by_hand(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        by_hand(BEGUN) + b"\n",
        by_hand(BEGUN | {"more": 1}),
        by_hand({name: value for name, value in BEGUN.items() if name != "reason"}),
        by_hand(BEGUN).replace(b'"number":1', b'"number":1,"number":1'),
        by_hand(BEGUN).replace(b'"number":1', b'"number":1.0'),
        by_hand(BEGUN).replace(b'"number":1', b'"number": 1'),
        json.dumps(BEGUN).encode(),
        by_hand(BEGUN).replace(b"A1", b"\xff"),
        b" " * 9000,
    ],
)
def test_another_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyViolation, match="BR-01"):
        parse_record(data)


def test_a_record_is_made_as_it_is_read() -> None:
    record = parse_record(by_hand(BEGUN))
    assert record.event is BirthEvent.BEGUN
    assert isinstance(record, BirthRecord)
    with pytest.raises(PolicyViolation, match="BR-01"):
        BirthRecord(**{name: getattr(record, name) for name in BirthRecord.__struct_fields__} | {"lot": "x" * 17})
