"""One append on its way into the index: its rows, all or none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from signer.log.clock import entry_time
from signer.log.entry import encode_entry, indexed_values, leaf_hash, time_text
from signer.log.index_file import Row
from signer.log.values import Event, LoggedEntry


class Append(msgspec.Struct, frozen=True):
    """What a caller asked for: its events, its time, and when it asked by the monotonic clock."""

    events: Sequence[Event]
    now: datetime
    asked_at: float


def encode_rows(
    order: Append, first: int, newest: datetime | None, rows: list[Row], names: list[tuple[str, str, int]]
) -> tuple[datetime, tuple[LoggedEntry, ...]]:
    """Add the rows of an append, all or none; gives the time of its entries, and the entries.

    Raises Rollback (AL-01) and AuditError; then nothing was added.
    """
    at = _time_of(order, newest)
    text = time_text(at)
    encoded = [encode_entry(event, at) for event in order.events]
    made = []
    for number, (event, entry) in enumerate(zip(order.events, encoded, strict=True), first):
        rows.append((number, text, entry))
        names += [(name, value, number) for name, value in indexed_values(event)]
        made.append(LoggedEntry(index=number, at=at, event=event, leaf_hash=leaf_hash(entry)))
    return at, tuple(made)


def _time_of(order: Append, newest: datetime | None) -> datetime:
    """The caller's time; with the time that it waited for others, if they made entries meanwhile."""
    if newest is not None and order.now < newest:
        with_waiting = order.now + timedelta(seconds=time.monotonic() - order.asked_at)
        if with_waiting >= newest:
            return entry_time(with_waiting, newest)
    return entry_time(order.now, newest)
