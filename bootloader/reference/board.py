"""Board files: which sectors a microcontroller's flash has, and what stands where (docs/spec/boards.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from bootloader.reference.flash import Region, Sector
from bootloader.reference.platform import Protection
from bootloader.reference.sizes import HEAD_SIZE_BYTES, UID_SIZE_BYTES

PRE_BOOTLOADER_SIZE_BYTES = 4096
BUILT_IN_KEYS_OFFSET = 3904
BUILT_IN_KEY_COUNT = 3
STATE_HALF_SIZE_BYTES_MIN = 16 * 1024
SECTOR_COUNT_MAX = 1024
SECTOR_SIZE_BYTES_MAX = 1024 * 1024
WRITE_UNITS_BYTES = (1, 2, 4, 8)  # a slot of the journal has two units or more
BOARD_FILE_SIZE_BYTES_MAX = 16 * 1024
NAME_LENGTH_MAX = 64

_REGIONS = ("pre_bootloader", "bootloader_a", "bootloader_b", "state_0", "state_1", "application")
_OPTIONAL_REGION = "application_data"
_OPTIONAL_KEY = "protection_required"
_PROTECTIONS = {
    "readout": Protection.READOUT,
    "readout-2": Protection.READOUT_2,
    "write-protect": Protection.WRITE_PROTECT,
    "brown-out": Protection.BROWN_OUT,
    "debug-closed": Protection.DEBUG_CLOSED,
}
_KEYS = {"name", "description", "flash_base", "write_unit_bytes", "uid_size_bytes", "sectors", "regions"}


class BoardInvalid(Exception):
    """The board file is not as docs/spec/boards.md demands; the text says what to change."""


class Copy(IntEnum):
    """The two copies of the bootloader, numbered as the journal numbers them."""

    A = 0
    B = 1

    @property
    def other(self) -> Copy:
        return Copy.B if self is Copy.A else Copy.A


@dataclass(frozen=True, slots=True)
class Board:
    """One board: its flash and its regions. Addresses are absolute, sizes in bytes; `text` is the board file itself."""

    name: str
    description: str
    write_unit_bytes: int
    uid_size_bytes: int
    sectors: tuple[Sector, ...]
    pre_bootloader: Region
    bootloader_a: Region
    bootloader_b: Region
    state_0: Region
    state_1: Region
    application: Region
    application_data: Region | None
    protection_required: Protection
    text: str = field(repr=False, compare=False)

    def copy_region(self, copy: Copy) -> Region:
        return self.bootloader_a if copy is Copy.A else self.bootloader_b

    @property
    def state_half_size_bytes(self) -> int:
        """Both halves of the journal use the size of the smaller."""
        return min(self.state_0.size_bytes, self.state_1.size_bytes)

    @property
    def built_in_keys_address(self) -> int:
        return self.pre_bootloader.address + BUILT_IN_KEYS_OFFSET

    @property
    def flash_address(self) -> int:
        return self.sectors[0].address

    @property
    def flash_size_bytes(self) -> int:
        return self.sectors[-1].address + self.sectors[-1].size_bytes - self.flash_address


def load_address(region: Region) -> int:
    """Where the image stands in a region: behind its head."""
    return region.address + HEAD_SIZE_BYTES


def padded_uid(board: Board, uid: bytes) -> bytes:
    """The device's UID in 16 bytes, zero at its end; raises ValueError for another size than the board's."""
    if len(uid) != board.uid_size_bytes:
        raise ValueError(f"a UID of {board.name} has {board.uid_size_bytes} bytes, not {len(uid)}")
    return uid.ljust(UID_SIZE_BYTES, b"\0")


def load_board(text: str) -> Board:
    """A board from the text of its TOML file; raises BoardInvalid, naming the key and what it must be."""
    if len(text.encode()) > BOARD_FILE_SIZE_BYTES_MAX:
        raise BoardInvalid(f"a board file has at most {BOARD_FILE_SIZE_BYTES_MAX:,} bytes")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardInvalid(f"not TOML: {error}") from None
    _demand_keys("the board file", document, _KEYS, optional={_OPTIONAL_KEY})
    sectors = _sectors(document)
    regions = _regions(document, sectors)
    board = Board(
        name=_text(document, "name", NAME_LENGTH_MAX),
        description=_text(document, "description", 200),
        write_unit_bytes=_one_of(document, "write_unit_bytes", WRITE_UNITS_BYTES),
        uid_size_bytes=_integer(document, "uid_size_bytes", 4, UID_SIZE_BYTES),
        sectors=sectors,
        application_data=regions.pop(_OPTIONAL_REGION, None),
        protection_required=_protection(document),
        text=text,
        **regions,
    )
    _demand_fit(board, list(regions.values()))
    return board


def _sectors(document: Mapping[str, Any]) -> tuple[Sector, ...]:
    """Sectors from runs of equal ones, in the order of their addresses."""
    address = _integer(document, "flash_base", 0, 0xFFFFFFFF)
    runs = document["sectors"]
    if not isinstance(runs, list) or not runs:
        raise BoardInvalid("sectors: one or more tables with count and size_bytes")
    sectors: list[Sector] = []
    for run in runs:
        _demand_keys("sectors", run, {"count", "size_bytes"})
        count = _integer(run, "count", 1, SECTOR_COUNT_MAX)
        size_bytes = _integer(run, "size_bytes", 256, SECTOR_SIZE_BYTES_MAX)
        if size_bytes % 256:
            raise BoardInvalid("size_bytes: a multiple of 256")
        for _ in range(count):
            sectors.append(Sector(address, size_bytes))
            address += size_bytes
    if len(sectors) > SECTOR_COUNT_MAX:
        raise BoardInvalid(f"sectors: at most {SECTOR_COUNT_MAX}")
    if address > 0x1_0000_0000:
        raise BoardInvalid("sectors: beyond the 32-bit address space")
    return tuple(sectors)


def _regions(document: Mapping[str, Any], sectors: tuple[Sector, ...]) -> dict[str, Region]:
    table = document["regions"]
    _demand_keys("regions", table, set(_REGIONS), optional={_OPTIONAL_REGION})
    regions = {}
    taken: dict[int, str] = {}
    for name, place in table.items():
        _demand_keys(name, place, {"first_sector", "sector_count"})
        first = _integer(place, "first_sector", 0, len(sectors) - 1)
        count = _integer(place, "sector_count", 1, len(sectors) - first)
        for number in range(first, first + count):
            if number in taken:
                raise BoardInvalid(f"sector {number} stands in {taken[number]} and in {name}")
            taken[number] = name
        regions[name] = Region(name, sectors[first : first + count])
    return regions


def _protection(document: Mapping[str, Any]) -> Protection:
    """What must be set before the device makes keys; none where the board file says nothing."""
    names = document.get(_OPTIONAL_KEY, [])
    wrong = not isinstance(names, list) or any(not isinstance(name, str) for name in names)
    if wrong or not set(names) <= _PROTECTIONS.keys() or len(set(names)) != len(names):
        raise BoardInvalid(f"{_OPTIONAL_KEY}: a list of {', '.join(_PROTECTIONS)}, none twice")
    demanded = Protection.NONE
    for name in names:
        demanded |= _PROTECTIONS[name]
    return demanded


def _demand_fit(board: Board, regions: list[Region]) -> None:
    """Sizes that the specification takes for granted."""
    if board.pre_bootloader.address != board.flash_address:
        raise BoardInvalid("pre_bootloader: its first sector is the first of the flash, where the core starts")
    if board.pre_bootloader.size_bytes < PRE_BOOTLOADER_SIZE_BYTES:
        raise BoardInvalid(f"pre_bootloader: at least {PRE_BOOTLOADER_SIZE_BYTES:,} bytes")
    if board.state_half_size_bytes < STATE_HALF_SIZE_BYTES_MIN:
        raise BoardInvalid(f"state_0, state_1: at least {STATE_HALF_SIZE_BYTES_MIN:,} bytes each")
    for region in regions:
        if region.size_bytes <= HEAD_SIZE_BYTES:
            raise BoardInvalid(f"{region.name}: more than the {HEAD_SIZE_BYTES:,} bytes of a head")


def _demand_keys(where: str, table: object, keys: set[str], optional: frozenset[str] | set[str] = frozenset()) -> None:
    if not isinstance(table, dict):
        raise BoardInvalid(f"{where}: a table with {', '.join(sorted(keys))}")
    if unknown := sorted(table.keys() - keys - optional):
        raise BoardInvalid(f"{where}: unknown key {unknown[0]!r}")
    if missing := sorted(keys - table.keys()):
        raise BoardInvalid(f"{where}: {missing[0]} is missing")


def _integer(table: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = table[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BoardInvalid(f"{key}: an integer from {least:,} to {most:,}")
    return value


def _one_of(table: Mapping[str, Any], key: str, allowed: tuple[int, ...]) -> int:
    if table[key] not in allowed or isinstance(table[key], bool):
        raise BoardInvalid(f"{key}: one of {', '.join(map(str, allowed))}")
    return int(table[key])


def _text(table: Mapping[str, Any], key: str, length_max: int) -> str:
    value = table[key]
    if not isinstance(value, str) or not 0 < len(value) <= length_max or not value.isprintable():
        raise BoardInvalid(f"{key}: 1 to {length_max} printable characters")
    return value
