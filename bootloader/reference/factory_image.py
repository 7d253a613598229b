"""What an electronics manufacturer flashes: pre-bootloader, both copies, and the first state, LOCKED.

docs/spec/device-state.md, sections 1 and 2. Pure: the blocks are returned, and everything is verified before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bootloader.reference.authenticity import verify_bootloader_head
from bootloader.reference.board import (
    BUILT_IN_KEY_COUNT,
    BUILT_IN_KEYS_OFFSET,
    PRE_BOOTLOADER_SIZE_BYTES,
    Board,
    Copy,
    load_address,
)
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.copies import require_fit
from bootloader.reference.crypto import POINT_SIZE_BYTES
from bootloader.reference.flash import ERASED_BYTE
from bootloader.reference.head import Head, PackageType, Target, parse_head
from bootloader.reference.journal import FIRST_HALF_SEQUENCE
from bootloader.reference.journal_half import SLOT_SIZE_BYTES, half_header, record_header
from bootloader.reference.payload import image_digest_matches, image_hasher
from bootloader.reference.records import (
    BootConfirmed,
    Device,
    Lifecycle,
    Record,
    Seal,
    TrustBundleInForce,
    encode_record,
)
from bootloader.reference.sizes import UID_SIZE_BYTES
from bootloader.reference.trust_bundle import BUNDLE_SIZE_BYTES, Role, TrustBundle, parse_trust_bundle, verify_genesis

LOT_SIZE_BYTES = 16

Block = tuple[int, bytes]


class FactoryImageInvalid(Exception):
    """The parts of a factory image do not fit each other, or the board; the text says what is wrong with which."""


@dataclass(frozen=True, slots=True)
class CopyImage:
    """A bootloader copy as it stands in flash: the signed head, and the plaintext image."""

    head: bytes
    image: bytes


def build_factory_image(
    board: Board,
    pre_bootloader: bytes,
    built_in_keys: Sequence[bytes],
    copies: tuple[CopyImage, CopyImage],
    hardware_revision: int,
    lot: bytes,
) -> list[Block]:
    """(absolute address, bytes) for everything that is not erased, in ascending order; raises FactoryImageInvalid.

    `copies` are A and B; `built_in_keys` three points X ‖ Y; an empty `pre_bootloader` leaves room for one.
    """
    _demand_parts(pre_bootloader, built_in_keys, hardware_revision, lot)
    heads = [_verified_head(board, copy, copies[copy], sorted(built_in_keys)) for copy in (Copy.A, Copy.B)]
    genesis = _genesis(copies, heads, built_in_keys)
    device = Device(genesis.product_id, hardware_revision, Lifecycle.LOCKED, 0, lot)
    first_records = (device, TrustBundleInForce(genesis.raw), BootConfirmed(Copy.A, heads[Copy.A].hash))

    blocks = [(board.pre_bootloader.address, _pre_bootloader_region(pre_bootloader, built_in_keys))]
    blocks += [(board.copy_region(copy).address, copies[copy].head + copies[copy].image) for copy in (Copy.A, Copy.B)]
    blocks.append((board.state_0.address, _first_half(first_records)))
    return sorted(blocks)


def _demand_parts(pre_bootloader: bytes, keys: Sequence[bytes], hardware_revision: int, lot: bytes) -> None:
    if len(pre_bootloader) > BUILT_IN_KEYS_OFFSET:
        raise FactoryImageInvalid(f"the pre-bootloader has {len(pre_bootloader):,} bytes; at most 3,904 fit")
    if len(keys) != BUILT_IN_KEY_COUNT or len(set(keys)) != len(keys):
        raise FactoryImageInvalid("three different bootloader-release keys are built in")
    if any(len(key) != POINT_SIZE_BYTES for key in keys):
        raise FactoryImageInvalid("a built-in key is X ‖ Y, 64 bytes")
    if len(lot) != LOT_SIZE_BYTES:
        raise FactoryImageInvalid(f"a lot has {LOT_SIZE_BYTES} bytes, not {len(lot)}")
    if not 0 <= hardware_revision <= 0xFFFF:
        raise FactoryImageInvalid("a hardware revision is 0 to 65,535")


def _verified_head(board: Board, copy: Copy, part: CopyImage, built_in_keys: Sequence[bytes]) -> Head:
    """The head of a copy that the pre-bootloader of every device will accept."""
    region = board.copy_region(copy)
    try:
        head = parse_head(part.head)
        verify_bootloader_head(head, bytes(UID_SIZE_BYTES), built_in_keys)
        require_fit(head, region)
        hasher = image_hasher(head)
        hasher.update(part.image)
        matches = len(part.image) == head.image_size_bytes and image_digest_matches(head, hasher)
        require(matches, DeviceCode.IMAGE_DIGEST, "the image is not the one that the head was signed for")
        right_address = head.load_address == load_address(region)
        require(right_address, DeviceCode.WRONG_LOAD_ADDRESS, f"linked for {head.load_address:#010x}")
    except Refused as refusal:
        raise FactoryImageInvalid(f"bootloader {copy.name}: {refusal}") from None
    if head.target != Target.ANY_DEVICE:
        raise FactoryImageInvalid(f"bootloader {copy.name}: signed for one device; a factory image is for all")
    return head


def _genesis(copies: tuple[CopyImage, CopyImage], heads: Sequence[Head], built_in_keys: Sequence[bytes]) -> TrustBundle:
    """The genesis bundle that both copies carry at the end of their images."""
    tails = [part.image[-BUNDLE_SIZE_BYTES:] for part in copies]
    if tails[0] != tails[1]:
        raise FactoryImageInvalid("the two bootloader copies do not carry the same genesis bundle")
    try:
        bundle = parse_trust_bundle(tails[0])
        verify_genesis(bundle)
    except Refused as refusal:
        raise FactoryImageInvalid(f"the last 2,304 bytes of the bootloaders, the genesis bundle: {refusal}") from None
    if any(head.product_id != bundle.product_id for head in heads):
        raise FactoryImageInvalid("a bootloader is for another product than the genesis bundle")
    if bundle.product_id == bytes([ERASED_BYTE]) * len(bundle.product_id):
        raise FactoryImageInvalid("a product id of erased bytes cannot be journalled")
    if not set(bundle.keys_of(Role.BOOTLOADER_RELEASE)) <= set(built_in_keys):
        raise FactoryImageInvalid("the genesis bundle names a bootloader-release key that is not built in")
    _demand_limits(bundle, heads)
    return bundle


def _demand_limits(bundle: TrustBundle, heads: Sequence[Head]) -> None:
    limits = bundle.limits_of(PackageType.BOOTLOADER)
    for copy, head in zip(Copy, heads, strict=True):
        if not limits.minimum <= head.security_version <= limits.maximum:
            raise FactoryImageInvalid(
                f"bootloader {copy.name}: security version {head.security_version} is out of bounds"
            )


def _pre_bootloader_region(pre_bootloader: bytes, built_in_keys: Sequence[bytes]) -> bytes:
    region = pre_bootloader.ljust(BUILT_IN_KEYS_OFFSET, bytes([ERASED_BYTE])) + b"".join(sorted(built_in_keys))
    if len(region) != PRE_BOOTLOADER_SIZE_BYTES:
        raise AssertionError("keys end where the pre-bootloader's region ends")
    return region


def _first_half(records: Sequence[Record]) -> bytes:
    """The first half of the journal: its header, records numbered from 1, a SEAL. The other half stays erased."""
    half = bytearray(half_header(FIRST_HALF_SEQUENCE))
    for number, record in enumerate(records, start=1):
        record_type, record_format, payload = encode_record(record)
        half += record_header(record_type, record_format, number, (FIRST_HALF_SEQUENCE, len(half)), payload)
        half += payload + bytes([ERASED_BYTE]) * (-len(payload) % SLOT_SIZE_BYTES)
    seal_type, seal_format, _ = encode_record(Seal())
    half += record_header(seal_type, seal_format, len(records), (FIRST_HALF_SEQUENCE, len(half)), b"")
    return bytes(half)
