"""What a refusal looks like on the wire (docs/spec/protocol.md, section 4): one code for everything that is not right.

A release build says no more than that. Test builds, and the simulation where it is asked for, answer the device code.
"""

from __future__ import annotations

from enum import IntEnum

from bootloader.link.smp import Group, ManagementError
from bootloader.reference.codes import DeviceCode

Fields = dict[str, "int | dict[str, int]"]


class LinkError(IntEnum):
    """`rc` of our group."""

    REFUSED = 1
    NOT_IN_UPDATE_MODE = 2
    STATE = 3
    FLASH = 4
    BUSY = 5


_OTHERS = {
    DeviceCode.NOT_IN_UPDATE_MODE: LinkError.NOT_IN_UPDATE_MODE,
    DeviceCode.UPLOAD_STATE: LinkError.STATE,
    DeviceCode.NO_STATE: LinkError.STATE,
    DeviceCode.SERVICE_PENDING: LinkError.STATE,
    DeviceCode.STATE_FULL: LinkError.FLASH,
    DeviceCode.FLASH_WRITE: LinkError.FLASH,
    DeviceCode.REGION_LOCKED: LinkError.FLASH,
    DeviceCode.RANDOM_FAILED: LinkError.FLASH,
}


def link_error(code: DeviceCode) -> LinkError:
    """What a release build says for a device code."""
    return _OTHERS.get(code, LinkError.REFUSED)


def management_error(error: ManagementError) -> Fields:
    """An error of SMP itself: the same in both versions."""
    return {"rc": int(error)}


def group_error(rc: int, version: int) -> Fields:
    """An error of our group; SMP 1 has no groups of errors."""
    if version == 0:
        return management_error(ManagementError.EBADSTATE)
    return {"err": {"group": int(Group.STRONGROOM), "rc": rc}}
