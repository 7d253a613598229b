"""Bootloaders with one thing in the wrong order: negative controls. A campaign that passes one of them is too weak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import pytest

from bootloader.reference.bootloader import Bootloader
from bootloader.reference.flash import program_and_compare
from bootloader.reference.head import Head
from bootloader.reference.install import Installation
from bootloader.reference.journal import HalfWriter, Journal
from bootloader.reference.journal_half import HalfRead, half_header
from bootloader.reference.pre_bootloader import PreBootloader
from bootloader.reference.records import Moved, Record, Seal
from bootloader.reference.state import apply, snapshot
from bootloader.reference.update_mode import UpdateSession
from bootloader.reference.write_guard import WriteGuard

Variant = Callable[[pytest.MonkeyPatch], None]


class HeadFirst(Installation):
    """Programs the head as soon as its sector is erased; the image follows."""

    def _write_image(self, data: bytes) -> None:
        if self._chunk_index == 0:
            program_and_compare(self._flash, self.region.address, self.head.raw)
        super()._write_image(data)

    def _program_head(self) -> None:
        pass


class RecordFirst(Installation):
    """Records the installation before anything is written."""

    def _write_image(self, data: bytes) -> None:
        if self._chunk_index == 0:
            self._record(self._upload_hasher.digest())
            assert isinstance(self._flash, WriteGuard)
            self._flash.permit(program=[self.region], erase=[self.region])
        super()._write_image(data)

    def _finish(self) -> None:
        self._program_head()


class RecordBeforeHead(Installation):
    """Records the installation when the image is complete, and programs the head after that."""

    def _finish(self) -> None:
        self._record(self._upload_hasher.digest())
        assert isinstance(self._flash, WriteGuard)
        self._flash.permit(program=[self.region])
        self._program_head()


class EagerRegion(Installation):
    """Takes what reads blank for erased, and erases only what does not."""

    def _erase_one_before(self, end_address: int) -> bool:
        while self._sectors_left and self._sectors_left[0].address < end_address:
            sector = self._sectors_left.pop(0)
            if self._flash.read(sector.address, sector.size_bytes).strip(b"\xff"):
                self._flash.erase(sector)
                return True
        return False


def installing_as(installation: type[Installation]) -> Variant:
    def apply(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Bootloader, "installation_type", installation)

    return apply


def nothing_settled(patch: pytest.MonkeyPatch) -> None:
    """What was read is believed, and nothing is written anew before it is relied on."""

    def settle(self: Journal) -> None:
        self._settled = True

    patch.setattr(Journal, "settle", settle)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Appends where flash reads blank, though a cut may have torn it there."""

    def fence(self: HalfWriter) -> None:
        self._fence_needed = False

    patch.setattr(HalfWriter, "_fence", fence)


def attempts_ignored(patch: pytest.MonkeyPatch) -> None:
    """The pre-bootloader starts the copy on trial without counting."""
    patch.setattr(PreBootloader, "_count_attempt", lambda self, mark_address: True)


def compaction_header_first(patch: pytest.MonkeyPatch) -> None:
    """The new half has its header before it has its records."""

    def write_snapshot(self: Journal, records: list[Record], half_sequence: int) -> HalfWriter:
        half = _erased_half(self, half_sequence)
        region = self._regions[1 - self._active]
        program_and_compare(self._flash, region.address, half_header(half_sequence))
        _append_all(half, records)
        return half

    patch.setattr(Journal, "_write_snapshot", write_snapshot)


def compaction_hands_over_first(patch: pytest.MonkeyPatch) -> None:
    """The old half says MOVED before the new one is complete."""

    def write_snapshot(self: Journal, records: list[Record], half_sequence: int) -> HalfWriter:
        old = self._active_half
        old.append(Moved(half_sequence), old.last_number + 1, 0)
        half = _erased_half(self, half_sequence)
        region = self._regions[1 - self._active]
        program_and_compare(self._flash, region.address, half_header(half_sequence))
        _append_all(half, records)
        return half

    patch.setattr(Journal, "_write_snapshot", write_snapshot)


def succession_in_place(patch: pytest.MonkeyPatch) -> None:
    """The half that holds the old trust bundle is erased to take the new one."""

    def compact(self: Journal, *changes: Record) -> None:
        state = reduce(apply, changes, self.state)
        half_sequence = self._active_half.half_sequence + 1
        self._active = 1 - self._active  # what is written is always the half that is not active
        half = self._write_snapshot(snapshot(state), half_sequence)
        self._active = 1 - self._active
        self._halves[self._active] = half
        self.state = state

    patch.setattr(Journal, "compact", compact)


def floors_raised_by_installation(patch: pytest.MonkeyPatch) -> None:
    """The application's floor rises when it is installed, not when it is confirmed."""
    original = UpdateSession._record_installation

    def record(self: UpdateSession, head: Head, signer: bytes, upload_hash: bytes) -> None:
        original(self, head, signer, upload_hash)
        floors = self._running.state.floors
        self._running.journal.append(replace(floors, application=head.security_version))

    patch.setattr(UpdateSession, "_record_installation", record)


def _erased_half(journal: Journal, half_sequence: int) -> HalfWriter:
    region = journal._regions[1 - journal._active]
    for sector in region.sectors:
        journal._flash.erase(sector)
    empty = HalfRead.empty(half_sequence)
    return HalfWriter(journal._flash, region.address, journal._half_size_bytes, empty, is_erased=True)


def _append_all(half: HalfWriter, records: list[Record]) -> None:
    for number, record in enumerate(records, start=1):
        half.append(record, number, 0)
    half.append(Seal(), half.last_number, 0)
