"""Flash as the bootloader sees it (docs/spec/device-state.md, section 1): sectors, write units, regions, and a driver.

Everything above this file is pure logic over the `FlashDevice` protocol; device and simulation differ below it only.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from bootloader.reference.codes import DeviceCode, require

ERASED_BYTE = 0xFF
READ_BLOCK_SIZE_BYTES = 4096


class Sector(NamedTuple):
    """The smallest part of flash that erases, at an absolute address."""

    address: int
    size_bytes: int


class Region(NamedTuple):
    """Whole, adjacent sectors with one purpose."""

    name: str
    sectors: tuple[Sector, ...]

    @property
    def address(self) -> int:
        return self.sectors[0].address

    @property
    def size_bytes(self) -> int:
        return self.end_address - self.address

    @property
    def end_address(self) -> int:
        """The first address behind the region."""
        return self.sectors[-1].address + self.sectors[-1].size_bytes

    def contains(self, address: int, size_bytes: int) -> bool:
        """Whether all of [address, address + size_bytes) lies in the region."""
        return self.address <= address and address + size_bytes <= self.end_address


class FlashDevice(Protocol):
    """NOR flash that reads like memory. Addresses are absolute; one write unit, or one sector, is one operation."""

    @property
    def write_unit_bytes(self) -> int:
        """Bytes that are programmed at once; every address and size given to `program` is a multiple."""

    def read(self, address: int, size_bytes: int) -> bytes:
        """What these bytes read as now; torn bits may read differently the next time."""

    def program(self, address: int, data: bytes) -> None:
        """Clear bits, write unit by write unit, in ascending order."""

    def erase(self, sector: Sector) -> None:
        """Set every bit of one sector."""


def program_units(flash: FlashDevice, address: int, data: bytes) -> None:
    """Program data of any size: filled up to a whole unit; units that would hold erased bytes only are left alone."""
    if not data:
        return
    unit = flash.write_unit_bytes
    erased_unit = bytes([ERASED_BYTE]) * unit
    data += bytes([ERASED_BYTE]) * (-len(data) % unit)
    if erased_unit not in data:
        flash.program(address, data)
        return
    begin = 0
    for offset in range(0, len(data) + unit, unit):
        if data[offset : offset + unit] in (erased_unit, b""):
            if begin < offset:
                flash.program(address + begin, data[begin:offset])
            begin = offset + unit


def program_and_compare(flash: FlashDevice, address: int, data: bytes) -> None:
    """Program, then read back; raises Refused(FLASH_WRITE) if it reads otherwise."""
    program_units(flash, address, data)
    same = flash.read(address, len(data)) == data
    require(same, DeviceCode.FLASH_WRITE, f"{len(data)} bytes at {address:#010x} do not read back as written")


def is_blank(data: bytes) -> bool:
    """Whether every byte reads as erased. No proof that it is erased."""
    return data.count(ERASED_BYTE) == len(data)
