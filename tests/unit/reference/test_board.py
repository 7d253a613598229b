"""Board files: those that come with the project, and everything docs/spec/boards.md refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bootloader.reference.board import Board, BoardInvalid, Copy, load_address, load_board, padded_uid
from bootloader.reference.platform import Protection

BOARDS = sorted((Path(__file__).parents[3] / "bootloader" / "boards").glob("*.toml"))
CORE = (Path(__file__).parents[3] / "bootloader" / "boards" / "stm32f405-core.toml").read_text()


def changed(before: str, after: str) -> str:
    """The core board's file with one thing replaced."""
    assert CORE.count(before) == 1, f"{before!r} stands once in the file"
    return CORE.replace(before, after)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_board_that_comes_with_the_project_loads_and_is_named_as_its_file(path: Path) -> None:
    assert load_board(path.read_text()).name == path.stem


# Sector addresses of RM0090 (STM32F405), table 5; regions as the design has them.
@pytest.mark.parametrize(
    ("name", "regions"),
    [
        (
            "stm32f405-full",
            {
                "pre_bootloader": (0x08000000, 0x4000),
                "bootloader_a": (0x08004000, 0x8000),
                "bootloader_b": (0x08010000, 0x10000),
                "state_0": (0x0800C000, 0x4000),
                "state_1": (0x08020000, 0x20000),
                "application": (0x08040000, 0xC0000),
            },
        ),
        (
            "stm32f405-core",
            {
                "pre_bootloader": (0x08000000, 0x4000),
                "bootloader_a": (0x08004000, 0x4000),
                "bootloader_b": (0x08008000, 0x4000),
                "state_0": (0x0800C000, 0x4000),
                "state_1": (0x08010000, 0x10000),
                "application": (0x08020000, 0xC0000),
                "application_data": (0x080E0000, 0x20000),
            },
        ),
        (
            "stm32f446-core",
            {
                "bootloader_a": (0x08004000, 0x4000),
                "state_1": (0x08010000, 0x10000),
                "application": (0x08020000, 0x60000),
            },
        ),
    ],
)
def test_regions_stand_where_the_reference_manual_and_the_design_put_them(
    name: str, regions: dict[str, tuple[int, int]]
) -> None:
    board = load_board((BOARDS[0].parent / f"{name}.toml").read_text())
    for region_name, place in regions.items():
        region = getattr(board, region_name)
        assert (region.address, region.size_bytes) == place, region_name


def test_derived_addresses() -> None:
    board = load_board(CORE)
    assert board.flash_address == 0x08000000
    assert board.flash_size_bytes == 1024 * 1024
    assert board.built_in_keys_address == 0x08000F40
    assert board.state_half_size_bytes == 16384
    assert load_address(board.application) == 0x08020400
    assert board.copy_region(Copy.A) is board.bootloader_a
    assert board.copy_region(Copy.A.other) is board.bootloader_b
    assert Copy.B.other is Copy.A
    assert board.text == CORE


def test_a_region_knows_what_it_contains() -> None:
    region = load_board(CORE).bootloader_a
    assert region.contains(0x08004000, 0x4000)
    assert not region.contains(0x08003FFF, 1)
    assert not region.contains(0x08007FFF, 2)


def test_synthetic_board_takes_an_image_of_16_mb() -> None:
    board = load_board((BOARDS[0].parent / "synthetic-32mb.toml").read_text())
    assert board.application.size_bytes > 16 * 1024 * 1024 + 1024


def test_the_uid_is_padded_to_16_bytes() -> None:
    board = load_board(CORE)
    assert padded_uid(board, b"\x01" * 12) == b"\x01" * 12 + bytes(4)
    with pytest.raises(ValueError, match="has 12 bytes, not 16"):
        padded_uid(board, bytes(16))


DEMANDED = '["readout", "write-protect", "brown-out"]'
REFUSED = {
    "unknown key": (changed("uid_size_bytes", "erased_byte = 0\nuid_size_bytes"), "unknown key 'erased_byte'"),
    "missing key": (changed("flash_base = 0x0800_0000\n", ""), "flash_base is missing"),
    "not TOML": ("name = ", "not TOML"),
    "key twice": (changed("[regions]", 'name = "twice"\n[regions]'), "not TOML"),
    "name empty": (changed('"stm32f405-core"', '""'), "name: 1 to 64"),
    "name not text": (changed('"stm32f405-core"', "7"), "name: 1 to 64"),
    "write unit": (changed("write_unit_bytes = 4", "write_unit_bytes = 3"), "write_unit_bytes: one of"),
    "write unit true": (changed("write_unit_bytes = 4", "write_unit_bytes = true"), "write_unit_bytes: one of"),
    "uid too long": (changed("uid_size_bytes = 12", "uid_size_bytes = 17"), "uid_size_bytes: an integer from 4 to 16"),
    "flash base": (changed("0x0800_0000", "0x1_0000_0000"), "flash_base: an integer"),
    "beyond address space": (changed("0x0800_0000", "0xFFFF_0000"), "beyond the 32-bit address space"),
    "no sectors": (re.sub(r"sectors = \[.*?\n\]", "sectors = []", CORE, flags=re.DOTALL), "sectors: one or more"),
    "sector key": (changed("{ count = 1, size_bytes = 65536 }", "{ count = 1 }"), "size_bytes is missing"),
    "sector no table": (changed("{ count = 1, size_bytes = 65536 }", "65536"), "sectors: a table with"),
    "sector size": (changed("size_bytes = 65536", "size_bytes = 65535"), "a multiple of 256"),
    "too many sectors": (
        changed("{ count = 7, size", "{ count = 1023, size_bytes = 256 }, { count = 7, size"),
        "at most",
    ),
    "region missing": (changed("state_1 = { first_sector = 4, sector_count = 1 }\n", ""), "state_1 is missing"),
    "region unknown": (changed("application_data", "scratch"), "unknown key 'scratch'"),
    "region no table": (changed("{ first_sector = 11, sector_count = 1 }", "11"), "application_data: a table with"),
    "region overlap": (changed("first_sector = 11", "first_sector = 10"), "sector 10 stands in application and in"),
    "region beyond flash": (changed("first_sector = 11", "first_sector = 12"), "first_sector: an integer from 0 to 11"),
    "region too long": (
        changed("first_sector = 11, sector_count = 1", "first_sector = 11, sector_count = 2"),
        "sector_count: an integer from 1 to 1",
    ),
    "pre-bootloader not first": (
        changed("pre_bootloader = { first_sector = 0,", "pre_bootloader = { first_sector = 1,").replace(
            "bootloader_a = { first_sector = 1,", "bootloader_a = { first_sector = 0,"
        ),
        "pre_bootloader: its first sector is the first of the flash",
    ),
    "pre-bootloader too small": (
        changed(
            "{ count = 4, size_bytes = 16384 }", "{ count = 1, size_bytes = 2048 }, { count = 3, size_bytes = 16384 }"
        ),
        "pre_bootloader: at least 4,096",
    ),
    "state too small": (
        changed(
            "{ count = 4, size_bytes = 16384 }", "{ count = 3, size_bytes = 16384 }, { count = 1, size_bytes = 8192 }"
        ),
        "state_0, state_1: at least 16,384",
    ),
    "copy too small": (
        changed(
            "{ count = 4, size_bytes = 16384 }",
            "{ count = 1, size_bytes = 16384 }, { count = 1, size_bytes = 1024 }, { count = 2, size_bytes = 16384 }",
        ),
        "bootloader_a: more than the 1,024 bytes of a head",
    ),
    "protection no list": (
        changed(DEMANDED, '"readout"'),
        "protection_required: a list of readout, readout-2",
    ),
    "protection unknown": (
        changed(DEMANDED, '["readout", "rdp"]'),
        "protection_required: a list of",
    ),
    "protection twice": (
        changed(DEMANDED, '["readout", "readout"]'),
        "none twice",
    ),
    "protection no text": (changed(DEMANDED, "[1]"), "a list of"),
    "too long": (CORE + "#" * 16384, "at most 16,384 bytes"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_one_line_that_says_what_to_change(text: str, said: str) -> None:
    with pytest.raises(BoardInvalid) as refused:
        load_board(text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value).removeprefix("not TOML: ")


def test_application_data_is_optional() -> None:
    board: Board = load_board(changed("application_data = { first_sector = 11, sector_count = 1 }\n", ""))
    assert board.application_data is None


def test_what_protection_a_board_demands_before_its_devices_make_keys() -> None:
    demanded = Protection.READOUT | Protection.WRITE_PROTECT | Protection.BROWN_OUT
    assert load_board(CORE).protection_required == demanded
    assert load_board(changed(f"protection_required = {DEMANDED}\n", "")).protection_required == Protection.NONE
    names = '["readout", "readout-2", "write-protect", "brown-out", "debug-closed"]'
    assert load_board(changed(DEMANDED, names)).protection_required == 0b11111
