"""The states of a device's life, as its objects carry them (docs/spec/device-state.md, DEVICE)."""

from __future__ import annotations

from typing import Final

LOCKED: Final = 0x3C
OPERATIONAL: Final = 0xA5
RMA: Final = 0x66
DECOMMISSIONED: Final = 0x99
NO_READABLE_STATE: Final = 0

_NAMES: Final = {
    NO_READABLE_STATE: "no readable state",
    LOCKED: "LOCKED",
    OPERATIONAL: "OPERATIONAL",
    RMA: "RMA",
    DECOMMISSIONED: "DECOMMISSIONED",
}


def lifecycle_name(lifecycle: int) -> str:
    """For people. A value that is in no list allows nothing on the device, and is told as it is."""
    return _NAMES.get(lifecycle, f"unknown ({lifecycle:#04x})")
