"""What a station asks of a fixture with one nest: the debug probe, the supply, and the board's link.

Simulated: `provisioning.station.fixture_socket`. A real one is a class with these methods around its probe's library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

from pki.errors import StrongroomError
from provisioning.station.facts import FlashContent, OptionBytes

ERASED = b"\xff"
PAGE_SIZE_BYTES = 1024


class FixtureError(StrongroomError):
    """The fixture could not do what it was asked: no contact, no board, a probe that is gone."""

    exit_code_name = "LINK"


class Nest(Protocol):
    """One nest. Used by one thread. Every method raises FixtureError.

    Writing option bytes happens on the fixture's own supply, not on the board's, in the order of their danger: write
    protection, brown-out level, readout protection last. Level 1 is written as 0x55, never as 0x00: a torn 0x00 reads
    as level 2, which nothing lifts.
    """

    def wait_for_board(self, timeout_seconds: float) -> bool:
        """Whether a board lies in the nest within this time, contacted and powered."""

    def wait_for_removal(self, timeout_seconds: float) -> bool:
        """Whether the nest is empty within this time."""

    def read_uid(self) -> bytes | None:
        """The chip's UID, padded to 16 bytes, read by the probe; None if this fixture cannot."""

    def read_option_bytes(self) -> OptionBytes | None:
        """As they stand in flash; None where the debug port is closed to the probe."""

    def write_option_bytes(self, wanted: OptionBytes) -> None:
        """Those that differ, in the order above; they take effect at the next power cycle."""

    def compare_flash(self, image: FactoryImage) -> FlashContent:
        """Read the whole flash and compare. FixtureError where readout protection forbids it."""

    def erase(self) -> None:
        """Erase the whole flash; where readout protection level 1 is set, by lifting it (which erases)."""

    def program(self, image: FactoryImage) -> None:
        """Write the factory image to a blank flash."""

    def power_cycle(self) -> None:
        """Supply off, and on again."""


class FactoryImage:
    """What stands in the whole flash of a board that left the electronics manufacturer, blank parts included."""

    def __init__(self, flash_base: int, content: bytes, written_by_devices: Sequence[tuple[int, int]] = ()) -> None:
        """`written_by_devices`: offset and size in bytes of the regions of state and application."""
        self.flash_base = flash_base
        self.content = content
        self._written_by_devices = tuple(written_by_devices)

    @cached_property
    def sha256(self) -> str:
        """Of the whole flash, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def blank_sha256(self) -> str:
        """The same of a blank one."""
        return hashlib.sha256(ERASED * len(self.content)).hexdigest()

    @cached_property
    def pages_with_content(self) -> tuple[tuple[int, bytes], ...]:
        """Address and bytes of every page that is not blank, adjacent ones together."""
        pages: list[tuple[int, bytearray]] = []
        for start in range(0, len(self.content), PAGE_SIZE_BYTES):
            page, address = self.content[start : start + PAGE_SIZE_BYTES], self.flash_base + start
            if page.count(ERASED) == len(page):
                continue
            if pages and pages[-1][0] + len(pages[-1][1]) == address:
                pages[-1][1].extend(page)
            else:
                pages.append((address, bytearray(page)))
        return tuple((address, bytes(data)) for address, data in pages)

    def compare(self, flash: bytes) -> FlashContent:
        """What a whole flash holds. A read of another size is something else."""
        if flash == self.content:
            return FlashContent.FACTORY_IMAGE
        if len(flash) != len(self.content):
            return FlashContent.OTHER
        if flash.count(ERASED) == len(flash):
            return FlashContent.BLANK
        return FlashContent.USED if self._code_of(flash) == self._code_of(self.content) else FlashContent.OTHER

    def _code_of(self, flash: bytes) -> bytes:
        """Everything but what devices write."""
        code = bytearray(flash)
        for offset, size_bytes in self._written_by_devices:
            code[offset : offset + size_bytes] = bytes(size_bytes)
        return bytes(code)
