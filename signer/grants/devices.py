"""The list of devices that are to have a grant: a CSV file, read strictly and sorted by UID, in bounded memory.

Nothing is made from a list that has a single line to refuse.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pki.errors import InputRefused
from signer.grants.layout import DEVICE_SIZE_BYTES, TREE_SIZE_MAX, UID_SIZE_BYTES
from signer.grants.rules import GrantRefused
from signer.grants.sorting import RecordFile, sorted_records
from signer.signing_key import is_on_curve

HEADING = "uid,agreement_public_key"

_LINE = re.compile(rb"((?:[0-9a-f]{2}){4,16}),([0-9a-f]{128})\r?\n?")
_HEADING_LINE = re.compile(re.escape(HEADING).encode() + rb"\r?\n?")
_LINE_SIZE_BYTES_MAX = 256
# Behind UID and key stands the number of the line: two lines of one UID can both be named.
_LINE_NUMBER_SIZE_BYTES = 8
_REPORTED_EVERY = 1024

Advance = Callable[[int], None]
"""Told the number of bytes of the list just read."""


class DeviceList:
    """A list that was read whole and found good: `count` devices in ascending order of their UIDs."""

    def __init__(self, spool: RecordFile, count: int) -> None:
        self._spool = spool
        self.count = count

    def blocks(self, devices_a_block: int) -> Iterator[bytes]:
        """Records of DEVICE_SIZE_BYTES, in blocks of at most so many devices."""
        return self._spool.blocks(0, self.count, devices_a_block)


@contextmanager
def device_list(path: Path, folder: Path, advance: Advance = lambda _: None) -> Iterator[DeviceList]:
    """Read, check and sort the list at `path`; its temporary files lie in `folder`.

    Raises GrantRefused GR-01 to GR-05, with the number of the line; InputRefused if it cannot be read; OutputError.
    """
    with RecordFile(folder, DEVICE_SIZE_BYTES) as ordered:
        with (
            RecordFile(folder, DEVICE_SIZE_BYTES + _LINE_NUMBER_SIZE_BYTES) as spool,
            _opened(path) as stream,
        ):
            count = ordered.append(_each_once(path, sorted_records(_lines(path, stream, advance), spool)))
        if count == 0:
            raise GrantRefused("GR-05", f"{path} names no device")
        yield DeviceList(ordered, count)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb", buffering=1 << 20) as stream:
            yield stream
    except OSError as error:
        raise InputRefused(f"the list of devices {path}: cannot be read ({error.strerror})") from None


def _lines(path: Path, stream: BinaryIO, advance: Advance) -> Iterator[bytes]:
    """UID ‖ key ‖ number of the line (from 1) for each line but the first."""
    heading = stream.readline(_LINE_SIZE_BYTES_MAX)
    if not _HEADING_LINE.fullmatch(heading):
        raise GrantRefused("GR-01", f"{path}: its first line is not {HEADING}")
    number, unreported = 1, len(heading)
    while line := stream.readline(_LINE_SIZE_BYTES_MAX):
        number += 1
        if number > TREE_SIZE_MAX + 1:
            raise GrantRefused("GR-05", f"{path} names more than 2^31 devices; make several batches")
        yield _record(path, number, line)
        unreported += len(line)
        if number % _REPORTED_EVERY == 0:
            advance(unreported)
            unreported = 0
    advance(unreported)


def _record(path: Path, number: int, line: bytes) -> bytes:
    match = _LINE.fullmatch(line)
    if match is None:
        raise GrantRefused(
            "GR-02", f"{path}, line {number}: not a UID and a public key of 64 bytes, in lower-case hexadecimal digits"
        )
    uid, point = unhexlify(match[1]), unhexlify(match[2])
    if not any(uid):
        raise GrantRefused("GR-04", f"{path}, line {number}: the UID is zero")
    if not is_on_curve(point):
        raise GrantRefused("GR-03", f"{path}, line {number}: the public key is not a point of P-256")
    return uid.ljust(UID_SIZE_BYTES, b"\0") + point + number.to_bytes(_LINE_NUMBER_SIZE_BYTES, "big")


def _each_once(path: Path, ordered: Iterator[bytes]) -> Iterator[bytes]:
    previous = b""
    for record in ordered:
        if record[:UID_SIZE_BYTES] == previous[:UID_SIZE_BYTES]:
            first, second = sorted(int.from_bytes(one[-_LINE_NUMBER_SIZE_BYTES:], "big") for one in (previous, record))
            raise GrantRefused(
                "GR-04",
                f"{path}, lines {first} and {second}: the UID {record[:UID_SIZE_BYTES].hex()} stands there twice",
            )
        yield record[:DEVICE_SIZE_BYTES]
        previous = record
