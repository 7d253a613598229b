"""How the demonstration's firmware is built with arm-none-eabi-gcc: an application, a stand-in per bootloader copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FOLDER = "firmware"
_FLAGS = [
    "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft", "-Os", "-std=c11", "-ffreestanding", "-nostdlib", "-nostartfiles",
    "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """Where an image stands: the absolute address of its vector table, and its largest size."""

    address: int
    size_bytes_max: int


def copy_sources(folder: Path) -> None:
    """Put the C sources and the linker script into `folder`/firmware, where the command lines below look for them."""
    (folder / _FOLDER).mkdir()
    for name in ("application.c", "bootloader_copy.c", "image.ld"):
        shutil.copy(_HERE / name, folder / _FOLDER / name)


def application_command(out: str, version: str, place: ImagePlace) -> list[str]:
    """The compiler's command line that builds the application as ELF at `out`."""
    return _command("application.c", out, place, [f'-DVERSION="{version}"'])


def bootloader_copy_command(out: str, version: str, genesis_bundle: str, place: ImagePlace) -> list[str]:
    """The same for a bootloader stand-in; its image ends with the file `genesis_bundle`."""
    defines = [f'-DVERSION="{version}"', f'-DGENESIS_BUNDLE="{genesis_bundle}"']
    return _command("bootloader_copy.c", out, place, defines)


def _command(source: str, out: str, place: ImagePlace, defines: list[str]) -> list[str]:
    placed = [
        f"-Wl,--defsym=image_address={place.address:#x}",
        f"-Wl,--defsym=image_size_bytes_max={place.size_bytes_max:#x}",
        f"-Wl,-T,{_FOLDER}/image.ld",
    ]
    return ["arm-none-eabi-gcc", *_FLAGS, *defines, *placed, "-o", out, f"{_FOLDER}/{source}"]
