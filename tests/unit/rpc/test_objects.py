"""What devices sign, built by hand at the offsets of docs/spec/ (rules LK-11 to LK-14).

The vectors of tests/conformance/test_object_vectors_host.py refuse each malformed field; here every field is found, and
each rule of verification has a pair.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import fields

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from pki.errors import FormatError, SignatureInvalid, WrongTarget
from pki.values import Digest, PublicKey
from rpc.objects.challenge import Challenge
from rpc.objects.lifecycle import LOCKED, OPERATIONAL, lifecycle_name
from rpc.objects.protection import Protection
from rpc.objects.receipt import Receipt
from rpc.objects.signed_status import SignedStatus
from rpc.objects.verifying import public_point
from tests.unit.reference.fake.keys import FakeKey, fake_key

IDENTITY, AGREEMENT, OTHER, HOST = (fake_key(f"rpc {name}") for name in ("identity", "agreement", "other", "host"))
UID, PRODUCT, NONCE = b"A" * 12 + bytes(4), b"P" * 16, b"N" * 32


def private(key: FakeKey) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(key.private, "big"), ec.SECP256R1())


def at(size_bytes: int, **parts: bytes) -> bytes:
    """Bytes by offset (`o8=b"…"`), zero elsewhere."""
    data = bytearray(size_bytes)
    for offset, content in parts.items():
        start = int(offset[1:])
        data[start : start + len(content)] = content
    return bytes(data)


def signed(context: str, unsigned: bytes, key: FakeKey = IDENTITY) -> bytes:
    digest = hashlib.sha256(context.encode().ljust(16, b"\0") + unsigned).digest()
    r, s = decode_dss_signature(private(key).sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    return unsigned + r.to_bytes(32, "big") + s.to_bytes(32, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def proof_of(challenge: bytes, agreement: FakeKey, host: FakeKey = HOST) -> bytes:
    """The agreement proof, by HMAC alone (RFC 5869): extract, then one block of expand."""
    name = b"SR-agree-pop-v1\0"
    shared = private(agreement).exchange(ec.ECDH(), private(host).public_key())
    extracted = hmac.digest(bytes(32), shared, "sha256")
    key = hmac.digest(extracted, name + host.public + agreement.public + b"\1", "sha256")
    return hmac.digest(key, name + challenge[:288], "sha256")


def challenge_bytes(
    key: FakeKey = IDENTITY, prover: FakeKey = AGREEMENT, agreement: bytes = AGREEMENT.public, **changed: bytes
) -> bytes:
    parts = {
        "o0": b"SRC1" + u16(1) + b"\1" + bytes([LOCKED]),
        "o8": UID + PRODUCT + b"lot 7",
        "o56": u16(3) + u16(0x15) + u32(9) + NONCE + HOST.public + IDENTITY.public + agreement,
        "o320": b"D" * 32 + b"O" * 16 + b"X" * 32 + b"\3",
    }
    body = at(448, **parts)
    body = at(448, o0=body, o288=proof_of(body, prover))
    for offset, content in changed.items():
        body = body[: int(offset[1:])] + content + body[int(offset[1:]) + len(content) :]
    return signed("SR-challenge-v1", body, key)


def receipt_bytes(key: FakeKey = IDENTITY, **changed: bytes) -> bytes:
    parts = {
        "o0": b"SRR1" + u16(1) + b"\1" + bytes([OPERATIONAL]),
        "o8": UID + NONCE + b"B" * 32 + IDENTITY.public + AGREEMENT.public + u16(0x1F),
        "o220": u32(4),
    }
    return signed("SR-receipt-v1", at(256, **{**parts, **changed}), key)


def status_bytes(key: FakeKey = IDENTITY, **changed: bytes) -> bytes:
    parts = {
        "o0": b"SRS1" + u16(1) + b"\1\2",
        "o8": UID + NONCE + PRODUCT + u16(2) + bytes([OPERATIONAL, 3]) + b"lot 7",
        "o92": u16(5) + bytes([1, 0x0B]),
        "o96": bytes([1, 2]) + u16(3) + u32(4) + bytes([5, 6]) + u16(7) + u32(8) + u32(11) + u32(12),
        "o120": bytes([1, 2, 1, 0]) + bytes([9, 8]) + u16(7) + u32(6) + u32(21) + b"H" * 32 + b"U" * 32,
        "o200": u32(31) + u32(32) + u32(33) + u32(41) + b"D" * 32 + b"O" * 16 + b"A" * 32 + b"C" * 32 + b"G" * 32,
        "o360": u16(707),
        "o364": u32(51) + u32(52) + u32(53) + u32(54) + b"serial 5",
        "o412": b"board-9",
        "o444": b"I" * 8 + b"K" * 8 + b"L" * 8,
    }
    return signed("SR-status-v1", at(512, **{**parts, **changed}), key)


# Every field at its offset


def test_a_challenge_has_its_fields_where_the_specification_says() -> None:
    challenge = Challenge.parse(challenge_bytes())
    assert (challenge.lifecycle, challenge.uid, challenge.product_id) == (LOCKED, UID, PRODUCT)
    assert (challenge.lot, challenge.hardware_revision, challenge.trust_bundle_version) == ("lot 7", 3, 9)
    assert challenge.protection == (
        Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED | Protection.DEBUG_CLOSED
    )
    assert (challenge.nonce, challenge.host_ephemeral) == (NONCE, HOST.public)
    assert challenge.identity_public_key == IDENTITY.public
    assert challenge.agreement_public_key == AGREEMENT.public
    assert (challenge.trust_bundle_digest, challenge.order_id) == (b"D" * 32, b"O" * 16)
    assert challenge.activation_digest == b"X" * 32
    assert (challenge.is_simulation, challenge.has_factory_test, challenge.has_keys) == (True, True, True)


def test_a_receipt_has_its_fields_where_the_specification_says() -> None:
    receipt = Receipt.parse(receipt_bytes())
    assert (receipt.lifecycle, receipt.uid, receipt.nonce) == (OPERATIONAL, UID, NONCE)
    assert (receipt.object_digest, receipt.trust_bundle_version) == (b"B" * 32, 4)
    assert (receipt.identity_public_key, receipt.agreement_public_key) == (IDENTITY.public, AGREEMENT.public)
    assert receipt.protection == Protection(0x1F)


def test_a_status_has_its_fields_where_the_specification_says() -> None:
    data = status_bytes()
    status = SignedStatus.parse(data)
    expected = {
        "runs": 2,
        "uid": UID,
        "nonce": NONCE,
        "product_id": PRODUCT,
        "hardware_revision": 2,
        "lifecycle": OPERATIONAL,
        "is_simulation": True,
        "is_service_pending": True,
        "lot": "lot 7",
        "protection": Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED,
        "running_copy": 1,
        "copies": 0x0B,
        "bootloader_version_a": (1, 2, 3, 4),
        "bootloader_version_b": (5, 6, 7, 8),
        "bootloader_security_version_a": 11,
        "bootloader_security_version_b": 12,
        "installed_type": 1,
        "application_state": 2,
        "application_attempts": 1,
        "application_version": (9, 8, 7, 6),
        "application_security_version": 21,
        "application_head_hash": b"H" * 32,
        "application_upload_hash": b"U" * 32,
        "floors": (31, 32, 33),
        "trust_bundle_version": 41,
        "trust_bundle_digest": b"D" * 32,
        "order_id": b"O" * 16,
        "activation_digest": b"A" * 32,
        "certificate_digest": b"C" * 32,
        "grant_head_hash": b"G" * 32,
        "update_mode_code": 707,
        "event_count": 51,
        "journal_free_bytes": 52,
        "upload_offset_bytes": 53,
        "upload_size_bytes": 54,
        "serial": "serial 5",
        "board": "board-9",
        "identity_key_id": b"I" * 8,
        "agreement_key_id": b"K" * 8,
        "group_key_id": b"L" * 8,
        "signature": data[512:],
        "raw": data,
    }
    assert {field.name: getattr(status, field.name) for field in fields(SignedStatus)} == expected
    assert str(status.application_version) == "9.8.7.6"
    assert lifecycle_name(status.lifecycle) == "OPERATIONAL"
    assert lifecycle_name(0x55) == "unknown (0x55)"


# Another shape: rule LK-11


@pytest.mark.parametrize(
    ("parse", "data", "field", "offset"),
    [
        (Challenge.parse, challenge_bytes()[:-1], "size", 0),
        (Challenge.parse, challenge_bytes(o0=b"SRC2"), "magic", 0),
        (Challenge.parse, challenge_bytes(o4=b"\2"), "format_version", 4),
        (Challenge.parse, challenge_bytes(o6=b"\2"), "suite", 6),
        (Challenge.parse, challenge_bytes(o40=b"lot\x7f"), "lot", 40),
        (Challenge.parse, challenge_bytes(o40=b"l\0t"), "lot", 40),
        (Challenge.parse, challenge_bytes(o58=b"\x20"), "protection", 58),
        (Challenge.parse, challenge_bytes(o400=b"\4"), "flags", 400),
        (Challenge.parse, challenge_bytes(o447=b"\1"), "reserved", 401),
        (Receipt.parse, receipt_bytes() + b"\0", "size", 0),
        (Receipt.parse, receipt_bytes(o218=b"\0\1"), "reserved", 218),
        (Receipt.parse, receipt_bytes(o255=b"\1"), "reserved", 224),
        (SignedStatus.parse, status_bytes(o7=b"\0"), "runs", 7),
        (SignedStatus.parse, status_bytes(o7=b"\3"), "runs", 7),
        (SignedStatus.parse, status_bytes(o75=b"\4"), "flags", 75),
        (SignedStatus.parse, status_bytes(o94=b"\2"), "running_copy", 94),
        (SignedStatus.parse, status_bytes(o95=b"\x10"), "copies", 95),
        (SignedStatus.parse, status_bytes(o123=b"\1"), "reserved", 123),
        (SignedStatus.parse, status_bytes(o511=b"\1"), "reserved", 468),
    ],
)
def test_lk_11_another_shape_is_refused_by_field_and_offset(
    parse: Callable[[bytes], object], data: bytes, field: str, offset: int
) -> None:
    with pytest.raises(FormatError, match="LK-11") as raised:
        parse(data)
    assert (raised.value.field, raised.value.offset) == (field, offset)


# Signature, question, proof: rules LK-12 to LK-14


def test_what_this_device_says_to_this_question_is_verified() -> None:
    Challenge.parse(challenge_bytes()).verify(private(HOST))
    known = PublicKey(IDENTITY.public)
    Receipt.parse(receipt_bytes()).verify(known)
    Receipt.parse(receipt_bytes()).verify(known, nonce=NONCE, answered=Digest(b"B" * 32))
    SignedStatus.parse(status_bytes()).verify(known, NONCE)
    assert public_point(private(HOST)) == HOST.public


def test_lk_12_a_signature_of_another_key_is_refused() -> None:
    known = PublicKey(IDENTITY.public)
    attempts: list[Callable[[], None]] = [
        lambda: Challenge.parse(challenge_bytes(key=OTHER)).verify(private(HOST)),
        lambda: Receipt.parse(receipt_bytes(key=OTHER)).verify(known),
        lambda: SignedStatus.parse(status_bytes(key=OTHER)).verify(known, NONCE),
        lambda: SignedStatus.parse(status_bytes()).verify(PublicKey(OTHER.public), NONCE),
        lambda: SignedStatus.parse(status_bytes()).verify(PublicKey(b"\1" * 64), NONCE),  # no point of the curve
    ]
    for verify in attempts:
        with pytest.raises(SignatureInvalid, match=r"LK-12.*does not verify"):
            verify()


@pytest.mark.parametrize("offset", [8, 24, 74, 124, 212, 360, 508 - 64, 512, 575])
def test_lk_12_a_status_that_was_changed_anywhere_is_refused(offset: int) -> None:
    changed = bytearray(status_bytes())
    changed[offset] ^= 1
    with pytest.raises(SignatureInvalid, match="LK-12"):
        SignedStatus.parse(bytes(changed)).verify(PublicKey(IDENTITY.public), bytes(changed[24:56]))


def test_lk_12_what_is_not_signed_proves_nothing() -> None:
    status = SignedStatus.parse(status_bytes()[:-64] + bytes(64))
    assert not status.is_signed
    with pytest.raises(SignatureInvalid, match=r"LK-12.*not signed"):
        status.verify(PublicKey(IDENTITY.public), NONCE)
    without_keys = challenge_bytes(o160=bytes(160))[:-64] + bytes(64)
    assert not Challenge.parse(without_keys).has_keys
    with pytest.raises(SignatureInvalid, match=r"LK-12.*not signed"):
        Challenge.parse(without_keys).verify(private(HOST))


def test_lk_13_an_answer_to_another_question_is_refused() -> None:
    known = PublicKey(IDENTITY.public)
    receipt = Receipt.parse(receipt_bytes())
    attempts: list[Callable[[], None]] = [
        lambda: Challenge.parse(challenge_bytes()).verify(private(OTHER)),
        lambda: receipt.verify(PublicKey(OTHER.public)),
        lambda: receipt.verify(known, nonce=bytes(32)),
        lambda: receipt.verify(known, answered=Digest(bytes(32))),
        lambda: SignedStatus.parse(status_bytes()).verify(known, bytes(32)),
    ]
    for verify in attempts:
        with pytest.raises(WrongTarget, match="LK-13"):
            verify()


def test_lk_14_an_agreement_key_that_is_not_proven_is_refused() -> None:
    """Another key's proof, another public key with this proof, and no point at all."""
    for data in (
        challenge_bytes(prover=OTHER),
        challenge_bytes(o224=OTHER.public),
        challenge_bytes(o224=b"\1" * 64),
        challenge_bytes(o288=bytes(32)),
    ):
        with pytest.raises(SignatureInvalid, match="LK-14"):
            Challenge.parse(data).verify(private(HOST))
