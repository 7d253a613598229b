"""Work orders: every byte as docs/spec/activation.md places it, and nothing else taken."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from pki.errors import FormatError, PolicyViolation, SignatureInvalid
from pki.values import PublicKey, Signature
from signer.device_objects.common import Injection, Protection
from signer.device_objects.work_order import (
    StationQuota,
    WorkOrder,
    parse_prepared_work_order,
    parse_work_order,
)
from tests.unit.device_objects import by_hand


def order(**changed: Any) -> WorkOrder:
    fields: dict[str, Any] = {
        "order_id": bytes(range(1, 17)),
        "product_id": bytes(range(17, 33)),
        "lot": "LOT-2026-11",
        "quota": 300,
        "trust_bundle_version_min": 2,
        "not_before": 1_795_000_000,
        "not_after": 1_800_000_000,
        "protection_required": (
            Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED | Protection.BROWN_OUT_LEVEL
        ),
        "hardware_revision_min": 3,
        "hardware_revision_max": 5,
        "lot_public_key": PublicKey(by_hand.LOT_POINT),
        "issuing_ca": bytes(range(64, 96)),
        "stations": (StationQuota(b"\x10" * 32, 100), StationQuota(b"\x20" * 32, 200)),
        "signer_key_id": bytes(range(200, 208)),
    }
    return WorkOrder(**(fields | changed))


def test_every_field_stands_where_the_specification_places_it() -> None:
    expected = by_hand.work_order()
    assert order().signed(Signature(bytes(range(1, 65)))) == expected
    assert order().digest.value == by_hand.digest(b"SR-order-v1", expected[:576])
    assert parse_work_order(bytes(expected)).order == order()


def test_a_group_key_stands_behind_the_lots_key() -> None:
    group = order(inject=Injection.GROUP_KEY, group_public_key=PublicKey(by_hand.TWICE_POINT))
    expected = by_hand.work_order(inject=1, group_key=by_hand.TWICE_POINT)
    assert group.encode_unsigned() == expected[:576]
    assert parse_work_order(bytes(expected)).order == group


def test_a_prepared_order_has_no_signature_and_a_signed_one_has() -> None:
    assert order().prepared() == by_hand.work_order(signature=bytes(64))
    assert parse_prepared_work_order(order().prepared()) == order()
    with pytest.raises(FormatError, match="prepared and not signed"):
        parse_work_order(order().prepared())
    with pytest.raises(FormatError, match="signature already"):
        parse_prepared_work_order(bytes(by_hand.work_order()))


def test_the_signature_is_verified_under_the_key_that_the_order_names() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    public = PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
    mine = order(signer_key_id=public.key_id)
    der = private.sign(mine.digest.value, ec.ECDSA(Prehashed(hashes.SHA256())))
    signature = Signature(b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(der)))
    parse_work_order(mine.signed(signature)).verify(public)
    with pytest.raises(SignatureInvalid, match="names signer"):
        parse_work_order(mine.signed(signature)).verify(PublicKey(by_hand.LOT_POINT))
    larger = msgspec.structs.replace(mine, quota=301)
    with pytest.raises(SignatureInvalid):
        parse_work_order(larger.signed(signature)).verify(public)


REFUSED: dict[str, Any] = {
    "inject unknown": ("WO-01", {"inject": 4}),
    "group key without inject": ("WO-01", {"group_key": by_hand.TWICE_POINT}),
    "inject without group key": ("WO-01", {"inject": 1}),
    "no order id": ("WO-02", {"order_id": bytes(16)}),
    "no product id": ("WO-02", {"product_id": bytes(16)}),
    "no lot": ("WO-03", {"lot": b""}),
    "quota zero": ("WO-04", {"quota": 0}),
    "quota above ten million": ("WO-04", {"quota": 10_000_001}),
    "no bundle": ("WO-05", {"bundle": 0}),
    "ends when it begins": ("WO-06", {"not_after": 1_795_000_000}),
    "protection unknown": ("WO-07", {"protection": 1 << 5}),
    "revisions reversed": ("WO-08", {"revisions": (5, 3)}),
    "no station": ("WO-09", {"station_count": 0, "stations": ()}),
    "nine stations": ("WO-09", {"station_count": 9}),
    "station twice": ("WO-09", {"stations": (b"\x10" * 32 + by_hand.u(1, 4),) * 2}),
    "stations descending": ("WO-09", {"stations": (b"\x20" * 32 + b"\1\0\0\0", b"\x10" * 32 + b"\1\0\0\0")}),
    "sub-quota zero": ("WO-09", {"stations": (b"\x10" * 32 + bytes(4), b"\x20" * 32 + b"\1\0\0\0")}),
    "sub-quotas above the quota": ("WO-09", {"quota": 299}),
    "lot's key no point": ("WO-10", {"lot_key": by_hand.LOT_POINT[:-1] + b"\0"}),
    "group's key no point": ("WO-10", {"inject": 1, "group_key": by_hand.LOT_POINT[:-1] + b"\0"}),
    "no issuing CA": ("WO-11", {"issuing_ca": bytes(32)}),
    "no signer": ("WO-12", {"signer": bytes(8)}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_device_would_refuse_is_refused_here(case: str) -> None:
    rule_id, changed = REFUSED[case]
    with pytest.raises(FormatError, match=rule_id):
        parse_work_order(bytes(by_hand.work_order(**changed)))


def test_the_bounds_themselves_are_taken() -> None:
    eight = tuple(bytes([n]) * 32 + by_hand.u(1, 4) for n in range(1, 9))
    for changed in (
        {"quota": 10_000_000},
        {"station_count": 8, "stations": eight},
        {"protection": 0b11111},
        {"revisions": (7, 7)},
        {"lot": b"SIXTEEN-LETTERS!"},
        {"inject": 2},
    ):
        parse_work_order(bytes(by_hand.work_order(**changed)))


@pytest.mark.parametrize("offset", [87, *range(248 + 72, 536), *range(544, 576)])
def test_reserved_and_unused_bytes_are_zero(offset: int) -> None:
    data = by_hand.work_order()
    data[offset] = 1
    with pytest.raises(FormatError):
        parse_work_order(bytes(data))


@pytest.mark.parametrize("offset", range(8))
def test_another_magic_version_or_suite_is_refused(offset: int) -> None:
    data = by_hand.work_order()
    data[offset] ^= 0x80
    with pytest.raises(FormatError):
        parse_work_order(bytes(data))


@pytest.mark.parametrize("lot", [b"a\0b", b"\x07", b"\xc3\xa9", b"\0a"])
def test_text_is_printable_ascii_with_zeros_at_its_end_only(lot: bytes) -> None:
    with pytest.raises(FormatError):
        parse_work_order(bytes(by_hand.work_order(lot=lot)))


@pytest.mark.parametrize("size_bytes", [0, 639, 641])
def test_another_size_is_refused(size_bytes: int) -> None:
    with pytest.raises(FormatError, match="640"):
        parse_work_order(bytes(by_hand.work_order()[:size_bytes]).ljust(size_bytes, b"\0"))


def test_an_order_that_no_device_takes_cannot_be_made() -> None:
    for rule_id, changed in (
        ("WO-03", {"lot": "SEVENTEEN-LETTERS"}),
        ("WO-03", {"lot": "é"}),
        ("WO-04", {"quota": True}),
        ("WO-09", {"stations": (StationQuota(b"\x20" * 32, 1), StationQuota(b"\x10" * 32, 1))}),
        ("WO-12", {"signer_key_id": bytes(20)}),
    ):
        with pytest.raises(PolicyViolation, match=rule_id):
            order(**changed)


def test_a_station_finds_its_own_share() -> None:
    mine = order().station(b"\x20" * 32)
    assert mine is not None
    assert mine.sub_quota == 200
    assert order().station(b"\x30" * 32) is None
