"""A journal on simulated flash, and the rule that every start is held to: what reads is what was, or what was to be.

`allowed` are the states that may be read now. A start that has settled narrows them to the one it read, for good.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from typing import cast

from bootloader.reference.board import Board, Copy, load_board
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.flash import FlashDevice
from bootloader.reference.head import PackageType, Version
from bootloader.reference.journal import Journal
from bootloader.reference.journal_half import half_header, half_regions, read_journal
from bootloader.reference.pre_bootloader import read_boot_records
from bootloader.reference.records import (
    Activated,
    AppConfirmed,
    AppTrial,
    BootConfirmed,
    BootTrial,
    Device,
    DeviceKeys,
    Event,
    EventKind,
    Floors,
    GroupKey,
    Installed,
    InstallRegion,
    InstallStarted,
    Lifecycle,
    PendingGrant,
    Record,
    ServiceAction,
    ServiceStarted,
    TrustBundleInForce,
    Unknown,
)
from bootloader.reference.state import DeviceState, apply, state_of
from bootloader.simulation.device import blank_flash
from bootloader.simulation.sim_flash import FlashSnapshot, PowerCut, SimFlash, Tear

# Halves of several sectors, and of different sizes: an erase of a half is more than one operation.
BOARD_TEXT = """
name = "journal"
description = "sectors of 4 kB, to test the journal"
flash_base = 0x1000
write_unit_bytes = 4
uid_size_bytes = 12
sectors = [{ count = 16, size_bytes = 4096 }]
[regions]
pre_bootloader = { first_sector = 0, sector_count = 1 }
bootloader_a = { first_sector = 1, sector_count = 1 }
bootloader_b = { first_sector = 2, sector_count = 1 }
state_0 = { first_sector = 3, sector_count = 4 }
state_1 = { first_sector = 8, sector_count = 6 }
application = { first_sector = 14, sector_count = 2 }
"""
BOARD = load_board(BOARD_TEXT)


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


DEVICE = Device(hash_of("product")[:16], 3, Lifecycle.OPERATIONAL, 1, hash_of("lot")[:16])
BUNDLE = TrustBundleInForce((hash_of("bundle") * 72)[:2304])
SAMPLES: dict[str, Record] = {
    "DEVICE": replace(DEVICE, lifecycle=Lifecycle.RMA),
    "DEVICE_KEYS": DeviceKeys(hash_of("identity"), hash_of("agreement")),
    "GROUP_KEY": GroupKey(hash_of("group")),
    "TRUST_BUNDLE": BUNDLE,
    "INSTALL_STARTED application": InstallStarted(InstallRegion.APPLICATION, hash_of("head 1")),
    "INSTALL_STARTED copy": InstallStarted(InstallRegion.BOOTLOADER_B, hash_of("head b")),
    "INSTALLED": Installed(
        PackageType.APPLICATION, 5, Version(1, 2, 3, 4), hash_of("head 1"), hash_of("upload"), hash_of("key") * 2
    ),
    "APP_TRIAL": AppTrial(1, hash_of("head 1")),
    "APP_CONFIRMED": AppConfirmed(hash_of("head 1")),
    "BOOT_TRIAL": BootTrial(Copy.B, 0, hash_of("head b")),
    "BOOT_CONFIRMED": BootConfirmed(Copy.A, hash_of("head a")),
    "FLOORS": Floors(1, 2, 3),
    "FLOORS all ones": Floors(0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
    "EVENT": Event(DeviceCode.CHUNK_HASH, EventKind.REFUSAL, 1),
    "ACTIVATED": Activated(
        b"\x11" * 16, hash_of("order"), hash_of("activation"), hash_of("cert"), b"SN".ljust(32, b"\0")
    ),
    "PENDING_GRANT": PendingGrant(b"\x11" * 16, hash_of("head 2"), hash_of("ephemeral") * 2, hash_of("wrapped")),
    "SERVICE_STARTED": ServiceStarted(ServiceAction.DECOMMISSION, hash_of("order")),
    "unknown": Unknown(200, 7, hash_of("of a later version")),
}


# Random walks append the others: a compaction that is cut everywhere, twice, costs by the byte.
OF_A_LIFE = {"ACTIVATED", "PENDING_GRANT", "SERVICE_STARTED"}

Saved = tuple[FlashSnapshot, tuple[DeviceState, ...], frozenset[BootTrial]]


class OneReading:
    """Both halves as they read once, however often they are asked for."""

    def __init__(self, flash: SimFlash, board: Board) -> None:
        size_bytes = board.state_half_size_bytes
        self._data = {region.address: flash.read(region.address, size_bytes) for region in half_regions(board)}
        self.write_unit_bytes = board.write_unit_bytes

    def read(self, address: int, size_bytes: int) -> bytes:
        return self._data[address][:size_bytes]

    @property
    def is_settled(self) -> bool:
        halves, active = read_journal(*self._data.values())
        half = halves[active] if active is not None else None
        return half is not None and half.is_settled


class JournalRig:
    """A device that is nothing but its journal.

    `twins` are the two readings of a trial whose last mark is torn: it counts, or not, until the next one is used.
    """

    def __init__(self, *first: Record, seed: int = 0, board: Board = BOARD) -> None:
        """The first half of the journal holds `first`, whole; nothing runs yet."""
        self.board = board
        self.flash: SimFlash = blank_flash(board, seed)
        self.flash.load(board.state_0.address, half_header(1))
        self.allowed: tuple[DeviceState, ...] = (DeviceState(),)
        self.twins: frozenset[BootTrial] = frozenset()
        self.journal = self.start()
        for record in first:
            self.append(record)

    def start(self) -> Journal:
        """A power-on up to where the bootloader has settled; the power may be cut before."""
        self.flash.power_on()
        return self.go_on()

    def go_on(self) -> Journal:
        self.is_settled = False
        journal = Journal(self.flash, self.board)
        self.demand_allowed(journal.state)
        journal.settle()
        self.allowed = (journal.state,)
        self.journal = journal
        self.is_settled = True
        return journal

    def append(self, record: Record) -> None:
        before = self.journal.state
        self.allowed = (before, apply(before, record))
        try:
            self.journal.append(record)
        finally:
            if not self.flash.is_power_lost:
                self.allowed = (self.journal.state,)

    def compact(self) -> None:
        self.journal.compact()

    def demand_allowed(self, state: DeviceState) -> None:
        """What was read must be one of the states that may be; a trial in `twins` stands for the other reading, too."""
        trials = self.twins if state.boot_trial in self.twins else (state.boot_trial,)
        readings = [replace(state, boot_trial=trial) for trial in trials]
        assert any(reading in self.allowed for reading in readings), "a start read a state that never was"

    def count_boot_attempt(self) -> None:
        """What the pre-bootloader does before the bootloader's start. It settles nothing: a torn trial may vanish, and
        with it the attempt that was counted on it.
        """
        reading = OneReading(self.flash, self.board)
        boot = read_boot_records(cast(FlashDevice, reading), self.board)
        if boot.trial is None or boot.mark_address is None:
            return
        same = {boot.trial, *(self.twins if boot.trial in self.twins else ())}
        tried = tuple(state for state in self.allowed if state.boot_trial in same)
        others = tuple(state for state in self.allowed if state.boot_trial not in same)
        counted_trial = replace(boot.trial, attempts=boot.trial.attempts + 1)
        counted = tuple(replace(state, boot_trial=counted_trial) for state in tried)
        twins = self.twins
        self.allowed, self.twins = (*self.allowed, *counted), frozenset({*same, counted_trial})
        self.flash.program(boot.mark_address, bytes(self.board.write_unit_bytes))
        if reading.is_settled:
            self.allowed, self.twins = (*others, *counted), frozenset()
        else:
            self.allowed, self.twins = (*others, *counted, *tried), twins

    def peek(self) -> DeviceState:
        """What one reading says, without settling: the pre-bootloader's view."""
        data = [
            self.flash.read(region.address, self.board.state_half_size_bytes) for region in half_regions(self.board)
        ]
        halves, active = read_journal(data[0], data[1])
        assert active is not None, "no half is readable"
        half = halves[active]
        assert half is not None
        return half.state

    def save(self) -> Saved:
        return self.flash.snapshot(), self.allowed, self.twins

    def load(self, saved: Saved) -> None:
        flash, self.allowed, self.twins = saved
        self.flash.restore(flash)


def random_record(chance: random.Random, state: DeviceState) -> Record:
    """Any record that a bootloader might write next."""
    kind = chance.choice(sorted(SAMPLES.keys() - OF_A_LIFE))
    number = chance.randrange(3)
    match kind:
        case "EVENT":
            count = state.events[-1].count + 1 if state.events else 1
            return Event(DeviceCode.BELOW_FLOOR, EventKind.REFUSAL, count)
        case "FLOORS":
            return Floors(chance.randrange(1 << 32), number, 0xFFFFFFFF)
        case "APP_TRIAL":
            return AppTrial(number, hash_of("head 1"))
        case "BOOT_TRIAL":
            return BootTrial(Copy(number % 2), 0, hash_of(f"head {number}"))
        case "BOOT_CONFIRMED":
            return BootConfirmed(Copy(number % 2), hash_of(f"head {number}"))
        case "INSTALL_STARTED copy":
            return InstallStarted(InstallRegion(2 + number % 2), hash_of(f"head {number}"))
        case "unknown":
            return Unknown(200 + number, 1, hash_of(f"unknown {number}") * number)
        case "TRUST_BUNDLE":  # never appended
            return AppConfirmed(hash_of("head 1"))
        case _:
            return SAMPLES[kind]


__all__ = ["BOARD", "SAMPLES", "JournalRig", "PowerCut", "Refused", "Tear", "hash_of", "random_record", "state_of"]
