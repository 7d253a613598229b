"""Every firmware format against objcopy, which reads and writes all of them with code that is not ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signer.packages.firmware_input import FirmwareFormat, open_firmware
from signer.packages.image_parts import ImageLimits
from tests.unit.packages.elf_builder import ElfFile, Segment

BASE = 0x08008400
LIMITS = ImageLimits(BASE, 1 << 20)

pieces = st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=600)), min_size=1, max_size=5)


def objcopy(source: Path, target: Path, kind: str) -> Path:
    command = ["arm-none-eabi-objcopy", "-O", kind]
    if kind == "binary":
        command += ["--gap-fill", "0xff"]
    subprocess.run([*command, str(source), str(target)], check=True, timeout=60)
    return target


def content_of(path: Path, expected: FirmwareFormat, load_address: int = BASE) -> bytes:
    with open_firmware(path, ImageLimits(load_address, 1 << 20)) as image:
        assert image.firmware_format is expected
        content = bytearray(image.size_bytes)
        image.read_into(0, memoryview(content))
        return bytes(content)


@settings(max_examples=40)
@given(pieces=pieces, shuffled=st.randoms(use_true_random=False))
def test_elf_hex_and_srec_all_give_the_image_that_objcopy_gives(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], shuffled: object
) -> None:
    folder = tmp_path_factory.mktemp("objcopy")
    segments = []
    address = BASE
    for number, (gap, content) in enumerate(pieces):
        address += gap if number else 0
        segments.append(Segment(address, content))
        address += len(content)
    shuffled.shuffle(segments)  # type: ignore[attr-defined]
    elf = folder / "p.elf"
    elf.write_bytes(ElfFile(tuple(segments)).encoded)
    expected = objcopy(elf, folder / "p.bin", "binary").read_bytes()
    assert content_of(elf, FirmwareFormat.ELF) == expected
    assert content_of(objcopy(elf, folder / "p.hex", "ihex"), FirmwareFormat.INTEL_HEX) == expected
    assert content_of(objcopy(elf, folder / "p.srec", "srec"), FirmwareFormat.S_RECORD) == expected


@pytest.mark.parametrize("base", [0x0000, 0x7F00, 0xFF80, 0x00012340, 0x00FFFF80, 0x0801FF00, 0xFFFFF000])
def test_addresses_of_every_length_and_over_boundaries(tmp_path: Path, base: int) -> None:
    elf = tmp_path / "p.elf"
    content = bytes(range(256)) * 4
    elf.write_bytes(ElfFile((Segment(base, content),)).encoded)
    for kind, expected in (("ihex", FirmwareFormat.INTEL_HEX), ("srec", FirmwareFormat.S_RECORD)):
        assert content_of(objcopy(elf, tmp_path / kind, kind), expected, base) == content
    assert content_of(elf, FirmwareFormat.ELF, base) == content
