"""Bootloaders that take a step of a device's life in the wrong order: negative controls, as in variants.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bootloader.reference import service_work, without_state
from bootloader.reference.activation import Activation, NewKeys, record_of
from bootloader.reference.board import Board
from bootloader.reference.flash import FlashDevice, program_and_compare
from bootloader.reference.journal import FIRST_HALF_SEQUENCE, HalfWriter, Journal
from bootloader.reference.journal_half import HalfRead, half_header, half_regions
from bootloader.reference.lifecycle_session import LifecycleSession
from bootloader.reference.records import GroupKey, Lifecycle, Record, Seal
from bootloader.reference.running import RunningCopy
from bootloader.reference.service_work import without_what_service_destroys
from bootloader.reference.work_order import WorkOrder

LIFECYCLE_OF_ACTION = {1: Lifecycle.RMA, 2: Lifecycle.DECOMMISSIONED}


def device_before_activated(patch: pytest.MonkeyPatch) -> None:
    """OPERATIONAL first, and then the record of why."""

    def activate(self: LifecycleSession, order: WorkOrder, activation: Activation, _: NewKeys) -> None:
        journal = self._running.journal
        journal.append(replace(self._running.device, lifecycle=Lifecycle.OPERATIONAL))
        journal.append(record_of(order, activation))

    patch.setattr(LifecycleSession, "_activate", activate)


def group_key_after_device(patch: pytest.MonkeyPatch) -> None:
    """The device is OPERATIONAL before it has the group's key."""
    original = LifecycleSession._activate

    def activate(self: LifecycleSession, order: WorkOrder, activation: Activation, new: NewKeys) -> None:
        original(self, order, activation, NewKeys(None, new.agreement_private))
        if new.group_private is not None:
            self._running.journal.append(GroupKey(new.group_private))

    patch.setattr(LifecycleSession, "_activate", activate)


def _append_device(running: RunningCopy) -> None:
    started = running.state.service_started
    assert started is not None
    running.journal.append(replace(running.device, lifecycle=LIFECYCLE_OF_ACTION[started.action]))


def device_before_the_keys_are_gone(patch: pytest.MonkeyPatch) -> None:
    """RMA is on record, and only then the keys are left out and their half is erased."""

    def destroy(running: RunningCopy) -> None:
        for region in (running.board.application, running.board.application_data):
            if region is not None:
                service_work._erase(running, region)
        _append_device(running)
        running.journal.compact(forget=without_what_service_destroys)
        running.journal.erase_other_half()

    patch.setattr(service_work, "_destroy", destroy)


def device_before_the_application_is_gone(patch: pytest.MonkeyPatch) -> None:
    """The keys are destroyed, RMA is on record, and the application and its data come last."""

    def destroy(running: RunningCopy) -> None:
        running.journal.compact(forget=without_what_service_destroys)
        running.journal.erase_other_half()
        _append_device(running)
        for region in (running.board.application, running.board.application_data):
            if region is not None:
                service_work._erase(running, region)

    patch.setattr(service_work, "_destroy", destroy)


def half_with_the_keys_left(patch: pytest.MonkeyPatch) -> None:
    """The compaction leaves the keys out, and the half that had them stands as it was."""
    patch.setattr(Journal, "erase_other_half", lambda self: None)


def destruction_not_resumed(patch: pytest.MonkeyPatch) -> None:
    """The order is carried out at the start after it was taken, and not again if that start was cut."""
    original = service_work._destroy
    begun: set[int] = set()

    def destroy(running: RunningCopy) -> None:
        if id(running.flash._flash) not in begun:
            begun.add(id(running.flash._flash))
            original(running)

    patch.setattr(service_work, "_destroy", destroy)


def first_half_with_its_device(patch: pytest.MonkeyPatch) -> None:
    """A re-provisioning without a state writes DEVICE into the snapshot: a torn header then has all behind it."""

    def write(flash: FlashDevice, board: Board, records: Sequence[Record], device: Record) -> None:
        for region in half_regions(board):
            for sector in region.sectors:
                flash.erase(sector)
        empty = HalfRead.empty(FIRST_HALF_SEQUENCE)
        half = HalfWriter(flash, board.state_0.address, board.state_half_size_bytes, empty, is_erased=True)
        for number, record in enumerate((device, *records), start=1):
            half.append(record, number, 0)
        half.append(Seal(), half.last_number, 0)
        program_and_compare(flash, board.state_0.address, half_header(FIRST_HALF_SEQUENCE))

    patch.setattr(without_state, "write_first_half", write)
