"""What a host does with a package: send from the offset that the device expects, until it has all of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

from bootloader.reference.bootloader import Bootloader

BLOCK_SIZE_BYTES = 1024


def _nothing_to_report(sent_bytes: int, size_bytes: int) -> None:
    pass


def send_package(
    bootloader: Bootloader,
    stream: BinaryIO,
    block_size_bytes: int = BLOCK_SIZE_BYTES,
    report: Callable[[int, int], None] = _nothing_to_report,
) -> None:
    """Announce a package and send it in blocks; raises Refused. `report` gets the bytes taken so far, and all of them.

    A block that is not taken has erased a sector, of which there are only so many: so this ends.
    """
    size_bytes = stream.seek(0, os.SEEK_END)
    bootloader.begin_upload(size_bytes)
    offset = 0
    while offset < size_bytes:
        stream.seek(offset)
        offset = bootloader.write(offset, stream.read(block_size_bytes))
        report(offset, size_bytes)


def send_bytes(bootloader: Bootloader, package: bytes, offset: int = 0) -> int:
    """Send the rest of what there is of a package that was announced, as one block; returns the offset expected next.

    Raises Refused.
    """
    while offset < len(package):
        offset = bootloader.write(offset, package[offset:])
    return offset
