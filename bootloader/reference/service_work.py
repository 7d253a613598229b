"""The destruction that a service order asked for, resumed at each start until it is over (docs/spec/service-order.md).

Every step may be done again; only DEVICE, the last, says that it is over.
"""

from __future__ import annotations

from dataclasses import replace

from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.flash import Region
from bootloader.reference.records import SERVICE_LIFECYCLES, EventKind, InstallRegion
from bootloader.reference.running import RunningCopy
from bootloader.reference.state import DeviceState


def carry_out_service(running: RunningCopy) -> None:
    """If a service order is on record, carry it out to its end; raises Refused(SERVICE_PENDING) if that fails."""
    if running.state.service_started is None:
        return
    require(running.is_confirmed, DeviceCode.SERVICE_PENDING, "a copy on trial destroys nothing")
    try:
        _destroy(running)
    except Refused as refusal:
        raise Refused(DeviceCode.SERVICE_PENDING, f"the next start tries again: {refusal}") from None


def _destroy(running: RunningCopy) -> None:
    """Steps 1 to 4, in this order; raises Refused(STATE_FULL or FLASH_WRITE)."""
    state = running.state
    if state.service_started is None or state.device is None:
        raise AssertionError("a service order is on record, and a device")
    lifecycle = SERVICE_LIFECYCLES[state.service_started.action]
    for region in (running.board.application, running.board.application_data):
        if region is not None:
            _erase(running, region)
    if not running.journal.was_compacted_for_service:
        running.journal.compact(forget=without_what_service_destroys)
    running.journal.erase_other_half()
    running.journal.append(replace(state.device, lifecycle=lifecycle))
    running.events.record(EventKind.SERVICE, DeviceCode.OK)


def _erase(running: RunningCopy, region: Region) -> None:
    """Every sector: blank reading is no proof of erasure."""
    running.permit_writing(region)
    for sector in region.sectors:
        running.flash.erase(sector)
    running.permit_writing(None)


def without_what_service_destroys(state: DeviceState) -> DeviceState:
    """What stays: device, floors, trust bundle, bootloader copies, the order itself, events.

    A record that is unknown may be a key of a later version, and goes too.
    """
    started = tuple(entry for entry in state.installs_started if entry.region is not InstallRegion.APPLICATION)
    keys_gone = replace(state, keys=None, group_key=None, activated=None, pending_grant=None, unknown=())
    return replace(keys_gone, installed=None, app_trial=None, app_confirmed=None, installs_started=started)
