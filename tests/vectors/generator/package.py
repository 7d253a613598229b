"""Packages from `docs/spec/package.md`: any set of field values, right or wrong, packed, signed and given a trailer.

Nothing is checked here: a vector that must be refused is made by asking for the wrong value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.vectors.generator import p256
from tests.vectors.generator.keys import TestKey, ephemeral_key, in_key_id_order, key
from tests.vectors.generator.primitives import (
    aes256_ctr,
    context,
    derived_bytes,
    hkdf_sha256,
    sha256,
    u16,
    u32,
    xor,
)

HEAD_SIZE_BYTES = 1024
SIGNED_SIZE_BYTES = 448
CHUNK_SIZE_BYTES = 4096

Version = tuple[int, int, int, int]
Value = int | bytes | Version

# name, offset, size in bytes: section 1 of the specification, without the MCUboot header and the reserved bytes.
FIELDS = (
    ("magic", 32, 4),
    ("format_version", 36, 2),
    ("package_type", 38, 1),
    ("suite", 39, 1),
    ("product_id", 40, 16),
    ("hardware_revision_min", 56, 2),
    ("hardware_revision_max", 58, 2),
    ("image_version", 60, 8),
    ("security_version", 68, 4),
    ("load_address", 72, 4),
    ("image_size_bytes", 76, 4),
    ("bootloader_version_min", 80, 8),
    ("trust_bundle_version_min", 88, 4),
    ("target", 92, 1),
    ("recipient_mode", 93, 1),
    ("target_uid", 96, 16),
    ("image_salt", 112, 32),
    ("image_digest", 144, 32),
    ("chunk_size_bytes", 176, 4),
    ("payload_size_bytes", 180, 4),
    ("first_link", 184, 32),
    ("cek_commitment", 216, 32),
    ("ephemeral_public_key", 248, 64),
    ("wrapped_cek", 312, 32),
    ("recipient_key_id", 344, 8),
    ("sbom_digest", 352, 32),
    ("signer_key_id_0", 384, 8),
    ("signer_key_id_1", 392, 8),
)
# Section 2: the MCUboot header; its last fields but one repeat fields of the manifest.
MCUBOOT_FIELDS = (
    ("ih_magic", 0, 4),
    ("ih_load_addr", 4, 4),
    ("ih_hdr_size", 8, 2),
    ("ih_protect_tlv_size", 10, 2),
    ("ih_img_size", 12, 4),
    ("ih_flags", 16, 4),
    ("ih_ver", 20, 8),
    ("_pad1", 28, 4),
)
SIGNATURE_CONTEXTS = {1: "SR-pkg-app-v1", 2: "SR-pkg-boot-v1", 3: "SR-pkg-test-v1"}


@dataclass(frozen=True, slots=True)
class PackagePlan:
    """Everything a package is made from. `fields` and `mcuboot` override single values before signing."""

    name: str
    image: bytes
    load_address: int
    product_id: bytes
    package_type: int = 1
    hardware_revisions: tuple[int, int] = (2, 5)
    image_version: Version = (1, 2, 3, 4)
    security_version: int = 10
    bootloader_version_min: Version = (0, 0, 0, 0)
    trust_bundle_version_min: int = 0
    target: int = 0
    recipient_mode: int = 2
    recipient: str | None = "group-lot-1-agreement"
    target_uid: bytes = bytes(16)  # as in the head
    bound_uid: bytes | None = None  # as signed and wrapped for; None: the same
    sbom: bytes = b""
    signers: tuple[str, ...] = ("app-release-1",)
    sign_context: str | None = None  # None: as the package type demands
    content_key: bytes | None = None  # None: derived from the name
    commitment_key: bytes | None = None  # the key committed to; None: the content key
    digested_image: bytes | None = None  # None: the image
    last_link: bytes = bytes(32)
    fields: Mapping[str, Value] = field(default_factory=dict)
    mcuboot: Mapping[str, Value] = field(default_factory=dict)
    raw: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes) laid over the head before signing
    has_trailer: bool = False
    trailer_filler_bytes: int = 0  # a further TLV of an unknown type, to reach a size

    @property
    def salt(self) -> bytes:
        """The image salt: fixed, one for each vector."""
        return derived_bytes(f"Strongroom test salt of {self.name}", 32)

    @property
    def cek(self) -> bytes:
        """The content key: fixed, one for each vector."""
        return self.content_key or derived_bytes(f"Strongroom test content key of {self.name}", 32)

    @property
    def uid(self) -> bytes:
        """The UID that stands before the head in what is signed, and in the wrap's info."""
        if self.bound_uid is not None:
            return self.bound_uid
        return self.target_uid if self.target == 1 else bytes(16)


@dataclass(frozen=True, slots=True)
class Package:
    """A finished package and the values met on the way."""

    plan: PackagePlan
    values: Mapping[str, Value]
    head: bytes
    chunks: tuple[bytes, ...]
    trailer: bytes
    signers: tuple[TestKey, ...]
    signed_digest: bytes

    @property
    def file(self) -> bytes:
        """The bytes of the `.srp` file."""
        return self.head + b"".join(self.chunks) + self.trailer


def pack(value: Value, size_bytes: int) -> bytes:
    """One field: integers little-endian, versions as u8, u8, u16, u32, bytes as they are."""
    if isinstance(value, int):
        return value.to_bytes(size_bytes, "little")
    if isinstance(value, tuple):
        major, minor, revision, build = value
        return bytes((major, minor)) + u16(revision) + u32(build)
    if len(value) != size_bytes:
        raise ValueError(f"{len(value)} bytes where {size_bytes} belong")
    return value


def laid_over(data: bytes, offset: int, patch: bytes) -> bytes:
    """`data` with `patch` in place of the bytes from `offset`; the size stays."""
    if offset + len(patch) > len(data):
        raise ValueError("the patch reaches beyond the end")
    return data[:offset] + patch + data[offset + len(patch) :]


def chain(ciphertext: bytes, last_link: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Section 5: the first link, and the chunks as they go on the wire."""
    pieces = [ciphertext[at : at + CHUNK_SIZE_BYTES] for at in range(0, len(ciphertext), CHUNK_SIZE_BYTES)]
    link, chunks = last_link, []
    for index in reversed(range(len(pieces))):
        chunks.append(pieces[index] + link)
        link = sha256(context("SR-chunk-v1"), u32(index), chunks[-1])
    return link, tuple(reversed(chunks))


def wrap_pad(plan: PackagePlan, ephemeral: TestKey, recipient_public: bytes) -> bytes:
    """Section 6: the HKDF output that hides the content key."""
    return wrap_pad_for(plan.product_id, plan.salt, plan.recipient_mode, plan.uid, ephemeral, recipient_public)


def wrap_pad_for(
    product_id: bytes, salt: bytes, recipient_mode: int, uid: bytes, ephemeral: TestKey, recipient_public: bytes
) -> bytes:
    """The same from its parts, for packages and for grants."""
    mode = bytes((recipient_mode,))
    info = b"".join((context("SR-wrap-v1"), product_id, salt, mode, uid, ephemeral.public, recipient_public))
    return hkdf_sha256(p256.ecdh(ephemeral.private, recipient_public), info, 32)


def _encryption_values(plan: PackagePlan) -> dict[str, Value]:
    commitment = sha256(context("SR-cek-v1"), plan.salt, plan.commitment_key or plan.cek)
    if plan.recipient_mode == 0:
        commitment = bytes(32)
    values: dict[str, Value] = {
        "cek_commitment": commitment,
        "ephemeral_public_key": bytes(64),
        "wrapped_cek": bytes(32),
        "recipient_key_id": bytes(8),
    }
    if plan.recipient_mode in {1, 2}:
        if plan.recipient is None:
            raise ValueError("a recipient is needed")
        recipient, ephemeral = key(plan.recipient), ephemeral_key(plan.name)
        values["ephemeral_public_key"] = ephemeral.public
        values["wrapped_cek"] = xor(plan.cek, wrap_pad(plan, ephemeral, recipient.public))
        values["recipient_key_id"] = recipient.key_id
    return values


def _values(plan: PackagePlan, signers: tuple[TestKey, ...], first_link: bytes) -> dict[str, Value]:
    image_size_bytes = len(plan.image)
    values: dict[str, Value] = {
        "magic": b"SRM1",
        "format_version": 1,
        "package_type": plan.package_type,
        "suite": 1,
        "product_id": plan.product_id,
        "hardware_revision_min": plan.hardware_revisions[0],
        "hardware_revision_max": plan.hardware_revisions[1],
        "image_version": plan.image_version,
        "security_version": plan.security_version,
        "load_address": plan.load_address,
        "image_size_bytes": image_size_bytes,
        "bootloader_version_min": plan.bootloader_version_min,
        "trust_bundle_version_min": plan.trust_bundle_version_min,
        "target": plan.target,
        "recipient_mode": plan.recipient_mode,
        "target_uid": plan.target_uid,
        "image_salt": plan.salt,
        "image_digest": sha256(context("SR-image-v1"), plan.salt, plan.digested_image or plan.image),
        "chunk_size_bytes": CHUNK_SIZE_BYTES,
        "payload_size_bytes": image_size_bytes + 32 * -(-image_size_bytes // CHUNK_SIZE_BYTES),
        "first_link": first_link,
        "sbom_digest": sha256(context("SR-sbom-v1"), plan.salt, plan.sbom),
        "signer_key_id_0": signers[0].key_id,
        "signer_key_id_1": signers[1].key_id if len(signers) == 2 else bytes(8),
    }
    return values | _encryption_values(plan) | dict(plan.fields)


def _head_to_sign(plan: PackagePlan, values: Mapping[str, Value]) -> bytes:
    mcuboot: dict[str, Value] = {
        "ih_magic": 0x96F3B83D,
        "ih_load_addr": 0,
        "ih_hdr_size": HEAD_SIZE_BYTES,
        "ih_protect_tlv_size": 0,
        "ih_img_size": values["payload_size_bytes"],
        "ih_flags": 0,
        "ih_ver": values["image_version"],
        "_pad1": 0,
    }
    mcuboot |= dict(plan.mcuboot)
    head = bytes(HEAD_SIZE_BYTES)
    for layout, source in ((MCUBOOT_FIELDS, mcuboot), (FIELDS, values)):
        for name, offset, size_bytes in layout:
            head = laid_over(head, offset, pack(source[name], size_bytes))
    for offset, patch in plan.raw:
        head = laid_over(head, offset, patch)
    return head


def digest_to_sign(head: bytes, sign_context: str, uid: bytes) -> bytes:
    """Section 3: SHA-256( context ‖ uid ‖ head[0:448] )."""
    return sha256(context(sign_context), uid, head[:SIGNED_SIZE_BYTES])


def trailer(covered: bytes, filler_bytes: int = 0) -> bytes:
    """Section 7: MCUboot's unprotected TLV area over head and payload, made with the compat test key."""
    compat = key("compat")
    digest = sha256(covered)
    entries = (
        (0x10, digest),
        (0x01, sha256(p256.subject_public_key_info(compat.public))),
        (0x22, p256.der_signature(p256.sign(compat.private, digest))),
    )
    area = b"".join(u16(kind) + u16(len(value)) + value for kind, value in entries)
    if filler_bytes:
        area += u16(0x00A0) + u16(filler_bytes - 4) + bytes(filler_bytes - 4)
    return u16(0x6907) + u16(4 + len(area)) + area


def make(plan: PackagePlan) -> Package:
    """The package a plan asks for, signed by each of its signers in the ascending order of their key ids."""
    if len(set(plan.signers)) == len(plan.signers):
        signers = in_key_id_order(*plan.signers)
    else:
        signers = tuple(key(name) for name in plan.signers)
    wire_text = plan.image if plan.recipient_mode == 0 else aes256_ctr(plan.cek, plan.image)
    first_link, chunks = chain(wire_text, plan.last_link)
    values = _values(plan, signers, first_link)
    head = _head_to_sign(plan, values)
    sign_context = plan.sign_context or SIGNATURE_CONTEXTS.get(plan.package_type, SIGNATURE_CONTEXTS[1])
    digest = digest_to_sign(head, sign_context, plan.uid)
    for offset, signer in zip((448, 512), signers, strict=False):
        head = laid_over(head, offset, p256.sign(signer.private, digest))
    end = trailer(head + b"".join(chunks), plan.trailer_filler_bytes) if plan.has_trailer else b""
    return Package(plan, values, head, chunks, end, signers, digest)
