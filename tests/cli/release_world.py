"""A world that can release: genesis bundle, bootloaders of both copies, factory image, one simulated device.

A folder's conftest.py gets the fixtures by `from tests.cli.release_world import *`.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from signer.tokens import ModuleConfig, find_module, load_module
from tests.cli.world import PRODUCT, World, configure_softhsm
from tests.softhsm_fixtures import close_all

__all__ = ["release_template", "release_world"]

UID = "31ff6b064d4e383012471843"
APPLICATION_ADDRESS = 0x08040400
COPY_ADDRESSES = {"A": 0x08004400, "B": 0x08010400}
STACK_TOP = 0x20008000

AnyWorld = TypeVar("AnyWorld", bound=World)


@dataclass
class ReleaseWorld(World):
    """`out` has what was made: trust-1.srb, boot-a.bin, boot-a.srp, boot-b…, factory.hex, device.img, device.json."""

    @property
    def bundle(self) -> Path:
        return self.out / "trust-1.srb"

    @property
    def device(self) -> Path:
        return self.out / "device.img"

    @property
    def public(self) -> Path:
        return self.out / "device.json"

    def firmware(self, name: str, size_bytes: int = 6000, address: int = APPLICATION_ADDRESS) -> Path:
        """A raw binary that begins with a vector table for its address; its content follows from its name."""
        content = bytearray((name.encode() * (size_bytes // len(name) + 1))[:size_bytes])
        content[:8] = struct.pack("<II", STACK_TOP, address + 9)
        path = self.out / f"{name}.bin"
        path.write_bytes(content)
        return path

    def bootloader(self, copy: str, version: str, security_version: int = 1, *options: str | Path) -> Path:
        """A bootloader package, for factory images unless the options say otherwise; its firmware beside it."""
        name = f"boot-{copy.lower()}-{version}"
        firmware = self.firmware(name, 3000, COPY_ADDRESSES[copy])
        firmware.write_bytes(firmware.read_bytes() + self.bundle.read_bytes())
        chosen = options or ("--for-factory",)
        return self.package(firmware, version, security_version, "--type", "bootloader", "--copy", copy, *chosen)

    def application(self, version: str, security_version: int = 1, *options: str | Path) -> Path:
        """An application package for the device."""
        firmware = self.firmware(f"app-{version}")
        return self.package(firmware, version, security_version, *(options or ("--for-device", self.public)))

    def package(self, firmware: Path, version: str, security_version: int, *options: str | Path) -> Path:
        path = self.out / f"{firmware.stem}-{security_version}.srp"
        self.ok("package", "build", *terms(version, security_version), firmware, "-o", path, *options)
        return path

    def device_json(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        """A device command on the world's device; its JSON report."""
        result = self.run("device", arguments[0], self.device, *arguments[1:], "--json")
        assert result.code == code, result
        report: dict[str, Any] = result.json
        return report


def terms(version: str = "1.0.0", security_version: int = 1, product: str = PRODUCT) -> Sequence[str]:
    return ("-p", product, "--version", version, "--security-version", str(security_version))


def elf(segments: Sequence[tuple[int, bytes]]) -> bytes:
    """A small ARM executable with these (address, content) segments."""
    header_size, entry_size = 52, 32
    offset = header_size + entry_size * len(segments)
    table, body = b"", b""
    for address, content in segments:
        table += struct.pack("<IIIIIIII", 1, offset + len(body), address, address, len(content), len(content), 5, 4)
        body += content
    ident = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", ident, 2, 40, 1, segments[0][0], header_size, 0, 0, header_size, entry_size,
        len(segments), 40, 0, 0,
    )  # fmt: skip
    return header + table + body


def vector_table(size_bytes: int = 64, address: int = APPLICATION_ADDRESS) -> bytes:
    return struct.pack("<II", STACK_TOP, address + 9).ljust(size_bytes, b"\x11")


def left_in(folder: Path) -> set[str]:
    """The names of everything in a folder, hidden files included."""
    return {entry.name for entry in folder.iterdir()}


def build_release(world: ReleaseWorld) -> None:
    world.ok("bundle", "genesis", "-p", PRODUCT, "-o", world.bundle)
    parts: list[str | Path] = []
    for copy in ("A", "B"):
        package = world.bootloader(copy, "1.0.0")
        parts += [f"--bootloader-{copy.lower()}", package]
        parts += [f"--image-{copy.lower()}", world.out / f"boot-{copy.lower()}-1.0.0.bin"]
    factory = world.out / "factory.hex"
    world.ok(
        "device", "factory-image", "-p", PRODUCT, *parts, "--lot", "LOT-7", "--bundle", world.bundle, "-o", factory
    )
    made = ("--factory-image", factory, "--uid", UID, "--operational", "--public", world.public)
    world.ok("device", "new", world.device, "-p", PRODUCT, *made)


def _fast_folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    return Path(tempfile.mkdtemp(prefix="strongroom-release-", dir=memory if os.access(memory, os.W_OK) else None))


def copied(template: World, patch: pytest.MonkeyPatch, kind: type[AnyWorld]) -> AnyWorld:
    """The template's folder again, the test's own, with SoftHSM pointed at it."""
    folder = _fast_folder()
    shutil.copytree(template.folder, folder, dirs_exist_ok=True)
    environment = configure_softhsm(folder)
    patch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    load_module(ModuleConfig(find_module("softhsm2"))).reinitialize()
    return kind(folder, environment)


@pytest.fixture(scope="session")
def release_template(world_template: World) -> Iterator[ReleaseWorld]:
    with pytest.MonkeyPatch.context() as patch:
        world = copied(world_template, patch, ReleaseWorld)
        build_release(world)
        close_all(load_module(ModuleConfig(find_module("softhsm2"))))
        yield world
    shutil.rmtree(world.folder)


@pytest.fixture
def release_world(release_template: ReleaseWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseWorld]:
    world = copied(release_template, monkeypatch, ReleaseWorld)
    yield world
    close_all(load_module(ModuleConfig(find_module("softhsm2"))))
    shutil.rmtree(world.folder)
