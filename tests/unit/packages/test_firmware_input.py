"""Firmware files: what each format gives, and that each thing wrong with one is refused by a line that helps."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from pki.errors import InputRefused
from signer.packages.firmware_input import FirmwareFormat, FirmwareImage, open_firmware
from signer.packages.image_parts import ImageLimits
from tests.unit.packages.elf_builder import ElfFile, Segment

BASE = 0x08008400
LIMITS = ImageLimits(BASE, 1 << 20)
VECTORS = struct.pack("<II", 0x20020000, BASE + 0x101)


def read(path: Path, limits: ImageLimits = LIMITS, firmware_format: FirmwareFormat | None = None) -> bytes:
    with open_firmware(path, limits, firmware_format) as image:
        return content_of(image)


def content_of(image: FirmwareImage, block_size_bytes: int = 1000) -> bytes:
    content = bytearray(image.size_bytes)
    view = memoryview(content)
    for offset in range(0, image.size_bytes, block_size_bytes):
        image.read_into(offset, view[offset : offset + block_size_bytes])
    return bytes(content)


def refusal(path: Path, limits: ImageLimits = LIMITS, firmware_format: FirmwareFormat | None = None) -> str:
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (pathlib would open another descriptor late)
    with pytest.raises(InputRefused) as refused:
        open_firmware(path, limits, firmware_format)
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


def written(folder: Path, content: bytes, name: str = "firmware") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def hex_record(kind: int, address: int, content: bytes = b"") -> bytes:
    record = bytes([len(content)]) + address.to_bytes(2, "big") + bytes([kind]) + content
    return b":" + (record + bytes([-sum(record) & 0xFF])).hex().upper().encode() + b"\n"


def s_record(kind: int, address: int, content: bytes = b"") -> bytes:
    size = {0: 2, 1: 2, 2: 3, 3: 4, 4: 2, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}[kind]
    record = bytes([size + len(content) + 1]) + address.to_bytes(size, "big") + content
    return b"S%d" % kind + (record + bytes([~sum(record) & 0xFF])).hex().upper().encode() + b"\n"


HEX_BASE = hex_record(4, 0, b"\x08\x00")
HEX_END = hex_record(1, 0)


# Raw binaries.


def test_a_binary_with_a_vector_table_for_this_address_is_recognised(tmp_path: Path) -> None:
    content = VECTORS + os.urandom(5000)
    path = written(tmp_path, content)
    with open_firmware(path, LIMITS) as image:
        assert (image.firmware_format, image.load_address, image.size_bytes) == (FirmwareFormat.BINARY, BASE, 5008)
        assert image.fill_size_bytes == 0
        assert content_of(image) == content


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        struct.pack("<I", 0x20020000),
        struct.pack("<II", 0x20020000, BASE + 0x100),
        struct.pack("<II", 0x20020000, 0x08000101),
        struct.pack("<II", 0x20020000, BASE + 0x100001),
        struct.pack("<II", 0x20020001, BASE + 0x101),
        struct.pack("<II", 0x08020000, BASE + 0x101),
        b"#!/bin/sh\necho this is not firmware\n",
        b"PK\x03\x04",
    ],
)
def test_what_is_no_firmware_is_not_taken_for_a_binary(tmp_path: Path, beginning: bytes) -> None:
    said = refusal(written(tmp_path, beginning + bytes(300), "firmware.elf"))
    assert "not an ELF" in said
    assert "0x08008400" in said


def test_a_binary_is_taken_as_it_is_when_asked_for(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"anything"), firmware_format=FirmwareFormat.BINARY) == b"anything"


# What is wrong with any format.


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, b"")
    for firmware_format in (None, *FirmwareFormat):
        assert "empty" in refusal(path, firmware_format=firmware_format)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        assert "regular file" in refusal(path)
    assert "cannot read" in refusal(tmp_path / "absent")


@pytest.mark.parametrize("limit", [5007, 1])
def test_an_image_that_is_too_large_is_refused(tmp_path: Path, limit: int) -> None:
    assert "its region takes" in refusal(written(tmp_path, VECTORS + bytes(5000)), ImageLimits(BASE, limit))


def test_the_format_has_a_limit_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    assert "67108864" in refusal(path, ImageLimits(BASE, 1 << 30), FirmwareFormat.BINARY)
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
    with open_firmware(path, ImageLimits(BASE, 1 << 30), FirmwareFormat.BINARY) as image:
        assert image.size_bytes == 64 << 20


def test_another_address_than_the_boards_is_refused(tmp_path: Path) -> None:
    said = refusal(written(tmp_path, ElfFile((Segment(0x08000000, b"abcd"),)).encoded))
    assert "0x08000000" in said
    assert "0x08008400" in said


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, VECTORS + bytes(5000))
    with open_firmware(path, LIMITS) as image:
        image.require_unchanged()
        os.truncate(path, 4000)
        with pytest.raises(InputRefused, match="became shorter"):
            content_of(image)
        with pytest.raises(InputRefused, match="changed while it was read"):
            image.require_unchanged()
    path.write_bytes(VECTORS + bytes(5000))
    with open_firmware(path, LIMITS) as image:
        os.utime(path, ns=(0, 0))
        with pytest.raises(InputRefused, match="changed while it was read"):
            image.require_unchanged()


def test_reading_outside_the_image_is_a_defect(tmp_path: Path) -> None:
    with open_firmware(written(tmp_path, bytes(100)), LIMITS, FirmwareFormat.BINARY) as image:
        for offset, size in ((-1, 1), (100, 1), (99, 2)):
            with pytest.raises(ValueError, match="outside"):
                image.read_into(offset, memoryview(bytearray(size)))


# Gaps.


def test_gaps_are_filled_as_erased_flash_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, ElfFile((Segment(BASE + 3000, b"end"), Segment(BASE, b"begin"))).encoded)
    with open_firmware(path, LIMITS) as image:
        assert content_of(image) == b"begin" + b"\xff" * 2995 + b"end"
        assert content_of(image, 7) == content_of(image, 100_000)
        assert image.fill_size_bytes == 2995


def test_a_gap_has_a_limit_and_is_named(tmp_path: Path) -> None:
    segments = (Segment(BASE, b"begin"), Segment(BASE + 100, b"middle"), Segment(BASE + 5 + 70_000, b"end"))
    path = written(tmp_path, ElfFile(segments).encoded)
    said = refusal(path)
    assert "gaps of 69994 bytes" in said
    assert f"0x{BASE + 106:08X} and 0x{BASE + 70_005:08X}" in said
    assert len(read(path, ImageLimits(BASE, 1 << 20, gap_size_bytes_max=69_994))) == 70_008


@pytest.mark.parametrize("second", [BASE, BASE + 4, BASE - 4])
def test_overlapping_segments_are_refused(tmp_path: Path, second: int) -> None:
    path = written(tmp_path, ElfFile((Segment(BASE, b"12345"), Segment(second, b"12345"))).encoded)
    assert "overlapping" in refusal(path)
    content = HEX_BASE + hex_record(0, BASE & 0xFFFF, b"12345") + hex_record(0, second & 0xFFFF, b"12345") + HEX_END
    assert "overlapping" in refusal(written(tmp_path, content))
    content = s_record(3, BASE, b"12345") + s_record(3, second, b"12345") + s_record(7, 0)
    assert "overlapping" in refusal(written(tmp_path, content))


# ELF.


def test_only_loaded_segments_with_content_count(tmp_path: Path) -> None:
    segments = (
        Segment(0x20000000, b"", 4096),
        Segment(BASE, b"program", 8192),
        Segment(BASE + 0x1000, b"not loaded", kind=4),
    )
    assert read(written(tmp_path, ElfFile(segments).encoded)) == b"program"


@pytest.mark.parametrize(
    ("elf", "says"),
    [
        (ElfFile((Segment(BASE, b"abcd"),), machine=62), "machine 62"),
        (ElfFile((Segment(BASE, b"abcd"),), machine=243), "machine 243"),
        (ElfFile((Segment(BASE, b"abcd"),), elf_class=2), "32-bit little-endian"),
        (ElfFile((Segment(BASE, b"abcd"),), data_encoding=2), "32-bit little-endian"),
        (ElfFile((Segment(BASE, b"abcd"),), kind=1), "an object file"),
        (ElfFile((Segment(BASE, b"abcd"),), kind=3), "position independent"),
        (ElfFile((Segment(BASE, b"abcd"),), kind=4), "ELF type 4"),
        (ElfFile(()), "program headers"),
        (ElfFile((Segment(BASE, b""),)), "no bytes to be programmed"),
        (ElfFile((Segment(BASE, b"abcd", 3),)), "impossible sizes"),
        (ElfFile((Segment(0xFFFFFFFE, b"abcd"),)), "impossible sizes"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={52 + 16: struct.pack("<I", 100_000)}), "outside the file"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={52 + 4: struct.pack("<I", 0xFFFFFFFF)}), "outside the file"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={28: struct.pack("<I", 100_000)}), "outside the file"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={42: struct.pack("<H", 40)}), "program headers"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={44: struct.pack("<H", 65)}), "program headers"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={44: struct.pack("<H", 0xFFFF)}), "program headers"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={46: struct.pack("<H", 64)}), "sections"),
        (ElfFile((Segment(BASE, b"abcd"),), overrides={48: struct.pack("<H", 0xFFFF)}), "sections"),
    ],
)
def test_an_unusable_elf_file_is_refused(tmp_path: Path, elf: ElfFile, says: str) -> None:
    assert says in refusal(written(tmp_path, elf.encoded))


def test_every_cut_of_an_elf_file_before_its_content_ends_is_refused(tmp_path: Path) -> None:
    whole = ElfFile((Segment(BASE, b"abcdefgh"),), with_sections=False).encoded
    for size in range(4, 52 + 32 + 8):
        refusal(written(tmp_path, whole[:size]))


SOURCE = """
const unsigned vectors[] __attribute__((section(".vectors"), used)) = {0x20001000, 0x08008501};
int initialised = 5;
int zeroed;
void _start(void) { zeroed = ++initialised; for (;;) { } }
"""
LINKER_SCRIPT = """
MEMORY {
  FLASH (rx) : ORIGIN = 0x08008400, LENGTH = 64K
  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 32K
}
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) } >FLASH
  .data : { *(.data*) } >RAM AT>FLASH
  .bss : { *(.bss*) } >RAM
}
"""


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program by the real tool chain, 1,024 bytes into a page: the linker puts the ELF headers into its segment."""
    folder = tmp_path_factory.mktemp("linked")
    (folder / "p.c").write_text(SOURCE)
    (folder / "p.ld").write_text(LINKER_SCRIPT)
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-nostdlib", "-T", "p.ld", "p.c", "-o", "p.elf"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / "p.elf"


def test_elf_headers_inside_a_segment_are_left_out(linked: Path) -> None:
    content = linked.read_bytes()
    offset, _, address = struct.unpack_from("<III", content, 52 + 4)
    assert (offset, address) == (0, 0x08008000), "the case that this test is for"
    subprocess.run(
        ["arm-none-eabi-objcopy", "-O", "binary", "--gap-fill", "0xff", str(linked), str(linked.with_suffix(".bin"))],
        check=True,
        timeout=60,
    )
    assert read(linked) == linked.with_suffix(".bin").read_bytes()


def test_elf_headers_inside_a_segment_without_sections_are_refused_with_advice(linked: Path, tmp_path: Path) -> None:
    stripped = bytearray(linked.read_bytes())
    stripped[32:36] = bytes(4)
    stripped[46:52] = bytes(6)
    said = refusal(written(tmp_path, bytes(stripped)))
    assert "max-page-size" in said


# Intel HEX.


def test_intel_hex_is_read(tmp_path: Path) -> None:
    content = (
        b"\n" + HEX_BASE + hex_record(0, 0x8408, b"second") + hex_record(0, 0x8400, b"first...") + b" \r\n" + HEX_END
    )
    path = written(tmp_path, content, "firmware.bin")
    with open_firmware(path, LIMITS) as image:
        assert image.firmware_format is FirmwareFormat.INTEL_HEX
        assert content_of(image) == b"first...second"


def test_intel_hex_in_lower_case_with_segments_and_start_records(tmp_path: Path) -> None:
    limits = ImageLimits(0x12340, 1000)
    content = hex_record(2, 0, b"\x12\x00") + hex_record(0, 0x340, b"data") + hex_record(3, 0, bytes(4)) + HEX_END
    assert read(written(tmp_path, content.lower().replace(b"\n", b"\r\n")), limits) == b"data"
    content = HEX_BASE + hex_record(0, 0x8400, b"data") + hex_record(5, 0, bytes(4)) + HEX_END + b"\r\n\n"
    assert read(written(tmp_path, content)) == b"data"


def test_a_linear_record_runs_on_over_a_64_kb_boundary_and_a_segment_does_not(tmp_path: Path) -> None:
    limits = ImageLimits(0x0801FFFE, 1000)
    content = hex_record(4, 0, b"\x08\x01") + hex_record(0, 0xFFFE, b"data") + HEX_END
    assert read(written(tmp_path, content), limits) == b"data"
    content = hex_record(2, 0, b"\x10\x00") + hex_record(0, 0xFFFE, b"data") + HEX_END
    assert "64 kB segment" in refusal(written(tmp_path, content), limits)
    content = hex_record(4, 0, b"\xff\xff") + hex_record(0, 0xFFFE, b"data") + HEX_END
    assert "32-bit address space" in refusal(written(tmp_path, content), limits)


DATA = hex_record(0, 0x8400, b"data")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEX_BASE + DATA, "without its end record"),
        (HEX_BASE + HEX_END, "no bytes to be programmed"),
        (HEX_BASE + DATA + HEX_END + DATA, "line 4: there is something after the end record"),
        (HEX_BASE + DATA + HEX_END + HEX_END, "after the end record"),
        (HEX_BASE + DATA + HEX_END + b"rubbish", "after the end record"),
        (HEX_BASE + DATA[:-3] + b"\n" + HEX_END, "line 2"),
        (HEX_BASE + DATA.replace(b"84", b"85", 1) + HEX_END, "checksum"),
        (HEX_BASE + DATA[1:] + HEX_END, "colon"),
        (HEX_BASE + b":" + HEX_END, "line 2"),
        (HEX_BASE + DATA.replace(b"84", b"8 4", 1) + HEX_END, "hexadecimal digits"),
        (HEX_BASE + DATA.replace(b"0", b"G", 1) + HEX_END, "hexadecimal digits"),
        (HEX_BASE + DATA.replace(b"0", b"\xc3", 1) + HEX_END, "hexadecimal digits"),
        (HEX_BASE + DATA[:-1] + b"00\n" + HEX_END, "longer than it says"),
        (HEX_BASE + hex_record(6, 0) + HEX_END, "type 06"),
        (HEX_BASE + hex_record(1, 0, b"x"), "type 01"),
        (hex_record(4, 0, b"\x08") + DATA + HEX_END, "type 04"),
        (HEX_BASE + b":" + b"00" * 300 + b"\n" + HEX_END, "longer than any record"),
    ],
)
def test_intel_hex_with_a_flaw_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(written(tmp_path, content))


def test_every_cut_of_an_intel_hex_file_is_refused(tmp_path: Path) -> None:
    whole = (HEX_BASE + DATA + HEX_END).rstrip(b"\n")
    for size in range(1, len(whole)):
        refusal(written(tmp_path, whole[:size]), firmware_format=FirmwareFormat.INTEL_HEX)


# S-records.


@pytest.mark.parametrize(("kind", "end", "base"), [(1, 9, 0x8400), (2, 8, 0x128400), (3, 7, BASE)])
def test_s_records_are_read(tmp_path: Path, kind: int, end: int, base: int) -> None:
    content = s_record(0, 0, b"name") + s_record(kind, base, b"first") + s_record(kind, base + 5, b"second")
    content += s_record(5, 2) + s_record(6, 2) + s_record(end, base)
    path = written(tmp_path, content, "firmware.hex")
    with open_firmware(path, ImageLimits(base, 1000)) as image:
        assert image.firmware_format is FirmwareFormat.S_RECORD
        assert content_of(image) == b"firstsecond"


S_DATA, S_END = s_record(3, BASE, b"data"), s_record(7, 0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (S_DATA, "without its end record"),
        (s_record(0, 0) + S_END, "no bytes to be programmed"),
        (S_DATA + S_END + S_DATA, "line 3: there is something after the end record"),
        (S_DATA + S_END + S_END, "after the end record"),
        (S_DATA + s_record(5, 2) + S_END, "2 data records, but 1"),
        (S_DATA + s_record(4, 0) + S_END, "line 2"),
        (S_DATA + b"X" + S_DATA + S_END, "line 2"),
        (S_DATA + b"S\n" + S_END, "line 2"),
        (S_DATA + b"S3\n" + S_END, "line 2"),
        (S_DATA + b"S30100FE\n" + S_END, "line 2"),
        (S_DATA + S_DATA[:-3] + b"\n" + S_END, "line 2"),
        (S_DATA + S_DATA[:-1] + b"00\n" + S_END, "longer than it says"),
        (S_DATA.replace(b"8", b"9", 1) + S_END, "checksum"),
        (S_DATA + s_record(7, 0, b"data"), "carries no data"),
        (S_DATA + s_record(5, 1, b"data") + S_END, "carries no data"),
    ],
)
def test_s_records_with_a_flaw_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(written(tmp_path, content))


def test_every_cut_of_an_s_record_file_is_refused(tmp_path: Path) -> None:
    whole = (s_record(0, 0, b"name") + S_DATA + S_END).rstrip(b"\n")
    for size in range(1, len(whole)):
        refusal(written(tmp_path, whole[:size]), firmware_format=FirmwareFormat.S_RECORD)


# Bounds.


def test_a_record_file_cannot_hold_more_than_its_region(tmp_path: Path) -> None:
    limits = ImageLimits(BASE, 100)
    content = HEX_BASE + b"".join(hex_record(0, 0x8400 + 20 * i, bytes(20)) for i in range(6)) + HEX_END
    assert "more bytes than" in refusal(written(tmp_path, content), limits)
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.write(HEX_BASE)
        stream.truncate(70_000)
    assert "far too large" in refusal(huge, limits)


def test_scattered_records_are_bounded(tmp_path: Path) -> None:
    content = HEX_BASE + b"".join(hex_record(0, 2 * i, b"x") for i in range(4097)) + HEX_END
    assert "4096 separate pieces" in refusal(written(tmp_path, content), ImageLimits(0x08000000, 1 << 20))
