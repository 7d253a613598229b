"""Boards on the bench of a simulated fixture: in its nests, or aside; by UID (docs/spec/fixture.md)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from bootloader.reference.board import Board
from bootloader.reference.factory_image import Block
from bootloader.reference.flash import ERASED_BYTE
from bootloader.simulation.device import SimulatedDevice, blank_flash
from bootloader.simulation.device_file import create_device_file
from bootloader.simulation.platform import SimulatedPlatform
from bootloader.simulation.sim_flash import FlashSnapshot, Operation
from cli.served.store import DeviceStore


class BoardUnknown(Exception):
    """No board with this UID has been here."""


class MemoryStore:
    """Boards that live as long as the fixture's process."""

    def keep(self, operations: Sequence[Operation]) -> None:
        """Nothing to do: flash is where it is."""

    def write_whole(self) -> None:
        """Nothing to do."""

    def write_whole_if_log_is_long(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class Bench:
    """All boards that have been in the fixture. With a folder each has a device file in it."""

    def __init__(self, board: Board, factory_blocks: Sequence[Block], folder: Path | None) -> None:
        self.board = board
        self.factory_blocks = list(factory_blocks)
        self._folder = folder
        self._in_memory: dict[bytes, SimulatedDevice] = {}
        flash = blank_flash(board)
        self._blank = flash.snapshot()
        for address, data in factory_blocks:
            flash.load(address, data)
        self._flashed = flash.snapshot()

    def knows(self, uid: bytes) -> bool:
        """Whether this board has been here."""
        return uid in self._in_memory or (self._folder is not None and self._path(uid).exists())

    def uids(self) -> list[bytes]:
        """Of all boards that have been here."""
        if self._folder is None:
            return sorted(self._in_memory)
        return sorted(bytes.fromhex(path.stem) for path in self._folder.glob("*.img"))

    def make(self, uid: bytes, snapshot: FlashSnapshot) -> None:
        """A new board with this in its flash."""
        device = SimulatedDevice(
            self.board, uid, blank_flash(self.board, secrets.randbits(32)), SimulatedPlatform(secrets.randbits(64))
        )
        device.flash.restore(FlashSnapshot(snapshot.sectors, frozenset()))
        if self._folder is None:
            self._in_memory[uid] = device
        else:
            create_device_file(self._path(uid), device)

    @property
    def blank(self) -> FlashSnapshot:
        return self._blank

    @property
    def flashed(self) -> FlashSnapshot:
        return self._flashed

    def take(self, uid: bytes) -> tuple[SimulatedDevice, DeviceStore | MemoryStore]:
        """A board, and where its flash is kept while it is in a nest. Raises BoardUnknown."""
        if self._folder is not None and self._path(uid).exists():
            store = DeviceStore(self._path(uid))
            return store.device, store
        return self._look(uid), MemoryStore()

    def look(self, uid: bytes) -> SimulatedDevice:
        """A board that lies aside, to look at it. Raises BoardUnknown."""
        if self._folder is not None and self._path(uid).exists():
            store = DeviceStore(self._path(uid))
            store.close()
            return store.device
        return self._look(uid)

    def forget(self, uid: bytes) -> None:
        """Throw a board away."""
        self._in_memory.pop(uid, None)
        if self._folder is not None:
            self._path(uid).unlink(missing_ok=True)

    def _look(self, uid: bytes) -> SimulatedDevice:
        if uid not in self._in_memory:
            raise BoardUnknown
        return self._in_memory[uid]

    def _path(self, uid: bytes) -> Path:
        if self._folder is None:
            raise AssertionError("there is a folder")
        return self._folder / f"{uid.hex()}.img"


def whole_flash(device: SimulatedDevice) -> bytes:
    """What the probe reads, with power or without."""
    board = device.board
    return device.flash.read(board.flash_address, board.flash_size_bytes)


def is_blank_flash(device: SimulatedDevice) -> bool:
    """Whether the probe reads erased bytes only."""
    flash = whole_flash(device)
    return flash.count(ERASED_BYTE) == len(flash)


Tap = Callable[[bytes], None]
"""Is told every byte that goes over a link."""
