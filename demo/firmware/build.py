"""How the demonstration's firmware is built with arm-none-eabi-gcc: an application, a stand-in per bootloader copy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FLAGS = [
    "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft", "-Os", "-std=c11", "-ffreestanding", "-nostdlib", "-nostartfiles",
    "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where an image stands: the absolute address of its vector table, and its largest size."""

    address: int
    size_bytes_max: int


def application_command(folder: Path, out: str, version: str, place: ImagePlace) -> list[str]:
    """The compiler's command line, to be run in `folder`, that builds the application as ELF at `out` there."""
    return _command(folder, "application.c", out, place, [f'-DVERSION="{version}"'])


def bootloader_copy_command(folder: Path, out: str, version: str, genesis_bundle: str, place: ImagePlace) -> list[str]:
    """The same for a bootloader stand-in; its image ends with the genesis bundle, a file in `folder`."""
    defines = [f'-DVERSION="{version}"', f'-DGENESIS_BUNDLE="{genesis_bundle}"']
    return _command(folder, "bootloader_copy.c", out, place, defines)


def _command(folder: Path, source: str, out: str, place: ImagePlace, defines: list[str]) -> list[str]:
    here = os.path.relpath(_HERE, folder.resolve())
    placed = [
        f"-Wl,--defsym=image_address={place.address:#x}",
        f"-Wl,--defsym=image_size_bytes_max={place.size_bytes_max:#x}",
        f"-Wl,-T,{here}/image.ld",
    ]
    return ["arm-none-eabi-gcc", *_FLAGS, *defines, *placed, "-o", out, f"{here}/{source}"]
