"""The 448 signed bytes of a head: encoder, and the decoder for packages of our own that wait for a signature."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from pki.errors import FormatError, InputRefused
from pki.values import Digest
from signer.packages.layout import (
    CHUNK_SIZE_BYTES,
    HEAD_SIZE_BYTES,
    IMAGE_SIZE_BYTES_MAX,
    SIGNED_SIZE_BYTES,
    context,
    payload_size_bytes,
)
from signer.packages.terms import (
    ImageVersion,
    PackageTerms,
    PackageType,
    RecipientMode,
    Target,
    require_unsigned,
    signer_count,
)

_MCUBOOT_HEADER = struct.Struct("<IIHHII8sI")
_FIELDS = struct.Struct("<4sHBB16sHH8sIII8sIBB2x16s32s32sII32s32s64s32s8s32s8s8s48x")
_MCUBOOT_MAGIC = 0x96F3B83D
_MAGIC = b"SRM1"
_FORMAT_VERSION = 1
_SUITE = 1
_NO_KEY_ID = bytes(8)

_SIGNING_CONTEXTS = {
    PackageType.APPLICATION: context("SR-pkg-app-v1"),
    PackageType.BOOTLOADER: context("SR-pkg-boot-v1"),
    PackageType.FACTORY_TEST: context("SR-pkg-test-v1"),
}


class WrappedContentKey(msgspec.Struct, frozen=True):
    """What a head says about the content key (docs/spec/package.md, section 6); all zero for plaintext.

    `cek_commitment` 32 bytes, `ephemeral_public_key` a point of 64, `wrapped_cek` 32, `recipient_key_id` 8. In grant
    mode only the commitment is not zero.
    """

    cek_commitment: bytes = bytes(32)
    ephemeral_public_key: bytes = bytes(64)
    wrapped_cek: bytes = bytes(32)
    recipient_key_id: bytes = _NO_KEY_ID

    def require_fitting(self, mode: RecipientMode) -> None:
        """Refuse what the mode forbids or lacks; raises InputRefused."""
        if any(self.cek_commitment) is (mode is RecipientMode.NONE):
            raise InputRefused("the commitment to the content key does not fit the recipient mode")
        in_head = mode in {RecipientMode.DEVICE, RecipientMode.GROUP}
        if any(self.ephemeral_public_key) is not in_head or any(self.recipient_key_id) is not in_head:
            raise InputRefused("the wrapped content key does not fit the recipient mode")
        if any(self.wrapped_cek) and not in_head:
            raise InputRefused("a wrapped content key stands where none belongs")


class Manifest(msgspec.Struct, frozen=True):
    """Everything a signature covers. Sizes in bytes; digests, links and salt 32 bytes each. Raises InputRefused."""

    terms: PackageTerms
    load_address: int
    image_size_bytes: int
    image_salt: bytes
    image_digest: bytes
    first_link: bytes
    sbom_digest: bytes
    content_key: WrappedContentKey
    signer_key_ids: tuple[bytes, ...]

    def __post_init__(self) -> None:
        require_unsigned("the load address", self.load_address, 32)
        if not 0 < self.image_size_bytes <= IMAGE_SIZE_BYTES_MAX:
            raise InputRefused(f"an image has 1 to {IMAGE_SIZE_BYTES_MAX} bytes, not {self.image_size_bytes}")
        self.content_key.require_fitting(self.terms.recipient_mode)
        ids = self.signer_key_ids
        if len(ids) != signer_count(self.terms.package_type) or list(ids) != sorted(set(ids)) or _NO_KEY_ID in ids:
            raise InputRefused("the signers' key ids are too few, too many, repeated, zero or not in ascending order")

    @property
    def payload_size_bytes(self) -> int:
        """What stands between head and trailer."""
        return payload_size_bytes(self.image_size_bytes)


def encode_manifest(manifest: Manifest) -> bytes:
    """The first 448 bytes of the head: MCUboot's header and the manifest (docs/spec/package.md, sections 1 and 2)."""
    terms, key = manifest.terms, manifest.content_key
    header = _MCUBOOT_HEADER.pack(
        _MCUBOOT_MAGIC, 0, HEAD_SIZE_BYTES, 0, manifest.payload_size_bytes, 0, terms.image_version.encoded, 0
    )
    signer_0, signer_1 = (*manifest.signer_key_ids, _NO_KEY_ID)[:2]
    return header + _FIELDS.pack(
        _MAGIC,
        _FORMAT_VERSION,
        terms.package_type,
        _SUITE,
        terms.product_id,
        terms.hardware_revision_min,
        terms.hardware_revision_max,
        terms.image_version.encoded,
        terms.security_version,
        manifest.load_address,
        manifest.image_size_bytes,
        terms.bootloader_version_min.encoded,
        terms.trust_bundle_version_min,
        terms.target,
        terms.recipient_mode,
        terms.target_uid,
        manifest.image_salt,
        manifest.image_digest,
        CHUNK_SIZE_BYTES,
        manifest.payload_size_bytes,
        manifest.first_link,
        key.cek_commitment,
        key.ephemeral_public_key,
        key.wrapped_cek,
        key.recipient_key_id,
        manifest.sbom_digest,
        signer_0,
        signer_1,
    )


def decode_manifest(signed: bytes) -> Manifest:
    """Read the 448 signed bytes of a package that our own `prepare` wrote; raises FormatError for anything else.

    Only what encodes back to exactly the same bytes is taken, so no reserved byte and no constant escapes the check.
    """
    if len(signed) != SIGNED_SIZE_BYTES:
        raise FormatError("head", 0, f"{SIGNED_SIZE_BYTES} signed bytes expected, not {len(signed)}")
    if signed[32:36] != _MAGIC:
        raise FormatError("magic", 32, "not a Strongroom package")
    if signed[36:38] != _FORMAT_VERSION.to_bytes(2, "little"):
        raise FormatError("format_version", 36, "made by another version of Strongroom; use that one")
    try:
        manifest = _manifest_of(_FIELDS.unpack_from(signed, 32))
    except (ValueError, InputRefused) as error:
        raise FormatError("manifest", 32, f"not one that package prepare writes: {error}") from None
    encoded = encode_manifest(manifest)
    if encoded != signed:
        offset = next(i for i in range(SIGNED_SIZE_BYTES) if encoded[i] != signed[i])
        raise FormatError("head", offset, "not as package prepare writes it; prepare the package again")
    return manifest


def _manifest_of(fields: tuple[Any, ...]) -> Manifest:
    # Every element is what the format string says at its place; the names are those of the specification.
    package_type, product_id, revision_min, revision_max, version, security_version = fields[2], *fields[4:9]
    load_address, image_size_bytes, bootloader_min, bundle_min, target, mode, uid = fields[9:16]
    salt, image_digest, _, _, first_link = fields[16:21]
    commitment, ephemeral, wrapped, recipient_key_id, sbom_digest, signer_0, signer_1 = fields[21:28]
    kind = PackageType(package_type)
    terms = PackageTerms(
        package_type=kind,
        product_id=product_id,
        hardware_revision_min=revision_min,
        hardware_revision_max=revision_max,
        image_version=ImageVersion.from_bytes(version),
        security_version=security_version,
        bootloader_version_min=ImageVersion.from_bytes(bootloader_min),
        trust_bundle_version_min=bundle_min,
        target=Target(target),
        recipient_mode=RecipientMode(mode),
        target_uid=uid,
    )
    return Manifest(
        terms,
        load_address,
        image_size_bytes,
        salt,
        image_digest,
        first_link,
        sbom_digest,
        WrappedContentKey(commitment, ephemeral, wrapped, recipient_key_id),
        (signer_0, signer_1)[: signer_count(kind)],
    )


def tbs_digest(signed: bytes) -> Digest:
    """The digest that every signer of this package signs (docs/spec/package.md, section 3).

    `signed` is a head or its first 448 bytes; what precedes it in the hash says what kind of object is signed and, for
    a package bound to one device, whose. Raises FormatError.
    """
    manifest = decode_manifest(signed[:SIGNED_SIZE_BYTES])
    terms = manifest.terms
    # `target_uid` is zero in a package that is not bound to one device, which is what is hashed then.
    return Digest.of(_SIGNING_CONTEXTS[terms.package_type], terms.target_uid, signed[:SIGNED_SIZE_BYTES])
