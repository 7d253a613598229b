"""Reads the fixed layout of a signed object, field after field (docs/spec/activation.md)."""

from __future__ import annotations

from typing import Final, NamedTuple

from pki.errors import FormatError

SIGNATURE_SIZE_BYTES: Final = 64
_FORMAT_VERSION: Final = 1
_SUITE: Final = 1
_PRINTABLE_ASCII: Final = range(0x20, 0x7F)


class ImageVersion(NamedTuple):
    """major.minor.revision.build, compared in that order (docs/spec/package.md)."""

    major: int
    minor: int
    revision: int
    build: int

    def __str__(self) -> str:
        """As people write it."""
        return ".".join(map(str, self))


class ObjectReader:
    """Takes fields in the order of their offsets. Every error is a FormatError that names field and offset."""

    def __init__(self, data: bytes, what: str, magic: bytes, size_bytes: int) -> None:
        """Check size, magic, format version and suite, which all signed objects begin with."""
        if len(data) != size_bytes:
            raise FormatError("size", 0, f"[LK-11] {what} has {size_bytes} bytes, not {len(data)}")
        self._data = data
        self._offset = 0
        if self.raw(len(magic)) != magic:
            raise FormatError("magic", 0, f"[LK-11] not {what}")
        if self.u16() != _FORMAT_VERSION:
            raise FormatError("format_version", 4, "[LK-11] not 1, the only one that is known")
        if self.u8("suite") != _SUITE:
            raise FormatError("suite", 6, "[LK-11] not 1, the only one that is known")

    def raw(self, size_bytes: int) -> bytes:
        """Bytes as they are."""
        field = self._data[self._offset : self._offset + size_bytes]
        self._offset += size_bytes
        return field

    def u8(self, field: str, highest: int = 0xFF) -> int:
        """One byte, at most `highest`."""
        value = self.raw(1)[0]
        if value > highest:
            raise FormatError(field, self._offset - 1, f"[LK-11] {value} is beyond {highest}")
        return value

    def u16(self) -> int:
        """Two bytes, little-endian."""
        return int.from_bytes(self.raw(2), "little")

    def u32(self) -> int:
        """Four bytes, little-endian."""
        return int.from_bytes(self.raw(4), "little")

    def flags(self, field: str, known: int, size_bytes: int = 1) -> int:
        """Bits, of which only those of `known` may be set."""
        value = int.from_bytes(self.raw(size_bytes), "little")
        if value & ~known:
            raise FormatError(field, self._offset - size_bytes, f"[LK-11] unknown flags: {value & ~known:#x}")
        return value

    def text(self, field: str, size_bytes: int) -> str:
        """Printable ASCII, padded with zero at its end."""
        start = self._offset
        used = self.raw(size_bytes).rstrip(b"\0")
        if any(byte not in _PRINTABLE_ASCII for byte in used):
            raise FormatError(field, start, "[LK-11] not printable ASCII, padded with zero")
        return used.decode("ascii")

    def version(self) -> ImageVersion:
        """major u8, minor u8, revision u16, build u32."""
        return ImageVersion(self.raw(1)[0], self.raw(1)[0], self.u16(), self.u32())

    def reserved(self, size_bytes: int) -> None:
        """Bytes that must be zero."""
        start = self._offset
        if any(self.raw(size_bytes)):
            raise FormatError("reserved", start, "[LK-11] not zero")
