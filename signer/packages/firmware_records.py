"""Intel HEX (Hexadecimal Object File Format Specification, rev. A) and Motorola S-records (M68000PRM, appendix C).

Strict: every record is complete and has its right checksum, the end record is there, once, and last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pki.errors import InputRefused
from signer.packages.image_parts import ImageLimits, ImagePart

# A record has at most 255 bytes after its count, two digits each; the rest is room for the mark, count and line end.
_LINE_SIZE_BYTES_MAX = 2 * 260 + 8
# One byte of image per record is the least dense file anyone writes.
_TEXT_PER_IMAGE_BYTE_MAX = 24
_TEXT_SIZE_BYTES_SPARE = 65_536
_RUNS_MAX = 4_096
_HEX_DATA, _HEX_END, _HEX_SEGMENT, _HEX_SEGMENT_START, _HEX_LINEAR, _HEX_LINEAR_START = range(6)
_HEX_CONTENT_SIZE_BYTES = {_HEX_END: 0, _HEX_SEGMENT: 2, _HEX_SEGMENT_START: 4, _HEX_LINEAR: 2, _HEX_LINEAR_START: 4}
_S_ADDRESS_SIZE_BYTES = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}


class _BadRecord(Exception):
    """Why a record is refused; the caller adds file and line."""


class _Runs:
    """Data collected into runs of consecutive addresses."""

    def __init__(self, data_size_bytes_max: int) -> None:
        self.runs: list[tuple[int, bytearray]] = []
        self._end = -1
        self._room_bytes = data_size_bytes_max

    def add(self, address: int, data: bytes) -> None:
        if not data:
            return
        if address + len(data) > 1 << 32:
            raise _BadRecord("it reaches beyond the 32-bit address space")
        self._room_bytes -= len(data)
        if self._room_bytes < 0:
            raise _BadRecord("the file holds more bytes than the image's region takes")
        if address == self._end:
            self.runs[-1][1].extend(data)
        else:
            if len(self.runs) == _RUNS_MAX:
                raise _BadRecord(f"the file has more than {_RUNS_MAX} separate pieces; sort it by address")
            self.runs.append((address, bytearray(data)))
        self._end = address + len(data)


def record_parts(
    path: Path, descriptor: int, file_size_bytes: int, s_records: bool, limits: ImageLimits
) -> list[ImagePart]:
    """Read the whole file; raises InputRefused with the number of the line that is wrong."""
    image_size_bytes_max = limits.firmware_size_bytes_max
    if file_size_bytes > image_size_bytes_max * _TEXT_PER_IMAGE_BYTE_MAX + _TEXT_SIZE_BYTES_SPARE:
        raise InputRefused(f"{path} is far too large for an image of at most {image_size_bytes_max} bytes")
    runs = _Runs(image_size_bytes_max)
    take = (_SRecords if s_records else _IntelHex)(runs.add)
    number = 0
    for number, line in _lines(path, descriptor):
        try:
            take.record(line)
        except _BadRecord as error:
            raise InputRefused(f"{path}, line {number}: {error}; write the file again") from None
    if not take.ended:
        raise InputRefused(f"{path} ends after line {number} without its end record: it is cut off; write it again")
    return [ImagePart(address, len(content), content) for address, content in runs.runs]


def _lines(path: Path, descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers, from a descriptor that stays open."""
    with os.fdopen(os.dup(descriptor), "rb", buffering=1 << 18) as stream:
        number = 0
        while line := stream.readline(_LINE_SIZE_BYTES_MAX):
            number += 1
            if len(line) == _LINE_SIZE_BYTES_MAX:
                raise InputRefused(f"{path}, line {number}: longer than any record")
            if stripped := line.strip(b" \t\r\n"):
                yield number, stripped


class _IntelHex:
    """Takes records one by one; the base address is that of the latest record of type 02 or 04."""

    def __init__(self, add: Callable[[int, bytes], None]) -> None:
        self.ended = False
        self._add = add
        self._base = 0
        self._segmented = True

    def record(self, line: bytes) -> None:
        if self.ended:
            raise _BadRecord("there is something after the end record")
        if line[:1] != b":":
            raise _BadRecord("a record begins with a colon")
        record = _bytes_of(line[1:])
        if len(record) < 5 or len(record) != record[0] + 5:
            raise _BadRecord("the record is cut off, or longer than it says")
        if sum(record) & 0xFF:
            raise _BadRecord("the checksum is wrong")
        address, kind, content = int.from_bytes(record[1:3], "big"), record[3], record[4:-1]
        if kind == _HEX_DATA:
            if self._segmented and address + len(content) > 0x10000:
                raise _BadRecord("the data run over the end of a 64 kB segment")
            self._add(self._base + address, content)
            return
        if _HEX_CONTENT_SIZE_BYTES.get(kind) != len(content):
            raise _BadRecord(f"record type {kind:02X} is unknown or has a wrong length")
        if kind == _HEX_END:
            self.ended = True
        elif kind in {_HEX_SEGMENT, _HEX_LINEAR}:
            self._segmented = kind == _HEX_SEGMENT
            self._base = int.from_bytes(content, "big") << (4 if self._segmented else 16)


class _SRecords:
    """Takes records one by one; counts are compared with the data records so far."""

    def __init__(self, add: Callable[[int, bytes], None]) -> None:
        self.ended = False
        self._add = add
        self._data_record_count = 0

    def record(self, line: bytes) -> None:
        if self.ended:
            raise _BadRecord("there is something after the end record")
        kind = line[1] - ord("0") if line[:1] == b"S" and len(line) > 1 else -1
        address_size_bytes = _S_ADDRESS_SIZE_BYTES.get(kind)
        if address_size_bytes is None:
            raise _BadRecord("a record begins with S and a digit other than 4")
        record = _bytes_of(line[2:])
        if len(record) < 2 + address_size_bytes or len(record) != record[0] + 1:
            raise _BadRecord("the record is cut off, or longer than it says")
        if sum(record) & 0xFF != 0xFF:
            raise _BadRecord("the checksum is wrong")
        address = int.from_bytes(record[1 : 1 + address_size_bytes], "big")
        content = record[1 + address_size_bytes : -1]
        if kind in {1, 2, 3}:
            self._data_record_count += 1
            self._add(address, content)
        elif kind:
            self._control(kind, address, content)

    def _control(self, kind: int, value: int, content: bytes) -> None:
        if content:
            raise _BadRecord(f"a record S{kind} carries no data")
        if kind in {7, 8, 9}:
            self.ended = True
        elif value != self._data_record_count:
            raise _BadRecord(f"the file says {value} data records, but {self._data_record_count} were there")


def _bytes_of(digits: bytes) -> bytes:
    # bytes.fromhex would take spaces between the digits too.
    if not digits.isalnum():
        raise _BadRecord("there is something other than hexadecimal digits")
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        raise _BadRecord("there is something other than hexadecimal digits") from None
