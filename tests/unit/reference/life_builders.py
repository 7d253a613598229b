"""Orders, activations and service orders for tests, and a host that reads what devices answer: from docs/spec/ alone.

Imports nothing of ours. Fields are named as the specification names them; `changed` overwrites some before signing, so
that a test can have signed nonsense too. RFC 3394 is built from single AES blocks.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256

from tests.unit.reference.builders import PRODUCT_ID, hkdf_32, padded, sha256, u16, u32, xor
from tests.unit.reference.fake.keys import FakeKey, fake_key

LOCKED, OPERATIONAL, RMA, DECOMMISSIONED = 0x3C, 0xA5, 0x66, 0x99
REPAIR, DECOMMISSION, RE_PROVISION, PERMIT_REINSTALLATION = 1, 2, 3, 4
READOUT, READOUT_2, WRITE_PROTECT, BROWN_OUT, DEBUG_CLOSED = 1, 2, 4, 8, 16
GROUP_KEY, AGREEMENT_KEY = 1, 2

Fields = dict[str, tuple[int, int]]

# offset, size, of docs/spec/activation.md, sections 1 to 4, and service-order.md
CHALLENGE_FIELDS: Fields = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "lifecycle": (7, 1),
    "uid": (8, 16),
    "product_id": (24, 16),
    "lot": (40, 16),
    "hardware_revision": (56, 2),
    "protection": (58, 2),
    "trust_bundle_version": (60, 4),
    "nonce": (64, 32),
    "host_ephemeral": (96, 64),
    "identity_public_key": (160, 64),
    "agreement_public_key": (224, 64),
    "agreement_proof": (288, 32),
    "trust_bundle_digest": (320, 32),
    "order_id": (352, 16),
    "activation_digest": (368, 32),
    "flags": (400, 1),
    "reserved_401": (401, 47),
    "signature": (448, 64),
}
ORDER_FIELDS: Fields = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "inject": (7, 1),
    "order_id": (8, 16),
    "product_id": (24, 16),
    "lot": (40, 16),
    "quota": (56, 4),
    "trust_bundle_version_min": (60, 4),
    "not_before": (64, 8),
    "not_after": (72, 8),
    "protection_required": (80, 2),
    "hardware_revision_min": (82, 2),
    "hardware_revision_max": (84, 2),
    "station_count": (86, 1),
    "reserved_87": (87, 1),
    "lot_public_key": (88, 64),
    "group_public_key": (152, 64),
    "issuing_ca": (216, 32),
    "stations": (248, 288),
    "signer_key_id": (536, 8),
    "reserved_544": (544, 32),
    "signature": (576, 64),
}
ACTIVATION_FIELDS: Fields = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "injected": (7, 1),
    "uid": (8, 16),
    "nonce": (24, 32),
    "order_digest": (56, 32),
    "station": (88, 32),
    "sequence": (120, 4),
    "trust_bundle_version": (124, 4),
    "identity_key_digest": (128, 32),
    "agreement_key_digest": (160, 32),
    "certificate_digest": (192, 32),
    "serial": (224, 32),
    "group_key": (256, 224),
    "agreement_key": (480, 288),
    "reserved_768": (768, 32),
    "signature": (800, 64),
}
RECEIPT_FIELDS: Fields = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "lifecycle": (7, 1),
    "uid": (8, 16),
    "nonce": (24, 32),
    "object_digest": (56, 32),
    "identity_public_key": (88, 64),
    "agreement_public_key": (152, 64),
    "protection": (216, 2),
    "reserved_218": (218, 2),
    "trust_bundle_version": (220, 4),
    "reserved_224": (224, 32),
    "signature": (256, 64),
}
SERVICE_FIELDS: Fields = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "action": (7, 1),
    "uid": (8, 16),
    "nonce": (24, 32),
    "product_id": (56, 16),
    "lot": (72, 16),
    "hardware_revision": (88, 2),
    "reserved_90": (90, 2),
    "floors": (92, 12),
    "signer_key_id": (104, 8),
    "reserved_112": (112, 80),
    "signature": (192, 64),
}


def written(fields: Fields, values: Mapping[str, bytes]) -> bytes:
    """An object from its fields; what is not named is zero."""
    size_bytes = max(offset + size for offset, size in fields.values())
    data = bytearray(size_bytes)
    for name, value in values.items():
        offset, size = fields[name]
        if len(value) != size:
            raise ValueError(f"{name} has {size} bytes, not {len(value)}")
        data[offset : offset + size] = value
    return bytes(data)


def part(fields: Fields, data: bytes, name: str) -> bytes:
    offset, size = fields[name]
    return data[offset : offset + size]


def digest_of(context: str, fields: Fields, data: bytes) -> bytes:
    return sha256(padded(context), data[: fields["signature"][0]])


def signed(context: str, fields: Fields, values: Mapping[str, bytes], signer: FakeKey) -> bytes:
    unsigned = written(fields, {name: value for name, value in values.items() if name != "signature"})
    signature = signer.sign(digest_of(context, fields, unsigned))
    return written(fields, {"signature": signature, **values})


# --- work order ---


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlan:
    """What a work order is made from; as it stands, for 3 devices at one station, nothing injected."""

    product_id: bytes = PRODUCT_ID
    lot: bytes = b"fake lot 2026-11"
    order_id: bytes = sha256(b"fake order")[:16]
    quota: int = 3
    inject: int = 0
    trust_bundle_version_min: int = 1
    protection_required: int = READOUT | WRITE_PROTECT
    hardware_revisions: tuple[int, int] = (1, 3)
    lot_key: FakeKey = field(default_factory=lambda: fake_key("lot"))
    group_key: FakeKey = field(default_factory=lambda: fake_key("group agreement"))
    stations: tuple[tuple[bytes, int], ...] = ((sha256(b"fake station"), 3),)
    signer: FakeKey = field(default_factory=lambda: fake_key("production"))


def build_order(plan: OrderPlan, changed: Mapping[str, bytes] | None = None) -> bytes:
    """A signed work order; `changed` fields are laid over it before it is signed (the signature, after)."""
    values = {
        "magic": b"SRW1",
        "format_version": u16(1),
        "suite": b"\x01",
        "inject": bytes([plan.inject]),
        "order_id": plan.order_id,
        "product_id": plan.product_id,
        "lot": plan.lot,
        "quota": u32(plan.quota),
        "trust_bundle_version_min": u32(plan.trust_bundle_version_min),
        "not_before": struct.pack("<Q", 1_790_000_000),
        "not_after": struct.pack("<Q", 1_800_000_000),
        "protection_required": u16(plan.protection_required),
        "hardware_revision_min": u16(plan.hardware_revisions[0]),
        "hardware_revision_max": u16(plan.hardware_revisions[1]),
        "station_count": bytes([len(plan.stations)]),
        "lot_public_key": plan.lot_key.public,
        "issuing_ca": sha256(b"fake issuing ca"),
        "stations": b"".join(name + u32(quota) for name, quota in plan.stations).ljust(288, b"\0"),
        "signer_key_id": plan.signer.key_id,
        **({"group_public_key": plan.group_key.public} if plan.inject & GROUP_KEY else {}),
        **(changed or {}),
    }
    return signed("SR-order-v1", ORDER_FIELDS, values, plan.signer)


# --- activation ---


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationPlan:
    """What an activation is made from, beside the device's challenge."""

    order: OrderPlan = field(default_factory=OrderPlan)
    sequence: int = 1
    station: bytes = sha256(b"fake station")
    trust_bundle_version: int = 1
    certificate_digest: bytes = sha256(b"fake certificate")
    serial: bytes = b"SN-0001".ljust(32, b"\0")
    agreement_key: FakeKey = field(default_factory=lambda: fake_key("device agreement"))

    def having(self, **order: Any) -> ActivationPlan:
        """The same, of another order."""
        return replace(self, order=replace(self.order, **order))


def build_activation(
    plan: ActivationPlan,
    challenge: bytes,
    changed: Mapping[str, bytes] | None = None,
    order_changed: Mapping[str, bytes] | None = None,
) -> bytes:
    """Work order ‖ activation for the device that gave this challenge."""
    order = build_order(plan.order, order_changed)
    agreement = part(CHALLENGE_FIELDS, challenge, "agreement_public_key")
    identity = part(CHALLENGE_FIELDS, challenge, "identity_public_key")
    values = {
        "magic": b"SRA1",
        "format_version": u16(1),
        "suite": b"\x01",
        "injected": bytes([plan.order.inject]),
        "uid": part(CHALLENGE_FIELDS, challenge, "uid"),
        "nonce": part(CHALLENGE_FIELDS, challenge, "nonce"),
        "order_digest": digest_of("SR-order-v1", ORDER_FIELDS, order),
        "station": plan.station,
        "sequence": u32(plan.sequence),
        "trust_bundle_version": u32(plan.trust_bundle_version),
        "identity_key_digest": sha256(identity),
        "agreement_key_digest": sha256(agreement),
        "certificate_digest": plan.certificate_digest,
        "serial": plan.serial,
    }
    if plan.order.inject & GROUP_KEY:
        values["group_key"] = injected(pkcs8(plan.order.group_key), agreement)
    if plan.order.inject & AGREEMENT_KEY:
        values["agreement_key"] = plan.agreement_key.public + injected(pkcs8(plan.agreement_key), agreement)
    activation = signed("SR-activate-v1", ACTIVATION_FIELDS, {**values, **(changed or {})}, plan.order.lot_key)
    return order + activation


def pkcs8(key: FakeKey, *, parameters: bool = False, public: bool = False) -> bytes:
    """PrivateKeyInfo (RFC 5208) of ECPrivateKey (RFC 5915), in DER."""
    inner = b"\x02\x01\x01" + der(0x04, key.private)
    inner += der(0xA0, bytes.fromhex("06082a8648ce3d030107")) if parameters else b""
    inner += der(0xA1, der(0x03, b"\x00\x04" + key.public)) if public else b""
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    return der(0x30, b"\x02\x01\x00" + algorithm + der(0x04, der(0x30, inner)))


def der(tag: int, content: bytes) -> bytes:
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def injected(plain: bytes, agreement_public: bytes, ephemeral: FakeKey | None = None) -> bytes:
    """224 bytes: a key pair for one wrap, and RFC 3394 over `plain` and zeros up to a whole block of 8."""
    ephemeral = ephemeral if ephemeral is not None else fake_key("wrap")
    private = ec.derive_private_key(int.from_bytes(ephemeral.private, "big"), ec.SECP256R1())
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + agreement_public)
    wrapped = rfc_3394(private.exchange(ec.ECDH(), peer), plain + bytes(-len(plain) % 8))
    return ephemeral.public + u16(len(wrapped)) + bytes(6) + wrapped.ljust(152, b"\0")


def rfc_3394(key: bytes, plain: bytes) -> bytes:
    """AES key wrap, RFC 3394, section 2.2.1."""
    check, blocks = b"\xa6" * 8, [plain[at : at + 8] for at in range(0, len(plain), 8)]
    for round_number in range(6):
        for index, block in enumerate(blocks):
            cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (builds key wrap)
            done = cipher.update(check + block)
            step = len(blocks) * round_number + index + 1
            check, blocks[index] = xor(done[:8], step.to_bytes(8, "big")), done[8:]
    return check + b"".join(blocks)


# --- service order ---


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """What a service order is made from, beside the device's challenge."""

    action: int = REPAIR
    product_id: bytes = PRODUCT_ID
    lot: bytes = b"another lot".ljust(16, b"\0")
    hardware_revision: int = 7
    floors: tuple[int, int, int] = (0, 0, 0)
    signer: FakeKey = field(default_factory=lambda: fake_key("service"))


def build_service_order(plan: ServicePlan, challenge: bytes, changed: Mapping[str, bytes] | None = None) -> bytes:
    values = {
        "magic": b"SRV1",
        "format_version": u16(1),
        "suite": b"\x01",
        "action": bytes([plan.action]),
        "uid": part(CHALLENGE_FIELDS, challenge, "uid"),
        "nonce": part(CHALLENGE_FIELDS, challenge, "nonce"),
        "product_id": plan.product_id,
        "signer_key_id": plan.signer.key_id,
    }
    if plan.action == RE_PROVISION:
        floors = struct.pack("<3I", *plan.floors)
        values |= {"lot": plan.lot, "hardware_revision": u16(plan.hardware_revision), "floors": floors}
    return signed("SR-service-v1", SERVICE_FIELDS, {**values, **(changed or {})}, plan.signer)


# --- the host's side ---


def verifies(public: bytes, digest: bytes, signature: bytes) -> bool:
    """ECDSA over a digest."""
    encoded = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + public)
        key.verify(encoded, digest, ec.ECDSA(Prehashed(SHA256())))
    except (ValueError, InvalidSignature):
        return False
    return True


def challenge_is_genuine(challenge: bytes, host: FakeKey) -> bool:
    """Signed by the identity key in it, and proved to have the agreement key in it."""
    agreement = part(CHALLENGE_FIELDS, challenge, "agreement_public_key")
    identity = part(CHALLENGE_FIELDS, challenge, "identity_public_key")
    private = ec.derive_private_key(int.from_bytes(host.private, "big"), ec.SECP256R1())
    try:
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + agreement)
    except ValueError:
        return False
    context = padded("SR-agree-pop-v1")
    key = hkdf_32(private.exchange(ec.ECDH(), peer), context + host.public + agreement)
    proof = hmac.digest(key, context + challenge[:288], "sha256")
    digest = digest_of("SR-challenge-v1", CHALLENGE_FIELDS, challenge)
    own = verifies(identity, digest, part(CHALLENGE_FIELDS, challenge, "signature"))
    return own and proof == part(CHALLENGE_FIELDS, challenge, "agreement_proof")


def receipt_is_genuine(receipt: bytes, identity: bytes) -> bool:
    digest = digest_of("SR-receipt-v1", RECEIPT_FIELDS, receipt)
    return verifies(identity, digest, part(RECEIPT_FIELDS, receipt, "signature"))
