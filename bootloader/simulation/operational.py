"""A shortcut that exists in simulation only: a device made OPERATIONAL without activation, marked for what it is.

Packaging for production refuses the states made here (DEVICE, flag *simulation only*).
"""

from __future__ import annotations

from bootloader.reference.journal import Journal
from bootloader.reference.records import Device, DeviceKeys, GroupKey, Lifecycle
from bootloader.simulation.device import SimulatedDevice


def make_operational_simulation_only(
    device: SimulatedDevice, identity_private: bytes, agreement_private: bytes, group_private: bytes | None = None
) -> None:
    """Give a new, LOCKED device its keys (scalars of 32 bytes) and make it OPERATIONAL, with the simulation mark."""
    device.flash.power_on()
    journal = Journal(device.flash, device.board)
    locked = journal.state.device
    if locked is None or locked.lifecycle != Lifecycle.LOCKED:
        raise ValueError("only a LOCKED device is made operational")
    journal.settle()
    journal.append(DeviceKeys(identity_private, agreement_private))
    if group_private is not None:
        journal.append(GroupKey(group_private))
    fields = (locked.product_id, locked.hardware_revision, Lifecycle.OPERATIONAL)
    journal.append(Device(*fields, locked.flags | Device.SIMULATION_ONLY_FLAG, locked.lot))
