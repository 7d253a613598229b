"""The event log: what happened to the device, within bounds that no input can exceed (device-state.md, section 2)."""

from __future__ import annotations

from contextlib import suppress

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal import Journal
from bootloader.reference.records import Event, EventKind

REFUSALS_MAX = 8  # in one power-on


class EventLog:
    """Writes events to the journal. One instance lives as long as one power-on."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._refused: set[DeviceCode] = set()

    def record(self, kind: EventKind, code: DeviceCode) -> None:
        """Append an event; dropped if the journal has no room to spare, or cannot be written."""
        if self._journal.has_room_for_event():
            with suppress(Refused):
                self._journal.append(self.next_event(kind, code))

    def next_event(self, kind: EventKind, code: DeviceCode) -> Event:
        """The event with the next number, to be written by whoever asks."""
        events = self._journal.state.events
        return Event(code, kind, events[-1].count + 1 if events else 1)

    def record_refusal(self, code: DeviceCode) -> None:
        """Append a refusal: each code once, and 8 in all; whoever sends more cannot wear out the flash."""
        if code not in self._refused and len(self._refused) < REFUSALS_MAX:
            self._refused.add(code)
            self.record(EventKind.REFUSAL, code)

    def record_start(self, code: DeviceCode) -> None:
        """Append a start that ended in update mode, unless the newest event says the same: resets cost nothing."""
        events = self._journal.state.events
        newest = (events[-1].kind, events[-1].code) if events else None
        if newest != (EventKind.START, code):
            self.record(EventKind.START, code)
