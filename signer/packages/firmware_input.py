"""Firmware files: recognised by content, reduced to one image at one address, read in blocks.

ELF (program segments by physical address), Intel HEX, Motorola S-record, raw binary. Gaps are filled with 0xFF, what
erased flash reads as. Why the readers are our own: docs/adr/0030-firmware-files-read-by-own-code.md.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from pki.errors import InputRefused
from signer.packages.image_parts import ImageLimits, ImagePart

FileState = tuple[int, int]
"""Size in bytes and time of the last write in nanoseconds: changes when a file is written to."""

_FILL = b"\xff"
_INTEL_HEX = re.compile(rb"\s*:[0-9A-Fa-f]{10}")
_S_RECORD = re.compile(rb"\s*S[0-9][0-9A-Fa-f]{6}")
_RAM_BEGIN, _RAM_END = 0x1000_0000, 0x4000_0000


class FirmwareFormat(Enum):
    """The formats of firmware files."""

    ELF = "elf"
    INTEL_HEX = "hex"
    S_RECORD = "srec"
    BINARY = "binary"


class FirmwareImage:
    """One image, with its file open for as long as it is read. Use as a context manager."""

    __slots__ = (
        "_descriptor",
        "_parts",
        "_path",
        "_state",
        "fill_size_bytes",
        "firmware_format",
        "load_address",
        "size_bytes",
    )

    def __init__(
        self,
        path: Path,
        descriptor: int,
        state: FileState,
        firmware_format: FirmwareFormat,
        parts: Sequence[ImagePart],
        limits: ImageLimits,
    ) -> None:
        self._path = path
        self._descriptor = descriptor
        self._state = state
        self._parts = _in_order(path, parts)
        self.firmware_format = firmware_format
        self.load_address = self._parts[0].address
        self.size_bytes = self._parts[-1].end - self.load_address
        self.fill_size_bytes = self.size_bytes - sum(part.size_bytes for part in self._parts)
        self._require_fitting(limits)

    def _require_fitting(self, limits: ImageLimits) -> None:
        if self.load_address != limits.load_address:
            raise InputRefused(
                f"{self._path} begins at 0x{self.load_address:08X}, but the board's image begins at "
                f"0x{limits.load_address:08X}; link it for that address, or choose the right board"
            )
        if self.size_bytes > limits.firmware_size_bytes_max:
            raise InputRefused(
                f"{self._path} has {self.size_bytes} bytes of image, but its region takes "
                f"{limits.firmware_size_bytes_max}; make it smaller, or choose the right board"
            )
        if self.fill_size_bytes > limits.gap_size_bytes_max:
            first, second = max(pairwise(self._parts), key=lambda pair: pair[1].address - pair[0].end)
            raise InputRefused(
                f"{self._path} has gaps of {self.fill_size_bytes} bytes, but at most {limits.gap_size_bytes_max} "
                f"are filled; the largest is between 0x{first.end:08X} and 0x{second.address:08X}: a wrong address?"
            )

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` with the image from `offset` on, 0xFF in gaps; raises InputRefused if the file shrank."""
        begin = self.load_address + offset
        end = begin + view.nbytes
        if offset < 0 or end > self.load_address + self.size_bytes:
            raise ValueError("read outside the image")
        position = begin
        for part in self._parts:
            if part.end <= begin or part.address >= end:
                continue
            first, last = max(part.address, begin), min(part.end, end)
            view[position - begin : first - begin] = _FILL * (first - position)
            self._read_part(part, first - part.address, view[first - begin : last - begin])
            position = last
        view[position - begin :] = _FILL * (end - position)

    def _read_part(self, part: ImagePart, offset: int, view: memoryview) -> None:
        if part.content is not None:
            view[:] = memoryview(part.content)[offset : offset + view.nbytes]
            return
        if os.preadv(self._descriptor, [view], part.file_offset + offset) != view.nbytes:
            raise InputRefused(f"{self._path} became shorter while it was read; wait for the build, then try again")

    def require_unchanged(self) -> None:
        """Refuse a file that was written to since it was opened: what was read may be of two builds. InputRefused."""
        if _state_of(self._descriptor) != self._state:
            raise InputRefused(f"{self._path} was changed while it was read; wait for the build, then try again")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def open_firmware(path: Path, limits: ImageLimits, firmware_format: FirmwareFormat | None = None) -> FirmwareImage:
    """Open a firmware file; the format is found by content unless it is given. Raises InputRefused.

    A raw binary has no addresses in it: it is taken to begin at the board's. Unless asked for, it is accepted only
    when it begins with the vector table of a Cortex-M program linked for that address.
    """
    descriptor = _open_regular(path)
    try:
        state = _state_of(descriptor)
        size_bytes = state[0]
        if size_bytes == 0:
            raise InputRefused(f"{path} is empty; build the firmware first")
        chosen = firmware_format or _recognise(path, descriptor, size_bytes, limits)
        parts = _parts_of(path, descriptor, size_bytes, chosen, limits)
        return FirmwareImage(path, descriptor, state, chosen, parts, limits)
    except OSError as error:
        os.close(descriptor)
        raise InputRefused(f"cannot read {path}: {error.strerror}") from None
    except BaseException:
        os.close(descriptor)
        raise


def _open_regular(path: Path) -> int:
    try:
        # Not to wait for a writer where the name is that of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise InputRefused(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputRefused(f"{path} is not a regular file; give the firmware file itself")
    return descriptor


def _state_of(descriptor: int) -> FileState:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _recognise(path: Path, descriptor: int, size_bytes: int, limits: ImageLimits) -> FirmwareFormat:
    beginning = os.pread(descriptor, 64, 0)
    if beginning.startswith(b"\x7fELF"):
        return FirmwareFormat.ELF
    if _INTEL_HEX.match(beginning):
        return FirmwareFormat.INTEL_HEX
    if _S_RECORD.match(beginning):
        return FirmwareFormat.S_RECORD
    if _begins_with_vector_table(beginning, size_bytes, limits.load_address):
        return FirmwareFormat.BINARY
    raise InputRefused(
        f"{path} is not an ELF, Intel HEX or S-record file, and does not begin with the vector table of a program "
        f"linked for 0x{limits.load_address:08X}; if it is a raw binary all the same, ask for the format binary"
    )


def _begins_with_vector_table(beginning: bytes, size_bytes: int, load_address: int) -> bool:
    """Initial stack pointer in RAM, reset vector a Thumb address inside the image (ARMv7-M manual, section B1.5.3)."""
    stack_pointer = int.from_bytes(beginning[:4], "little")
    reset_vector = int.from_bytes(beginning[4:8], "little")
    return (
        size_bytes >= 8
        and stack_pointer % 4 == 0
        and _RAM_BEGIN <= stack_pointer <= _RAM_END
        and reset_vector % 2 == 1
        and load_address <= reset_vector < load_address + size_bytes
    )


def _parts_of(
    path: Path, descriptor: int, size_bytes: int, firmware_format: FirmwareFormat, limits: ImageLimits
) -> Sequence[ImagePart]:
    # Each reader is imported only when its format is met: start-up time is a feature.
    match firmware_format:
        case FirmwareFormat.BINARY:
            return (ImagePart(limits.load_address, size_bytes, None),)
        case FirmwareFormat.ELF:
            from signer.packages.firmware_elf import elf_parts

            return elf_parts(path, descriptor, size_bytes)
        case FirmwareFormat.INTEL_HEX | FirmwareFormat.S_RECORD:
            from signer.packages.firmware_records import record_parts

            return record_parts(path, descriptor, size_bytes, firmware_format is FirmwareFormat.S_RECORD, limits)


def _in_order(path: Path, parts: Sequence[ImagePart]) -> tuple[ImagePart, ...]:
    """Sorted by address, refused when two overlap or none is there."""
    ordered = tuple(sorted(parts, key=lambda part: part.address))
    if not ordered:
        raise InputRefused(f"{path} holds no bytes to be programmed; was it linked?")
    for first, second in pairwise(ordered):
        if second.address < first.end:
            raise InputRefused(
                f"{path} has overlapping segments: one ends at 0x{first.end:08X}, the next begins at "
                f"0x{second.address:08X}; correct the linker script"
            )
    return ordered
