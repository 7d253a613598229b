"""Packages and trust bundles for tests, written from docs/spec/{package,trust-bundle}.md; imports nothing of ours.

A plan is a valid object; `changed` overwrites fields before signing, so that a test can have signed nonsense too.
AES-CTR is built from ECB and HKDF from HMAC, so that the reference is compared with something written otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.unit.reference.fake.keys import FakeKey, fake_key

PRODUCT_ID = bytes.fromhex("2f1d7a0cb6a94c0e9d5e43b8f0a61c75")
DEVICE_UID = bytes.fromhex("00310042 33365104 20303839 00000000")
ZERO_UID = bytes(16)
IMAGE = b"".join(hashlib.sha256(b"fake image %d" % i).digest() for i in range(300))[:9000]

APPLICATION, BOOTLOADER, FACTORY_TEST = 1, 2, 3
ANY_DEVICE, ONE_UID, GRANT_REQUIRED = 0, 1, 2
MODE_NONE, MODE_DEVICE, MODE_GROUP, MODE_GRANT = 0, 1, 2, 3
APPLICATION_RELEASE, PRODUCTION, GRANT, SERVICE, BOOTLOADER_RELEASE = 1, 2, 3, 4, 5

# offset, size of docs/spec/package.md, section 1
HEAD_FIELDS = {
    "mcuboot_header": (0, 32),
    "magic": (32, 4),
    "format_version": (36, 2),
    "package_type": (38, 1),
    "suite": (39, 1),
    "product_id": (40, 16),
    "hardware_revision_min": (56, 2),
    "hardware_revision_max": (58, 2),
    "image_version": (60, 8),
    "security_version": (68, 4),
    "load_address": (72, 4),
    "image_size_bytes": (76, 4),
    "bootloader_version_min": (80, 8),
    "trust_bundle_version_min": (88, 4),
    "target": (92, 1),
    "recipient_mode": (93, 1),
    "reserved_94": (94, 2),
    "target_uid": (96, 16),
    "image_salt": (112, 32),
    "image_digest": (144, 32),
    "chunk_size_bytes": (176, 4),
    "payload_size_bytes": (180, 4),
    "first_link": (184, 32),
    "cek_commitment": (216, 32),
    "ephemeral_public_key": (248, 64),
    "wrapped_cek": (312, 32),
    "recipient_key_id": (344, 8),
    "sbom_digest": (352, 32),
    "signer_key_id_0": (384, 8),
    "signer_key_id_1": (392, 8),
    "reserved_400": (400, 48),
    "signature_0": (448, 64),
    "signature_1": (512, 64),
    "padding": (576, 448),
}
CONTEXTS = {APPLICATION: "SR-pkg-app-v1", BOOTLOADER: "SR-pkg-boot-v1", FACTORY_TEST: "SR-pkg-test-v1"}


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def padded(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def bootloader_release_keys(count: int = 3) -> tuple[FakeKey, ...]:
    """The keys built into the pre-bootloader, in ascending order of their key ids."""
    keys = (fake_key(f"bootloader release {i}") for i in range(count))
    return tuple(sorted(keys, key=lambda key: key.key_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagePlan:
    """What a package is made from; as it stands, an application for one device."""

    package_type: int = APPLICATION
    product_id: bytes = PRODUCT_ID
    hardware_revision_min: int = 1
    hardware_revision_max: int = 3
    image_version: tuple[int, int, int, int] = (1, 2, 3, 4)
    security_version: int = 7
    load_address: int = 0x08020400
    image: bytes = IMAGE
    bootloader_version_min: tuple[int, int, int, int] = (0, 1, 0, 0)
    trust_bundle_version_min: int = 1
    target: int = ONE_UID
    recipient_mode: int = MODE_DEVICE
    device_uid: bytes = DEVICE_UID
    recipient: FakeKey = field(default_factory=lambda: fake_key("device agreement"))
    signers: Sequence[FakeKey] = field(default_factory=lambda: (fake_key("application release"),))
    ephemeral: FakeKey = field(default_factory=lambda: fake_key("ephemeral"))
    content_key: bytes = sha256(b"fake content key")
    image_salt: bytes = sha256(b"fake salt")
    last_link: bytes = bytes(32)

    @property
    def bound_uid(self) -> bytes:
        return self.device_uid if self.target == ONE_UID else ZERO_UID

    @property
    def ciphertext(self) -> bytes:
        return self.image if self.recipient_mode == MODE_NONE else aes_256_ctr(self.content_key, self.image)


def bootloader_plan(**other: Any) -> PackagePlan:
    """A bootloader for any device of the product, encrypted for the group, by the first two built-in keys."""
    plan = PackagePlan(
        package_type=BOOTLOADER,
        target=ANY_DEVICE,
        recipient_mode=MODE_GROUP,
        recipient=fake_key("group agreement"),
        signers=bootloader_release_keys()[:2],
    )
    return replace(plan, **other)


def factory_test_plan(**other: Any) -> PackagePlan:
    """A factory test for any device of the product, not encrypted."""
    plan = PackagePlan(
        package_type=FACTORY_TEST, target=ANY_DEVICE, recipient_mode=MODE_NONE, signers=(fake_key("production"),)
    )
    return replace(plan, **other)


def build_package(plan: PackagePlan, changed: Mapping[str, bytes] | None = None) -> bytes:
    """Head and payload, without a trailer."""
    return build_head(plan, changed) + b"".join(build_chunks(plan))


def build_head(plan: PackagePlan, changed: Mapping[str, bytes] | None = None) -> bytes:
    """A signed head; `changed` fields are laid over it before it is signed."""
    head = with_fields(bytes(1024), unsigned_fields(plan))
    return sign_head(with_fields(head, changed or {}), plan.signers, plan.bound_uid)


def unsigned_fields(plan: PackagePlan) -> dict[str, bytes]:
    """Every field but the signatures, and those that are zero."""
    chunks = build_chunks(plan)
    payload_size_bytes = sum(len(chunk) for chunk in chunks)
    version = struct.pack("<BBHI", *plan.image_version)
    return {
        "mcuboot_header": struct.pack("<IIHHII8sI", 0x96F3B83D, 0, 1024, 0, payload_size_bytes, 0, version, 0),
        "magic": b"SRM1",
        "format_version": u16(1),
        "package_type": u8(plan.package_type),
        "suite": u8(1),
        "product_id": plan.product_id,
        "hardware_revision_min": u16(plan.hardware_revision_min),
        "hardware_revision_max": u16(plan.hardware_revision_max),
        "image_version": version,
        "security_version": u32(plan.security_version),
        "load_address": u32(plan.load_address),
        "image_size_bytes": u32(len(plan.image)),
        "bootloader_version_min": struct.pack("<BBHI", *plan.bootloader_version_min),
        "trust_bundle_version_min": u32(plan.trust_bundle_version_min),
        "target": u8(plan.target),
        "recipient_mode": u8(plan.recipient_mode),
        "target_uid": plan.bound_uid,
        "image_salt": plan.image_salt,
        "image_digest": sha256(padded("SR-image-v1"), plan.image_salt, plan.image),
        "chunk_size_bytes": u32(4096),
        "payload_size_bytes": u32(payload_size_bytes),
        "first_link": link_of(0, chunks[0]),
        "sbom_digest": sha256(padded("SR-sbom-v1"), plan.image_salt),
        **recipient_fields(plan),
        **{f"signer_key_id_{i}": signer.key_id for i, signer in enumerate(plan.signers)},
    }


def recipient_fields(plan: PackagePlan) -> dict[str, bytes]:
    if plan.recipient_mode == MODE_NONE:
        return {}
    commitment = {"cek_commitment": sha256(padded("SR-cek-v1"), plan.image_salt, plan.content_key)}
    if plan.recipient_mode == MODE_GRANT:
        return commitment
    return {
        **commitment,
        "ephemeral_public_key": plan.ephemeral.public,
        "wrapped_cek": wrap_content_key(plan),
        "recipient_key_id": plan.recipient.key_id,
    }


def wrap_content_key(plan: PackagePlan) -> bytes:
    ephemeral = ec.derive_private_key(int.from_bytes(plan.ephemeral.private, "big"), ec.SECP256R1())
    recipient = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + plan.recipient.public)
    shared = ephemeral.exchange(ec.ECDH(), recipient)
    info = padded("SR-wrap-v1") + plan.product_id + plan.image_salt + u8(plan.recipient_mode) + plan.bound_uid
    pad = hkdf_32(shared, info + plan.ephemeral.public + plan.recipient.public)
    return xor(plan.content_key, pad)


def build_chunks(plan: PackagePlan) -> list[bytes]:
    """The chunks as they go over the wire; `last_link` is zero in anything valid."""
    data = [plan.ciphertext[start : start + 4096] for start in range(0, len(plan.ciphertext), 4096)]
    link = plan.last_link
    chunks: list[bytes] = []
    for index in reversed(range(len(data))):
        chunks.insert(0, data[index] + link)
        link = link_of(index, chunks[0])
    return chunks


def link_of(index: int, chunk: bytes) -> bytes:
    return sha256(padded("SR-chunk-v1"), u32(index), chunk)


def sign_head(head: bytes, signers: Sequence[FakeKey], uid: bytes) -> bytes:
    """The head with its signatures, by these keys in this order, whatever it says."""
    context = padded(CONTEXTS.get(head[38], CONTEXTS[APPLICATION]))
    digest = sha256(context, uid, head[:448])
    signatures = {f"signature_{i}": signer.sign(digest) for i, signer in enumerate(signers)}
    return with_fields(head, signatures)


def with_fields(head: bytes, fields: Mapping[str, bytes]) -> bytes:
    """A copy of a head with some fields overwritten."""
    changed = bytearray(head)
    for name, value in fields.items():
        offset, size = HEAD_FIELDS[name]
        if len(value) != size:
            raise ValueError(f"{name} has {size} bytes")
        changed[offset : offset + size] = value
    return bytes(changed)


def root_keys(count: int = 3) -> tuple[FakeKey, ...]:
    """Roots in ascending order of their points, as a bundle wants them."""
    return tuple(sorted((fake_key(f"root {i}") for i in range(count)), key=lambda key: key.public))


def default_role_keys() -> tuple[tuple[int, bytes], ...]:
    named = [
        (1, "application release"),
        (1, "application release spare"),
        (2, "production"),
        (3, "grant"),
        (4, "service"),
    ]
    keys = [(role, fake_key(name).public) for role, name in named]
    return tuple(sorted(keys + [(5, key.public) for key in bootloader_release_keys()]))


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlan:
    """What a trust bundle is made from; as it stands, a genesis bundle with 2 of 3 roots."""

    product_id: bytes = PRODUCT_ID
    version: int = 1
    previous_digest: bytes = bytes(32)
    threshold: int = 2
    roots: Sequence[bytes] = field(default_factory=lambda: tuple(root.public for root in root_keys()))
    role_keys: Sequence[tuple[int, bytes]] = field(default_factory=default_role_keys)
    revoked: Sequence[tuple[bytes, int]] = ()
    limits: Sequence[int] = (0, 1000, 0, 500, 0, 100)
    # (set, index, key that signs)
    signers: Sequence[tuple[int, int, FakeKey]] = field(
        default_factory=lambda: tuple((1, i, root) for i, root in enumerate(root_keys()[:2]))
    )


BUNDLE_FIELDS = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "root_count": (7, 1),
    "root_threshold": (8, 1),
    "role_key_count": (9, 1),
    "revoked_count": (10, 1),
    "reserved_11": (11, 1),
    "version": (12, 4),
    "product_id": (16, 16),
    "previous_digest": (32, 32),
    "limits": (64, 24),
    "reserved_88": (88, 8),
    "roots": (96, 320),
    "role_keys": (416, 816),
    "revoked": (1232, 288),
    "reserved_1520": (1520, 79),
    "signature_count": (1599, 1),
    "signatures": (1600, 680),
    "reserved_2280": (2280, 24),
}


def build_bundle(plan: BundlePlan, changed: Mapping[str, bytes] | None = None) -> bytes:
    """A signed bundle; `changed` fields are laid over it before it is signed (those of signatures, after)."""
    fields = {
        "magic": b"SRB1",
        "format_version": u16(1),
        "suite": u8(1),
        "root_count": u8(len(plan.roots)),
        "root_threshold": u8(plan.threshold),
        "role_key_count": u8(len(plan.role_keys)),
        "revoked_count": u8(len(plan.revoked)),
        "version": u32(plan.version),
        "product_id": plan.product_id,
        "previous_digest": plan.previous_digest,
        "limits": struct.pack("<6I", *plan.limits),
        "roots": b"".join(plan.roots).ljust(320, b"\0"),
        "role_keys": b"".join(u8(role) + bytes(3) + key for role, key in plan.role_keys).ljust(816, b"\0"),
        "revoked": b"".join(key_id + u8(flags) + bytes(3) for key_id, flags in plan.revoked).ljust(288, b"\0"),
        **(changed or {}),
    }
    digest = sha256(padded("SR-bundle-v1"), with_bundle_fields(bytes(2304), fields)[:1599])
    entries = [u8(which) + u8(index) + bytes(2) + signer.sign(digest) for which, index, signer in plan.signers]
    signatures = {"signature_count": u8(len(entries)), "signatures": b"".join(entries).ljust(680, b"\0")}
    return with_bundle_fields(bytes(2304), {**signatures, **fields})


def with_bundle_fields(bundle: bytes, fields: Mapping[str, bytes]) -> bytes:
    """A copy of a bundle with some fields overwritten."""
    changed = bytearray(bundle)
    for name, value in fields.items():
        offset, size = BUNDLE_FIELDS[name]
        if len(value) != size:
            raise ValueError(f"{name} has {size} bytes")
        changed[offset : offset + size] = value
    return bytes(changed)


def aes_256_ctr(key: bytes, data: bytes) -> bytes:
    """Counter mode from single blocks, with the counter block written out (SP 800-38A, section 6.5)."""
    block_count = -(-len(data) // 16)
    counters = b"".join(i.to_bytes(16, "big") for i in range(block_count))
    keystream = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counters)  # noqa: S305 (builds CTR)
    return xor(data, keystream[: len(data)])


def hkdf_32(ikm: bytes, info: bytes) -> bytes:
    """The first 32 bytes of HKDF-SHA256 with an empty salt (RFC 5869, sections 2.2 and 2.3)."""
    pseudorandom_key = hmac.digest(bytes(32), ikm, "sha256")
    return hmac.digest(pseudorandom_key, info + b"\x01", "sha256")


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)
