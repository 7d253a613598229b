"""Small ELF files made field by field (System V ABI, ARM supplement), for the readers to judge."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Segment:
    address: int
    content: bytes
    size_in_memory_bytes: int | None = None
    kind: int = 1


@dataclass(frozen=True, slots=True)
class ElfFile:
    """An executable of the given segments, each with one section; `overrides` puts bytes at file offsets afterwards."""

    segments: tuple[Segment, ...]
    elf_class: int = 1
    data_encoding: int = 1
    kind: int = 2
    machine: int = 40
    with_sections: bool = True
    overrides: dict[int, bytes] = field(default_factory=dict)

    @property
    def encoded(self) -> bytes:
        count = len(self.segments)
        content_offset = 52 + 32 * count
        program_headers, sections, contents = b"", [bytes(40)], b""
        names = b"\0.text\0.shstrtab\0"
        for segment in self.segments:
            offset = content_offset + len(contents)
            size = len(segment.content)
            in_memory = size if segment.size_in_memory_bytes is None else segment.size_in_memory_bytes
            # Linked to run elsewhere (as .data is): only the physical address counts.
            virtual = segment.address ^ 0x20000000
            program_headers += struct.pack("<8I", segment.kind, offset, virtual, segment.address, size, in_memory, 5, 1)
            if segment.kind == 1 and size:
                sections.append(struct.pack("<10I", 1, 1, 6, virtual, offset, size, 0, 0, 1, 0))
            contents += segment.content
        names_offset = content_offset + len(contents)
        sections.append(struct.pack("<10I", 7, 3, 0, 0, names_offset, len(names), 0, 0, 1, 0))
        table_offset = names_offset + len(names)
        section_count = len(sections) if self.with_sections else 0
        ident = struct.pack("<4s5B7x", b"\x7fELF", self.elf_class, self.data_encoding, 1, 0, 0)
        offsets = (52 if count else 0, table_offset if section_count else 0)
        sizes = (52, 32, count, 40, section_count, section_count - 1 if section_count else 0)
        entry = self.segments[0].address if count else 0
        header = ident + struct.pack("<2H5I6H", self.kind, self.machine, 1, entry, *offsets, 0x5000200, *sizes)
        encoded = bytearray(header + program_headers + contents + names)
        if self.with_sections:
            encoded += b"".join(sections)
        for offset, value in self.overrides.items():
            encoded[offset : offset + len(value)] = value
        return bytes(encoded)
