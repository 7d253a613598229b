"""Keys and certificates whose time ends soon, or has ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pki.errors import InputRefused
from pki.key_states import KeyState
from signer.inventory.key_rows import Row
from signer.store.stored_times import time_to_text
from signer.store.values import KeyRecord

EXPIRING_COLUMNS = ("what", "label", "state", "not_after", "days_left", "certificate_serial_number")
"""In this order for ever: new columns are added at the end."""

MAX_WITHIN_DAYS = 36_500

_KEYS_STILL_WANTED = (KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED)
# The certificate of a deactivated key still verifies what the key signed before.
_CERTIFICATES_STILL_WANTED = (*_KEYS_STILL_WANTED, KeyState.DEACTIVATED)


def expiring(records: Iterable[KeyRecord], within_days: int, now: datetime) -> list[Row]:
    """One row for every key and current certificate that ends within the days after `now`, soonest first.

    What has ended already is in it, with negative `days_left` (whole days, rounded down), until the key is deactivated
    or worse. Raises InputRefused for days out of range.
    """
    if not 0 <= within_days <= MAX_WITHIN_DAYS:
        raise InputRefused(f"say 0 to {MAX_WITHIN_DAYS} days, not {within_days}")
    limit = now + timedelta(days=within_days)
    found: list[tuple[datetime, Row]] = []
    for record in records:
        if record.not_after is not None and record.not_after <= limit and record.state in _KEYS_STILL_WANTED:
            found.append((record.not_after, _row("key", record, record.not_after, now)))
        certificate = record.certificate
        if certificate is not None and certificate.not_after <= limit and record.state in _CERTIFICATES_STILL_WANTED:
            row = _row("certificate", record, certificate.not_after, now, certificate.serial_number)
            found.append((certificate.not_after, row))
    return [row for _, row in sorted(found, key=lambda item: (item[0], item[1]["label"], item[1]["what"]))]


def _row(what: str, record: KeyRecord, not_after: datetime, now: datetime, serial_number: str = "") -> Row:
    days_left = (not_after - now) // timedelta(days=1)
    values = (what, record.label, record.state.value, time_to_text(not_after), str(days_left), serial_number)
    return dict(zip(EXPIRING_COLUMNS, values, strict=True))
