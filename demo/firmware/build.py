"""Builds the demonstration's firmware with arm-none-eabi-gcc: an application, and a stand-in per bootloader copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_FLAGS = [
    "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft", "-Os", "-std=c11", "-ffreestanding", "-nostdlib", "-nostartfiles",
    "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments",
]  # fmt: skip


def build_application(out: Path, version: str, image_address: int, image_size_bytes_max: int) -> None:
    """Build the application as ELF at `out`, linked so that its vector table stands at `image_address`."""
    _compile("application.c", out, image_address, image_size_bytes_max, [f'-DVERSION="{version}"'])


def build_bootloader_copy(
    out: Path, version: str, genesis_bundle: Path, image_address: int, image_size_bytes_max: int
) -> None:
    """Build a bootloader stand-in as ELF at `out`; the image ends with the genesis bundle."""
    defines = [f'-DVERSION="{version}"', f'-DGENESIS_BUNDLE="{genesis_bundle}"']
    _compile("bootloader_copy.c", out, image_address, image_size_bytes_max, defines)


def _compile(source: str, out: Path, image_address: int, image_size_bytes_max: int, defines: list[str]) -> None:
    placed = [
        f"-Wl,--defsym=image_address={image_address:#x}",
        f"-Wl,--defsym=image_size_bytes_max={image_size_bytes_max:#x}",
        f"-Wl,-T,{_HERE / 'image.ld'}",
    ]
    command = ["arm-none-eabi-gcc", *_FLAGS, *defines, *placed, "-o", str(out), str(_HERE / source)]
    subprocess.run(command, check=True)
