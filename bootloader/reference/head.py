"""The head of a package: its 1,024 bytes, read and checked in the order of docs/spec/package.md, section 1.

Nothing here trusts anything: a parsed head is well formed, no more. `authenticity` decides whether it is genuine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from struct import Struct

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import context, sha256
from bootloader.reference.sizes import HEAD_SIZE_BYTES, UID_SIZE_BYTES

SIGNED_SIZE_BYTES = 448
CHUNK_SIZE_BYTES = 4096
LINK_SIZE_BYTES = 32
TRAILER_SIZE_BYTES_MAX = 512
IMAGE_SIZE_BYTES_MAX = 64 * 1024 * 1024

MANIFEST_MAGIC = b"SRM1"
FORMAT_VERSION = 1
SUITE = 1
MCUBOOT_MAGIC = 0x96F3B83D


class PackageType(IntEnum):
    """What a package carries, and so which role signs it."""

    APPLICATION = 1
    BOOTLOADER = 2
    FACTORY_TEST = 3


class Target(IntEnum):
    """Which devices of the product may take a package."""

    ANY_DEVICE = 0
    ONE_UID = 1
    GRANT_REQUIRED = 2


class RecipientMode(IntEnum):
    """For whom the content key is wrapped; NONE is authenticated plaintext."""

    NONE = 0
    DEVICE = 1
    GROUP = 2
    GRANT = 3


CONTEXTS = {
    PackageType.APPLICATION: context("SR-pkg-app-v1"),
    PackageType.BOOTLOADER: context("SR-pkg-boot-v1"),
    PackageType.FACTORY_TEST: context("SR-pkg-test-v1"),
}

_VERSION = Struct("<BBHI")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """An image version, compared field by field in this order; 8 bytes on the wire."""

    major: int
    minor: int
    revision: int
    build: int

    @classmethod
    def from_bytes(cls, data: bytes) -> Version:
        return cls(*_VERSION.unpack(data))

    def to_bytes(self) -> bytes:
        return _VERSION.pack(self.major, self.minor, self.revision, self.build)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}+{self.build}"


@dataclass(frozen=True, slots=True)
class Head:
    """A well-formed head. `raw` is its exact 1,024 bytes; the fields follow in the order and names of the table."""

    raw: bytes
    mcuboot_header: bytes
    magic: bytes
    format_version: int
    package_type: PackageType
    suite: int
    product_id: bytes
    hardware_revision_min: int
    hardware_revision_max: int
    image_version: Version
    security_version: int
    load_address: int
    image_size_bytes: int
    bootloader_version_min: Version
    trust_bundle_version_min: int
    target: Target
    recipient_mode: RecipientMode
    reserved_94: bytes
    target_uid: bytes
    image_salt: bytes
    image_digest: bytes
    chunk_size_bytes: int
    payload_size_bytes: int
    first_link: bytes
    cek_commitment: bytes
    ephemeral_public_key: bytes
    wrapped_cek: bytes
    recipient_key_id: bytes
    sbom_digest: bytes
    signer_key_id_0: bytes
    signer_key_id_1: bytes
    reserved_400: bytes
    signature_0: bytes
    signature_1: bytes
    padding: bytes

    @property
    def chunk_count(self) -> int:
        return -(-self.image_size_bytes // CHUNK_SIZE_BYTES)

    @property
    def package_size_bytes_min(self) -> int:
        """Head and payload, without the trailer of 0 to 512 bytes."""
        return HEAD_SIZE_BYTES + self.payload_size_bytes

    @property
    def hash(self) -> bytes:
        """SHA-256 over the 1,024 bytes: the name by which the journal knows this head."""
        return sha256(self.raw)

    def signed_digest(self, device_uid: bytes) -> bytes:
        """What the signers signed (section 3). `device_uid` is the device's own in 16 bytes, never the head's."""
        return sha256(CONTEXTS[self.package_type], self.bound_uid(device_uid), self.raw[:SIGNED_SIZE_BYTES])

    def bound_uid(self, device_uid: bytes) -> bytes:
        """The device's own UID if the package is bound to one device, else zero (section 3)."""
        if len(device_uid) != UID_SIZE_BYTES:
            raise ValueError("a device UID is padded to 16 bytes")
        return device_uid if self.target == Target.ONE_UID else bytes(UID_SIZE_BYTES)


# One format for each field of Head after `raw`, in the same order; the last number is the offset of the line's first.
_LAYOUT = Struct(
    "<"
    "32s 4s H B B"  # mcuboot_header magic format_version package_type suite: 0
    "16s H H"  # product_id hardware_revision_min hardware_revision_max: 40
    "8s I I I"  # image_version security_version load_address image_size_bytes: 60
    "8s I"  # bootloader_version_min trust_bundle_version_min: 80
    "B B 2s 16s"  # target recipient_mode reserved target_uid: 92
    "32s 32s I I 32s"  # image_salt image_digest chunk_size_bytes payload_size_bytes first_link: 112
    "32s 64s 32s 8s"  # cek_commitment ephemeral_public_key wrapped_cek recipient_key_id: 216
    "32s 8s 8s 48s"  # sbom_digest signer_key_id_0 signer_key_id_1 reserved: 352
    "64s 64s 448s"  # signature_0 signature_1 padding: 448
)


def parse_head(data: bytes | bytearray) -> Head:
    """A head from exactly 1,024 bytes; raises Refused with the code of the first of the checks 1 to 15 that fails.

    Giving more than 1,024 bytes is a defect of the caller (ValueError).
    """
    require(len(data) >= HEAD_SIZE_BYTES, DeviceCode.HEAD_TRUNCATED, f"{len(data)} bytes of 1,024")
    if len(data) != HEAD_SIZE_BYTES:
        raise ValueError("a head has exactly 1,024 bytes")
    return _checked(bytes(data))


@lru_cache(maxsize=32)  # pure, and asked of the same heads at every start
def _checked(data: bytes) -> Head:
    """Checks 2 to 15."""
    head = _unpack(data)
    for check in _CHECKS:
        check(head)
    return replace(
        head,
        package_type=PackageType(head.package_type),
        target=Target(head.target),
        recipient_mode=RecipientMode(head.recipient_mode),
    )


def _unpack(data: bytes) -> Head:
    """The fields as they stand. Nothing is checked yet: the three enumerations are still plain integers."""
    head = Head(data, *_LAYOUT.unpack(data))
    return replace(
        head,
        image_version=Version.from_bytes(data[60:68]),
        bootloader_version_min=Version.from_bytes(data[80:88]),
    )


_MCUBOOT_FIELDS = Struct("<IIHHII8sI")


def _check_mcuboot_header(head: Head) -> None:
    demanded = {
        "ih_magic": MCUBOOT_MAGIC,
        "ih_load_addr": 0,
        "ih_hdr_size": HEAD_SIZE_BYTES,
        "ih_protect_tlv_size": 0,
        "ih_img_size": head.payload_size_bytes,
        "ih_flags": 0,
        "ih_ver": head.image_version.to_bytes(),
        "_pad1": 0,
    }
    found = _MCUBOOT_FIELDS.unpack(head.mcuboot_header)
    for value, (name, demand) in zip(found, demanded.items(), strict=True):
        require(value == demand, DeviceCode.MCUBOOT_HEADER, f"{name} is {value!r}, not {demand!r}")


def _check_magic(head: Head) -> None:
    require(head.magic == MANIFEST_MAGIC, DeviceCode.MANIFEST_MAGIC, "the manifest does not begin with SRM1")


def _check_format_version(head: Head) -> None:
    known = head.format_version == FORMAT_VERSION
    require(known, DeviceCode.FORMAT_VERSION, f"format version {head.format_version} is not known")


def _check_package_type(head: Head) -> None:
    known = head.package_type in tuple(PackageType)
    require(known, DeviceCode.PACKAGE_TYPE, f"package type {int(head.package_type)} is not known")


def _check_suite(head: Head) -> None:
    require(head.suite == SUITE, DeviceCode.SUITE, f"suite {head.suite} is not known")


def _check_reserved(head: Head) -> None:
    for offset, field in ((94, head.reserved_94), (400, head.reserved_400), (576, head.padding)):
        require(_is_zero(field), DeviceCode.RESERVED_NOT_ZERO, f"the bytes from offset {offset} are not all zero")


def _check_product_id(head: Head) -> None:
    require(not _is_zero(head.product_id), DeviceCode.PRODUCT_ID, "the product id is zero")


def _check_hardware_range(head: Head) -> None:
    low, high = head.hardware_revision_min, head.hardware_revision_max
    require(low <= high, DeviceCode.HARDWARE_RANGE, f"hardware revisions {low} to {high} are none")


def _check_target(head: Head) -> None:
    require(head.target in tuple(Target), DeviceCode.TARGET, f"target {int(head.target)} is not known")
    has_uid = not _is_zero(head.target_uid)
    fits = has_uid == (head.target == Target.ONE_UID)
    require(fits, DeviceCode.TARGET, "a target UID is there if and only if the target is one UID")


# Section 1, "Legal pairs", written out: what may stand together. Whatever is not here is refused, unknown modes too.
_LEGAL_RECIPIENTS = frozenset(
    {
        (PackageType.APPLICATION, Target.ANY_DEVICE, RecipientMode.GROUP),
        (PackageType.APPLICATION, Target.ONE_UID, RecipientMode.DEVICE),
        (PackageType.APPLICATION, Target.ONE_UID, RecipientMode.GROUP),
        (PackageType.APPLICATION, Target.GRANT_REQUIRED, RecipientMode.GRANT),
        (PackageType.BOOTLOADER, Target.ANY_DEVICE, RecipientMode.GROUP),
        (PackageType.BOOTLOADER, Target.ONE_UID, RecipientMode.DEVICE),
        (PackageType.BOOTLOADER, Target.ONE_UID, RecipientMode.GROUP),
        (PackageType.BOOTLOADER, Target.GRANT_REQUIRED, RecipientMode.GRANT),
        (PackageType.FACTORY_TEST, Target.ANY_DEVICE, RecipientMode.NONE),
        (PackageType.FACTORY_TEST, Target.ONE_UID, RecipientMode.NONE),
        (PackageType.FACTORY_TEST, Target.ONE_UID, RecipientMode.DEVICE),
    }
)


def _check_recipient_mode(head: Head) -> None:
    code = DeviceCode.RECIPIENT_MODE
    mode = head.recipient_mode
    legal = (head.package_type, head.target, mode) in _LEGAL_RECIPIENTS
    require(legal, code, f"recipient mode {int(mode)} is unknown, or does not go with this package type and target")

    encrypted = mode != RecipientMode.NONE
    wrapped_in_head = mode in (RecipientMode.DEVICE, RecipientMode.GROUP)
    require(_is_zero(head.cek_commitment) != encrypted, code, "cek_commitment does not fit the recipient mode")
    require(_is_zero(head.ephemeral_public_key) != wrapped_in_head, code, "ephemeral_public_key does not fit the mode")
    require(_is_zero(head.wrapped_cek) or wrapped_in_head, code, "wrapped_cek does not fit the recipient mode")
    require(_is_zero(head.recipient_key_id) != wrapped_in_head, code, "recipient_key_id does not fit the mode")


def _check_image_size(head: Head) -> None:
    size = head.image_size_bytes
    require(1 <= size <= IMAGE_SIZE_BYTES_MAX, DeviceCode.IMAGE_SIZE, f"an image of {size} bytes")


def _check_chunk_size(head: Head) -> None:
    size = head.chunk_size_bytes
    require(size == CHUNK_SIZE_BYTES, DeviceCode.CHUNK_SIZE, f"chunks of {size} bytes, not 4,096")


def _check_payload_size(head: Head) -> None:
    expected = head.image_size_bytes + LINK_SIZE_BYTES * head.chunk_count
    found = head.payload_size_bytes
    require(found == expected, DeviceCode.PAYLOAD_SIZE, f"a payload of {found} bytes, not {expected}")


def _check_signer_ids(head: Head) -> None:
    code = DeviceCode.SIGNER_IDS
    require(not _is_zero(head.signer_key_id_0), code, "signer_key_id_0 is zero")
    if head.package_type == PackageType.BOOTLOADER:
        ascending = head.signer_key_id_0 < head.signer_key_id_1
        require(ascending, code, "a bootloader has two signer key ids in ascending order")
    else:
        require(_is_zero(head.signer_key_id_1), code, "signer_key_id_1 is for bootloaders")
        require(_is_zero(head.signature_1), code, "signature_1 is for bootloaders")


# Checks 2 to 15, in the order of the specification: the first that fails gives the code.
_CHECKS: tuple[Callable[[Head], None], ...] = (
    _check_mcuboot_header,
    _check_magic,
    _check_format_version,
    _check_package_type,
    _check_suite,
    _check_reserved,
    _check_product_id,
    _check_hardware_range,
    _check_target,
    _check_recipient_mode,
    _check_image_size,
    _check_chunk_size,
    _check_payload_size,
    _check_signer_ids,
)


def _is_zero(field: bytes) -> bool:
    return not any(field)
