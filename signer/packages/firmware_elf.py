"""ELF executables for 32-bit little-endian ARM: what is to be programmed (System V ABI, chapters 4 and 5)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pki.errors import InputRefused
from signer.packages.image_parts import ImagePart

_FILE_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIIIIIII")
_SECTION_HEADER = struct.Struct("<IIIIIIIIII")
_PROGRAM_HEADERS_MAX = 64
_SECTION_HEADERS_MAX = 16_384
_ELF32_LITTLE_ENDIAN = b"\x7fELF\x01\x01\x01"
_ET_REL, _ET_EXEC, _ET_DYN = 1, 2, 3
_EM_ARM = 40
_PT_LOAD = 1
_SHT_NOBITS = 8
_SHF_ALLOC = 2


@dataclass(frozen=True, slots=True)
class _FileHeader:
    program_headers_offset: int
    program_header_count: int
    section_headers_offset: int
    section_header_count: int

    @property
    def headers_end(self) -> int:
        """Where the file header and the program headers, which usually follow it, end."""
        end = _FILE_HEADER.size
        if self.program_headers_offset == end:
            end += self.program_header_count * _PROGRAM_HEADER.size
        return end


def elf_parts(path: Path, descriptor: int, file_size_bytes: int) -> list[ImagePart]:
    """The loaded segments by physical address, without the ELF headers that linkers put into the first one.

    Raises InputRefused for what is not a linked ARM executable.
    """
    header = _file_header(path, os.pread(descriptor, _FILE_HEADER.size, 0))
    table_size_bytes = header.program_header_count * _PROGRAM_HEADER.size
    table = os.pread(descriptor, table_size_bytes, header.program_headers_offset)
    if len(table) != table_size_bytes:
        raise _damaged(path, "the program headers lie outside the file")
    parts = []
    for kind, offset, _, address, size_bytes, size_in_memory_bytes, _, _ in _PROGRAM_HEADER.iter_unpack(table):
        if kind != _PT_LOAD or size_bytes == 0:
            continue
        if offset + size_bytes > file_size_bytes:
            raise _damaged(path, f"the segment at 0x{address:08X} lies outside the file")
        if size_bytes > size_in_memory_bytes or address + size_bytes > 1 << 32:
            raise _damaged(path, f"the segment at 0x{address:08X} has impossible sizes")
        skipped = _header_bytes_in(path, descriptor, header, offset, size_bytes)
        parts.append(ImagePart(address + skipped, size_bytes - skipped, None, offset + skipped))
    return parts


def _file_header(path: Path, encoded: bytes) -> _FileHeader:
    if len(encoded) != _FILE_HEADER.size or not encoded.startswith(b"\x7fELF"):
        raise InputRefused(f"{path} is not an ELF file")
    if not encoded.startswith(_ELF32_LITTLE_ENDIAN):
        raise InputRefused(f"{path} is not a 32-bit little-endian ELF file; build it for the microcontroller")
    fields = _FILE_HEADER.unpack(encoded)
    kind, machine = fields[1], fields[2]
    if machine != _EM_ARM:
        raise InputRefused(
            f"{path} is built for ELF machine {machine}, not for ARM ({_EM_ARM}); use the cross compiler"
        )
    if kind != _ET_EXEC:
        names = {_ET_REL: "an object file", _ET_DYN: "position independent"}
        raise InputRefused(f"{path} is {names.get(kind, f'of ELF type {kind}')}, not a program linked for its address")
    program_header_size, program_header_count, section_header_size, section_header_count = fields[9:13]
    if not 0 < program_header_count <= _PROGRAM_HEADERS_MAX or program_header_size != _PROGRAM_HEADER.size:
        raise _damaged(
            path, f"it must have 1 to {_PROGRAM_HEADERS_MAX} program headers of {_PROGRAM_HEADER.size} bytes"
        )
    if section_header_count > _SECTION_HEADERS_MAX or (
        section_header_count and section_header_size != _SECTION_HEADER.size
    ):
        raise _damaged(path, f"it must have at most {_SECTION_HEADERS_MAX} sections of {_SECTION_HEADER.size} bytes")
    return _FileHeader(fields[5], program_header_count, fields[6], section_header_count)


def _header_bytes_in(path: Path, descriptor: int, header: _FileHeader, offset: int, size_bytes: int) -> int:
    """How many bytes at the front of a segment are ELF headers and padding.

    Linkers begin the first segment at a page, with the ELF headers in it, whenever the program itself begins further up
    in that page; an image that stands 1,024 bytes into a sector is such a case. No programmer writes these bytes.
    """
    if offset >= header.headers_end:
        return 0
    begins = [
        begin for begin in _loaded_section_offsets(path, descriptor, header) if offset <= begin < offset + size_bytes
    ]
    if not begins:
        raise InputRefused(
            f"{path} has its ELF headers in a segment, and no sections that tell where the program begins; "
            "link with -z max-page-size=4, or do not strip the section headers"
        )
    return min(begins) - offset


def _loaded_section_offsets(path: Path, descriptor: int, header: _FileHeader) -> Iterator[int]:
    table_size_bytes = header.section_header_count * _SECTION_HEADER.size
    table = os.pread(descriptor, table_size_bytes, header.section_headers_offset)
    if len(table) != table_size_bytes:
        raise _damaged(path, "the section headers lie outside the file")
    for _, kind, flags, _, offset, size_bytes, *_ in _SECTION_HEADER.iter_unpack(table):
        if flags & _SHF_ALLOC and kind != _SHT_NOBITS and size_bytes:
            yield offset


def _damaged(path: Path, reason: str) -> InputRefused:
    return InputRefused(f"{path} is not a usable ELF file: {reason}; build it again")
