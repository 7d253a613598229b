"""What a device reports of its hardware's protection (docs/spec/activation.md, section 5)."""

from __future__ import annotations

from enum import IntFlag
from typing import Final


class Protection(IntFlag):
    """Read from the option bytes at the device's last start."""

    NONE = 0
    READOUT = 1
    """Readout protection, level 1 or 2."""
    READOUT_LEVEL_2 = 2
    PRE_BOOTLOADER_WRITE_PROTECTED = 4
    BROWN_OUT_LEVEL = 8
    DEBUG_CLOSED = 16


KNOWN_FLAGS: Final = int(
    Protection.READOUT
    | Protection.READOUT_LEVEL_2
    | Protection.PRE_BOOTLOADER_WRITE_PROTECTED
    | Protection.BROWN_OUT_LEVEL
    | Protection.DEBUG_CLOSED
)
