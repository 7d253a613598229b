"""The pre-bootloader: a choice between two copies of the bootloader (docs/spec/device-state.md, section 3).

In C it has 4,096 bytes, its keys included. It reads the journal, and writes one unit of zeros to count an attempt.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootloader.reference.board import Board, Copy, padded_uid
from bootloader.reference.codes import Refused
from bootloader.reference.copies import read_built_in_keys, read_head, verify_copy
from bootloader.reference.crypto import sha256
from bootloader.reference.flash import FlashDevice
from bootloader.reference.journal_half import MARK_COUNT, Frame, half_regions, read_journal
from bootloader.reference.records import TRIAL_ATTEMPTS_MAX, BootTrial
from bootloader.reference.write_guard import WriteGuard


@dataclass(frozen=True, slots=True)
class BootRecords:
    """What the journal says about the copies. `mark_address` is where the trial's next attempt is counted."""

    trial: BootTrial | None = None
    confirmed: Copy | None = None
    mark_address: int | None = None


class PreBootloader:
    """Runs once after each reset."""

    def __init__(self, flash: FlashDevice, board: Board, uid: bytes) -> None:
        self._flash = WriteGuard(flash)
        self._flash.permit(program=half_regions(board))
        self._board = board
        self._device_uid = padded_uid(board, uid)
        self._built_in_keys = read_built_in_keys(flash, board)

    def choose(self) -> Copy | None:
        """The copy to start; None if none verifies (NO_BOOTLOADER)."""
        boot = read_boot_records(self._flash, self._board)
        trial = boot.trial
        if trial is not None and trial.attempts < TRIAL_ATTEMPTS_MAX:
            raw_head = read_head(self._flash, self._board.copy_region(trial.copy))
            named = sha256(raw_head) == trial.head_hash
            if named and self._verifies(trial.copy, raw_head) and self._count_attempt(boot.mark_address):
                return trial.copy

        preferred = boot.confirmed if boot.confirmed is not None else Copy.A
        for copy in (preferred, preferred.other):
            if self._verifies(copy, read_head(self._flash, self._board.copy_region(copy))):
                return copy
        return None

    def _verifies(self, copy: Copy, raw_head: bytes) -> bool:
        try:
            verify_copy(self._flash, self._board, copy, raw_head, self._device_uid, self._built_in_keys)
        except Refused:
            return False
        return True

    def _count_attempt(self, mark_address: int | None) -> bool:
        """Program one mark to zero; False if there is none left, or if it does not read back."""
        if mark_address is None:
            return False
        zeros = bytes(self._flash.write_unit_bytes)
        self._flash.program(mark_address, zeros)
        return self._flash.read(mark_address, len(zeros)) == zeros


def read_boot_records(flash: FlashDevice, board: Board) -> BootRecords:
    """BOOT_TRIAL and BOOT_CONFIRMED of the active half; neither if no half is readable."""
    regions = half_regions(board)
    data = [flash.read(region.address, board.state_half_size_bytes) for region in regions]
    halves, active = read_journal(data[0], data[1])
    half = halves[active] if active is not None else None
    if active is None or half is None:
        return BootRecords()
    state = half.state
    confirmed = state.boot_confirmed.copy if state.boot_confirmed is not None else None
    if state.boot_trial is None:
        return BootRecords(confirmed=confirmed)
    frame = [frame for frame in half.frames if frame.record == state.boot_trial][-1]
    return BootRecords(state.boot_trial, confirmed, _next_mark(frame, regions[active].address))


def _next_mark(trial: Frame, half_address: int) -> int | None:
    if trial.marks_used == MARK_COUNT:
        return None
    return half_address + trial.mark_offset(trial.marks_used)
