"""A product, its keys, a board and a device for scenarios: everything a test needs in one value. Imports no signer.

Packages come from tests/unit/reference/builders.py, which is written from the specification alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bootloader.reference.board import Board, Copy, load_address, load_board
from bootloader.reference.factory_image import Block, CopyImage, build_factory_image
from bootloader.reference.journal_half import read_half
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.operational import make_operational_simulation_only
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key

BOARDS_FOLDER = Path(__file__).parents[2] / "bootloader" / "boards"
UID = bytes.fromhex("0011223344556677 8899aabb")
LOT = b"fake lot 2026-11"
HARDWARE_REVISION = 2


@cache
def board_named(name: str) -> Board:
    return load_board((BOARDS_FOLDER / f"{name}.toml").read_text())


def image_of(text: str, size_bytes: int) -> bytes:
    """An image that looks random and has no run of erased bytes."""
    blocks = -(-size_bytes // 32)
    return b"".join(hashlib.sha256(f"{text} {block}".encode()).digest() for block in range(blocks))[:size_bytes]


@dataclass(frozen=True)
class World:
    """One product on one board. Sizes are small: a scenario costs by the byte."""

    board_name: str = "stm32f405-core"
    uid: bytes = UID
    application_size_bytes: int = 900
    bootloader_code_size_bytes: int = 60
    bundle_plan: builders.BundlePlan = field(default_factory=builders.BundlePlan)

    @cached_property
    def board(self) -> Board:
        return board_named(self.board_name)

    @cached_property
    def padded_uid(self) -> bytes:
        return self.uid.ljust(16, b"\0")

    @cached_property
    def genesis(self) -> bytes:
        return builders.build_bundle(self.bundle_plan)

    @cached_property
    def built_in_keys(self) -> tuple[bytes, ...]:
        return tuple(sorted(key.public for key in builders.bootloader_release_keys()))

    # --- packages ---

    def application_plan(self, version: int = 1, **other: Any) -> builders.PackagePlan:
        """Application `version`.0.0, security version the same number, for this one device."""
        plan = builders.PackagePlan(
            image_version=(version, 0, 0, 0),
            security_version=version,
            load_address=load_address(self.board.application),
            image=image_of(f"application {version}", self.application_size_bytes),
            device_uid=self.padded_uid,
            content_key=hashlib.sha256(b"fake content key %d" % version).digest(),
            image_salt=hashlib.sha256(b"fake salt %d" % version).digest(),
        )
        return replace(plan, **other)

    def application(self, version: int = 1, **other: Any) -> bytes:
        return builders.build_package(self.application_plan(version, **other))

    def bootloader_plan(self, version: int, copy: Copy, **other: Any) -> builders.PackagePlan:
        """Bootloader `version`.0.0 for one copy's address, security version the same number, for the group."""
        plan = builders.bootloader_plan(
            image_version=(version, 0, 0, 0),
            security_version=version,
            load_address=load_address(self.board.copy_region(copy)),
            image=image_of(f"bootloader {version} {copy.name}", self.bootloader_code_size_bytes) + self.genesis,
            device_uid=self.padded_uid,
            content_key=hashlib.sha256(b"fake bootloader key %d %d" % (version, copy)).digest(),
            image_salt=hashlib.sha256(b"fake bootloader salt %d %d" % (version, copy)).digest(),
        )
        return replace(plan, **other)

    def bootloader(self, version: int, copy: Copy, **other: Any) -> bytes:
        return builders.build_package(self.bootloader_plan(version, copy, **other))

    def copy_image(self, version: int, copy: Copy) -> CopyImage:
        """A copy as it stands in flash: head and plaintext."""
        plan = self.bootloader_plan(version, copy)
        return CopyImage(builders.build_head(plan), plan.image)

    # --- devices ---

    @cached_property
    def factory_blocks(self) -> tuple[Block, ...]:
        copies = (self.copy_image(1, Copy.A), self.copy_image(1, Copy.B))
        return tuple(build_factory_image(self.board, b"", self.built_in_keys, copies, HARDWARE_REVISION, LOT))

    def locked_device(self) -> SimulatedDevice:
        """As it comes from the electronics manufacturer."""
        return SimulatedDevice.from_factory_image(self.board, self.uid, self.factory_blocks)

    def device(self) -> SimulatedDevice:
        """OPERATIONAL, with device and group keys, no application."""
        device = self.locked_device()
        keys = [fake_key(f"device {name}").private for name in ("identity", "agreement")]
        make_operational_simulation_only(device, keys[0], keys[1], fake_key("group agreement").private)
        return device

    def device_with(self, version: int, *, confirmed: bool = True) -> SimulatedDevice:
        """With application `version` installed; confirmed and running, or on its first trial start."""
        device = self.device()
        device.power_on()
        device.install(self.application(version))
        if confirmed:
            device.application_confirms()
        return device


def state_on_record(device: SimulatedDevice) -> DeviceState:
    """The state of the active half, read beside the bootloader."""
    return device.bootloader.running.state


def half_records(device: SimulatedDevice, half: int) -> DeviceState | None:
    """What one half of the journal says by itself."""
    region = (device.board.state_0, device.board.state_1)[half]
    read = read_half(device.flash.read(region.address, device.board.state_half_size_bytes))
    return read.state if read is not None else None
