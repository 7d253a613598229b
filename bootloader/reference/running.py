"""A bootloader copy at work, once the journal is open: what it knows, and what both its start and its update mode do.

docs/spec/device-state.md, sections 4 (confirmed or on trial), 5 (confirmation of a copy) and 6 (floors).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bootloader.reference.board import Board, Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.copies import read_built_in_keys, read_head, verify_copy
from bootloader.reference.events import EventLog
from bootloader.reference.flash import FlashDevice, Region
from bootloader.reference.head import Head, PackageType, parse_head
from bootloader.reference.journal import Journal
from bootloader.reference.journal_half import half_regions
from bootloader.reference.records import BootConfirmed, Device, EventKind, TrustBundleInForce
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import TrustBundle, parse_trust_bundle
from bootloader.reference.write_guard import WriteGuard


class RunningCopy:
    """The copy that the pre-bootloader started, with its journal open. `device_uid` has 16 bytes."""

    def __init__(self, flash: FlashDevice, board: Board, device_uid: bytes, copy: Copy) -> None:
        """Read the journal; raises Refused(NO_STATE). Nothing is written yet."""
        self.flash = WriteGuard(flash)
        self.board = board
        self.device_uid = device_uid
        self.copy = copy
        self.head: Head = parse_head(read_head(flash, board.copy_region(copy)))
        self.built_in_keys = read_built_in_keys(flash, board)
        self.journal = Journal(self.flash, board)
        self.events = EventLog(self.journal)
        _device_and_bundle(self.journal.state)
        self.permit_writing(None)

    @property
    def state(self) -> DeviceState:
        return self.journal.state

    @property
    def device(self) -> Device:
        """What the device is, as the journal says at this moment."""
        return _device_and_bundle(self.state)[0]

    @property
    def bundle(self) -> TrustBundle:
        """The trust bundle in force at this moment: a succession takes effect at once."""
        return _device_and_bundle(self.state)[1]

    @property
    def is_confirmed(self) -> bool:
        """Whether BOOT_CONFIRMED names this copy, with its own head's hash; otherwise it is on trial."""
        return self.state.boot_confirmed == BootConfirmed(self.copy, self.head.hash)

    def permit_writing(self, region: Region | None) -> None:
        """Permit the journal, and one region more while it is written. A copy on trial erases no journal half."""
        halves = half_regions(self.board)
        extra = (region,) if region is not None else ()
        self.flash.permit(program=halves + extra, erase=(halves if self.is_confirmed else ()) + extra)

    def compact_if_due(self) -> bool:
        """Compact the journal, if this copy may and little room is left, and say whether it was done.

        Raises Refused(STATE_FULL or FLASH_WRITE).
        """
        is_due = self.is_confirmed and self.journal.is_compaction_due
        if is_due:
            self.journal.compact()
        return is_due

    def follow_trust_bundle(self, bundle: TrustBundle) -> None:
        """Put a verified successor in force; raises Refused(STATE_FULL or FLASH_WRITE). For a confirmed copy only."""
        self.journal.compact(
            TrustBundleInForce(bundle.raw), self.events.next_event(EventKind.TRUST_BUNDLE, DeviceCode.OK)
        )

    def confirm_itself(self) -> None:
        """This copy has verified a signed object that came over the link: so its link and its verification work."""
        if not self.is_confirmed:
            self.journal.append(BootConfirmed(self.copy, self.head.hash))
            self.events.record(EventKind.CONFIRMATION, DeviceCode.OK)
            self.permit_writing(None)
            self.raise_floors()

    def raise_floors(self) -> None:
        """Bring the floors up to date, if this copy is confirmed; lowers none. Raises Refused as an append does."""
        if not self.is_confirmed:
            return
        floors = self.state.floors
        raised = replace(
            floors,
            application=max(floors.application, self._confirmed_application_security_version()),
            bootloader=self._bootloader_floor(floors.bootloader),
        )
        if raised != floors:
            self.journal.append(raised)

    def _confirmed_application_security_version(self) -> int:
        installed = self.state.installed
        if installed is None or installed.package_type != PackageType.APPLICATION:
            return 0
        return installed.security_version if self.state.application_is_confirmed else 0

    def _bootloader_floor(self, floor: int) -> int:
        """The lesser security version of the two copies, if it is above the floor and the other copy verifies."""
        if self.head.security_version <= floor:
            return floor
        raw_head = read_head(self.flash, self.board.copy_region(self.copy.other))
        try:
            if parse_head(raw_head).security_version <= floor:
                return floor  # nothing to raise, so nothing to verify
            args = (self.flash, self.board, self.copy.other, raw_head, self.device_uid, self.built_in_keys)
            other = verify_copy(*args)
        except Refused:
            return floor
        return min(self.head.security_version, other.security_version)


@contextmanager
def journal_may_fail() -> Iterator[None]:
    """Go on where the journal is full or worn out: what it says still holds, and a good application must start."""
    try:
        yield
    except Refused as refusal:
        if refusal.code not in (DeviceCode.STATE_FULL, DeviceCode.FLASH_WRITE):
            raise


def _device_and_bundle(state: DeviceState) -> tuple[Device, TrustBundle]:
    """What every decision needs; raises Refused(NO_STATE) if the journal does not say it."""
    if state.device is None or state.trust_bundle is None:
        raise Refused(DeviceCode.NO_STATE, "the journal does not say what this device is, and whom it trusts")
    try:
        return state.device, parse_trust_bundle(state.trust_bundle.bundle)
    except Refused as refusal:
        raise Refused(DeviceCode.NO_STATE, f"the trust bundle on record: {refusal.detail}") from None
