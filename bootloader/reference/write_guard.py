"""The driver between a stage and the flash: it refuses every write that the stage has no business making.

A refusal (REGION_LOCKED) means a defect or a glitch: no input can cause one.
"""

from __future__ import annotations

from collections.abc import Iterable

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.flash import FlashDevice, Region, Sector


class WriteGuard:
    """A FlashDevice that writes to the permitted regions only; nothing is permitted at first."""

    def __init__(self, flash: FlashDevice) -> None:
        self._flash = flash
        self._programmable: tuple[Region, ...] = ()
        self._erasable: tuple[Region, ...] = ()
        self._locked = False

    @property
    def write_unit_bytes(self) -> int:
        return self._flash.write_unit_bytes

    def permit(self, *, program: Iterable[Region] = (), erase: Iterable[Region] = ()) -> None:
        """Permit exactly these, in place of what was permitted before; after `lock_until_reset` it has no effect."""
        if not self._locked:
            self._programmable = tuple(program)
            self._erasable = tuple(erase)

    def lock_until_reset(self) -> None:
        """Permit nothing any more, whatever is asked for. On a device: wrong values into both key registers."""
        self._programmable = ()
        self._erasable = ()
        self._locked = True

    def read(self, address: int, size_bytes: int) -> bytes:
        return self._flash.read(address, size_bytes)

    def program(self, address: int, data: bytes) -> None:
        permitted = any(region.contains(address, len(data)) for region in self._programmable)
        require(permitted, DeviceCode.REGION_LOCKED, f"programming at {address:#010x} is not permitted")
        self._flash.program(address, data)

    def erase(self, sector: Sector) -> None:
        permitted = any(sector in region.sectors for region in self._erasable)
        require(permitted, DeviceCode.REGION_LOCKED, f"erasing at {sector.address:#010x} is not permitted")
        self._flash.erase(sector)
