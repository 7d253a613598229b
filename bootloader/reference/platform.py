"""What a device has beside its flash: a random generator, and option bytes (docs/spec/activation.md, sections 1 and 5).

Both come from the microcontroller; a bootloader without them reports no protection and makes no keys.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Protocol

from bootloader.reference.codes import DeviceCode, Refused


class Protection(IntFlag):
    """The protection that the option bytes say at this start; what an order, or a board, may demand."""

    NONE = 0
    READOUT = 0x01  # level 1 or 2
    READOUT_2 = 0x02
    WRITE_PROTECT = 0x04  # of the pre-bootloader's sector
    BROWN_OUT = 0x08
    DEBUG_CLOSED = 0x10


PROTECTION_KNOWN = int(
    Protection.READOUT
    | Protection.READOUT_2
    | Protection.WRITE_PROTECT
    | Protection.BROWN_OUT
    | Protection.DEBUG_CLOSED
)


class Platform(Protocol):
    """The random generator, its error flags checked, and the protection flags as they were read at this start."""

    def random_bytes(self, size_bytes: int) -> bytes:
        """Fresh random bytes; raises Refused(RANDOM_FAILED) if the generator reports an error."""

    @property
    def protection(self) -> Protection:
        """What the option bytes said at this start."""


class BarePlatform:
    """No random generator and no protection: all that is known where nobody said more."""

    @property
    def protection(self) -> Protection:
        return Protection.NONE

    def random_bytes(self, size_bytes: int) -> bytes:
        raise Refused(DeviceCode.RANDOM_FAILED, f"no random generator to draw {size_bytes} bytes from")
