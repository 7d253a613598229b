"""The two copies of the bootloader: does one verify? (docs/spec/device-state.md, section 3)

Asked by the pre-bootloader before it starts a copy, and by the bootloader before it raises a floor.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootloader.reference.authenticity import verify_bootloader_head
from bootloader.reference.board import BUILT_IN_KEY_COUNT, Board, Copy, load_address
from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import POINT_SIZE_BYTES
from bootloader.reference.flash import READ_BLOCK_SIZE_BYTES, FlashDevice, Region
from bootloader.reference.head import Head, parse_head
from bootloader.reference.payload import image_digest_matches, image_hasher
from bootloader.reference.sizes import HEAD_SIZE_BYTES


def read_built_in_keys(flash: FlashDevice, board: Board) -> tuple[bytes, ...]:
    """The three bootloader-release public keys in the last 192 bytes of the pre-bootloader."""
    data = flash.read(board.built_in_keys_address, BUILT_IN_KEY_COUNT * POINT_SIZE_BYTES)
    return tuple(data[begin : begin + POINT_SIZE_BYTES] for begin in range(0, len(data), POINT_SIZE_BYTES))


def read_head(flash: FlashDevice, region: Region) -> bytes:
    """The 1,024 bytes where a region's head stands, whatever they are."""
    return flash.read(region.address, HEAD_SIZE_BYTES)


def verify_copy(
    flash: FlashDevice, board: Board, copy: Copy, raw_head: bytes, device_uid: bytes, built_in_keys: Sequence[bytes]
) -> Head:
    """The head of a copy that verifies; raises Refused. `raw_head` is what `read_head` gave: only that is judged."""
    head = parse_head(raw_head)
    region = board.copy_region(copy)
    right_address = head.load_address == load_address(region)
    require(right_address, DeviceCode.WRONG_LOAD_ADDRESS, f"copy {copy.name} is not linked for its region")
    verify_bootloader_head(head, device_uid, built_in_keys)
    require_fit(head, region)
    require_image_in_flash(flash, region, head, DeviceCode.BOOT_DIGEST)
    return head


def require_fit(head: Head, region: Region) -> None:
    """Head and image fit the region; raises Refused(IMAGE_TOO_LARGE)."""
    fits = HEAD_SIZE_BYTES + head.image_size_bytes <= region.size_bytes
    detail = f"an image of {head.image_size_bytes:,} bytes and its head are too large for {region.name}"
    require(fits, DeviceCode.IMAGE_TOO_LARGE, detail)


def require_image_in_flash(flash: FlashDevice, region: Region, head: Head, code: DeviceCode) -> None:
    """What stands behind the head in flash is the signed image; raises Refused(code). The head must fit the region."""
    hasher = image_hasher(head)
    begin, end = load_address(region), load_address(region) + head.image_size_bytes
    for address in range(begin, end, READ_BLOCK_SIZE_BYTES):
        hasher.update(flash.read(address, min(READ_BLOCK_SIZE_BYTES, end - address)))
    require(image_digest_matches(head, hasher), code, f"the image in {region.name} is not the signed one")
