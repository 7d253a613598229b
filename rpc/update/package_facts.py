"""What a host must know of a package before it sends it: its head, and that the file is whole.

A reader of its own, made from docs/spec/package.md alone; the device verifies everything again, and the signatures.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from pki.errors import InputRefused
from rpc.objects.reading import ImageVersion
from rpc.update.rules import MaterialRefused

HEAD_SIZE_BYTES: Final = 1_024
CHUNK_SIZE_BYTES: Final = 4_096
LINK_SIZE_BYTES: Final = 32
TRAILER_SIZE_BYTES_MAX: Final = 512
IMAGE_SIZE_BYTES_MAX: Final = 64 * 1024 * 1024

_CHUNK_CONTEXT: Final = b"SR-chunk-v1".ljust(16, b"\0")
_ZERO_LINK: Final = bytes(LINK_SIZE_BYTES)

# ih_magic, ih_load_addr, ih_hdr_size, ih_protect_tlv_size, ih_img_size, ih_flags, ih_ver, _pad1
_MCUBOOT: Final = Struct("<I I H H I I 8s I")
_MCUBOOT_MAGIC: Final = 0x96F3B83D
# Section 1 from offset 32 to 576: names as in the specification.
_MANIFEST: Final = Struct(
    "<4s H B B 16s H H 8s I I I 8s I B B 2s 16s 32s 32s I I 32s 32s 64s 32s 8s 32s 8s 8s 48s 64s 64s"
)
_VERSION: Final = Struct("<B B H I")


class PackageType(IntEnum):
    """`package_type`."""

    APPLICATION = 1
    BOOTLOADER = 2
    FACTORY_TEST = 3


class Target(IntEnum):
    """`target`: whom it is for."""

    ANY = 0
    ONE_DEVICE = 1
    GRANTED = 2


class RecipientMode(IntEnum):
    """`recipient_mode`: for whose key it is encrypted."""

    NONE = 0
    DEVICE = 1
    GROUP = 2
    GRANT = 3


_LEGAL_TARGETS: Final = {
    RecipientMode.NONE: (Target.ANY, Target.ONE_DEVICE),
    RecipientMode.DEVICE: (Target.ONE_DEVICE,),
    RecipientMode.GROUP: (Target.ANY, Target.ONE_DEVICE),
    RecipientMode.GRANT: (Target.GRANTED,),
}


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """A package whose head is well-formed; fields as the specification names them. Nothing is verified."""

    package_type: PackageType
    product_id: bytes
    hardware_revision_min: int
    hardware_revision_max: int
    version: ImageVersion
    security_version: int
    load_address: int
    image_size_bytes: int
    bootloader_version_min: ImageVersion
    trust_bundle_version_min: int
    target: Target
    recipient_mode: RecipientMode
    target_uid: bytes
    payload_size_bytes: int
    first_link: bytes
    recipient_key_id: bytes
    signer_key_ids: tuple[bytes, ...]
    head_hash: bytes
    is_signed: bool

    @property
    def end_of_payload(self) -> int:
        """Where the trailer begins, in bytes from the start of the file."""
        return HEAD_SIZE_BYTES + self.payload_size_bytes


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file that is whole: its facts, size, and SHA-256."""

    path: Path
    facts: PackageFacts
    size_bytes: int
    sha256: bytes

    def open(self) -> BinaryIO:
        """For the upload. Raises InputRefused if the file is gone, or no longer the one that was read."""
        try:
            stream = self.path.open("rb")
        except OSError as error:
            raise InputRefused(f"package {self.path}: cannot be read any more ({error.strerror})") from None
        if os.fstat(stream.fileno()).st_size != self.size_bytes:
            stream.close()
            raise InputRefused(f"package {self.path}: was changed meanwhile; start again")
        return stream


def read_package(path: Path) -> PackageFile:
    """Read a package file whole, once. Raises MaterialRefused UP-01 to UP-03, InputRefused."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_SIZE_BYTES)
            facts = parse_head(head)
            digest = hashlib.sha256(head)
            size_bytes = _read_payload(stream, facts, digest)
    except OSError as error:
        raise InputRefused(f"package {path}: cannot be read ({error.strerror})") from None
    except MaterialRefused as refusal:
        raise MaterialRefused(refusal.rule_id, f"package {path}: {_reason(refusal)}") from None
    if not facts.is_signed:
        raise MaterialRefused(
            "UP-03", f"package {path}: is prepared and not signed; `strongroom package sign` does that"
        )
    return PackageFile(path, facts, size_bytes, digest.digest())


def parse_head(head: bytes) -> PackageFacts:
    """Checks 1 to 15 of the specification, in their order. Raises MaterialRefused UP-01."""
    if len(head) < HEAD_SIZE_BYTES:
        raise MaterialRefused("UP-01", "shorter than a head; this is no package, or it was cut off")
    head = head[:HEAD_SIZE_BYTES]
    (
        magic, format_version, package_type, suite, product_id, revision_min, revision_max, version, security_version,
        load_address, image_size, bootloader_min, bundle_min, target, mode, reserved_94, target_uid, _salt, _digest,
        chunk_size, payload_size, first_link, commitment, ephemeral, wrapped_cek, recipient_key_id, _sbom,
        signer_0, signer_1, reserved_400, signature_0, signature_1,
    ) = _MANIFEST.unpack_from(head, 32)  # fmt: skip
    mcuboot = (_MCUBOOT_MAGIC, 0, HEAD_SIZE_BYTES, 0, payload_size, 0, version, 0)
    _require(_MCUBOOT.unpack_from(head) == mcuboot, "its MCUboot header is not as the format demands")
    _require(magic == b"SRM1", "not a Strongroom package")
    _require((format_version, suite) == (1, 1), "made by another version of Strongroom; use that one")
    _require(package_type in set(PackageType), f"package type {package_type} is not known")
    _require(not any(reserved_94 + reserved_400 + head[576:]), "a reserved byte is not zero")
    _require(any(product_id), "it names no product")
    _require(revision_min <= revision_max, "its range of hardware revisions is empty")
    _require(target in set(Target), f"target {target} is not known")
    _require((target == Target.ONE_DEVICE) == any(target_uid), "target and target UID do not fit each other")
    _require(mode in set(RecipientMode), f"recipient mode {mode} is not known")
    _require(target in _LEGAL_TARGETS[RecipientMode(mode)], "recipient mode and target do not fit each other")
    _require_recipient(package_type, mode, commitment, ephemeral + recipient_key_id, wrapped_cek)
    _require(1 <= image_size <= IMAGE_SIZE_BYTES_MAX, f"an image of {image_size} bytes")
    _require(chunk_size == CHUNK_SIZE_BYTES, f"chunks of {chunk_size} bytes")
    expected = image_size + LINK_SIZE_BYTES * -(-image_size // CHUNK_SIZE_BYTES)
    _require(payload_size == expected, "the payload's size does not follow from the image's")
    is_bootloader = package_type == PackageType.BOOTLOADER
    _require(any(signer_0), "it names no signer")
    _require(
        signer_0 < signer_1 if is_bootloader else not any(signer_1 + signature_1), "its signers are not as demanded"
    )
    return PackageFacts(
        package_type=PackageType(package_type),
        product_id=product_id,
        hardware_revision_min=revision_min,
        hardware_revision_max=revision_max,
        version=ImageVersion(*_VERSION.unpack(version)),
        security_version=security_version,
        load_address=load_address,
        image_size_bytes=image_size,
        bootloader_version_min=ImageVersion(*_VERSION.unpack(bootloader_min)),
        trust_bundle_version_min=bundle_min,
        target=Target(target),
        recipient_mode=RecipientMode(mode),
        target_uid=target_uid,
        payload_size_bytes=payload_size,
        first_link=first_link,
        recipient_key_id=recipient_key_id,
        signer_key_ids=(signer_0, signer_1) if is_bootloader else (signer_0,),
        head_hash=hashlib.sha256(head).digest(),
        is_signed=any(signature_0) and (any(signature_1) or not is_bootloader),
    )


def _require_recipient(package_type: int, mode: int, commitment: bytes, named: bytes, wrapped_cek: bytes) -> None:
    """The second half of check 11: plaintext is for factory tests, and each mode has its fields."""
    is_plain, has_key = mode == RecipientMode.NONE, mode in {RecipientMode.DEVICE, RecipientMode.GROUP}
    is_test = package_type == PackageType.FACTORY_TEST
    _require(is_test if is_plain else not is_test or mode == RecipientMode.DEVICE, "type and recipient do not fit")
    ephemeral, recipient_key_id = named[:64], named[64:]
    right = any(commitment) is not is_plain and any(ephemeral) is has_key and any(recipient_key_id) is has_key
    _require(right and (has_key or not any(wrapped_cek)), "its recipient's fields are not as the mode demands")


def _read_payload(stream: BinaryIO, facts: PackageFacts, digest: hashlib._Hash) -> int:
    """Check every link of the chain and what follows it; the size of the file. Raises MaterialRefused UP-02."""
    link, left = facts.first_link, facts.image_size_bytes
    for index in range(-(-left // CHUNK_SIZE_BYTES)):
        size_bytes = min(left, CHUNK_SIZE_BYTES)
        chunk = stream.read(size_bytes + LINK_SIZE_BYTES)
        expected = hashlib.sha256(_CHUNK_CONTEXT + index.to_bytes(4, "little") + chunk).digest()
        if len(chunk) != size_bytes + LINK_SIZE_BYTES or expected != link:
            raise MaterialRefused("UP-02", f"chunk {index} is missing or changed; take the file from the release again")
        digest.update(chunk)
        link, left = chunk[size_bytes:], left - size_bytes
    trailer = stream.read(TRAILER_SIZE_BYTES_MAX + 1)
    if link != _ZERO_LINK or len(trailer) > TRAILER_SIZE_BYTES_MAX:
        raise MaterialRefused("UP-02", "it does not end where its head says; take the file from the release again")
    digest.update(trailer)
    return facts.end_of_payload + len(trailer)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise MaterialRefused("UP-01", reason)


def _reason(refusal: MaterialRefused) -> str:
    return str(refusal).removeprefix(f"[{refusal.rule_id}] ")
