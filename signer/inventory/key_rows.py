"""The list of keys as rows of text, for JSON, CSV and terminals (docs/spec/key-store.md, "Lists")."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pki.key_specs import KeyUsage
from pki.key_states import may_sign
from signer.inventory.text_table import printable, text_table
from signer.store.stored_times import time_to_text
from signer.store.values import KeyRecord

Row = Mapping[str, str]

KEY_COLUMNS = (
    "label",
    "state",
    "signs_now",
    "not_before",
    "not_after",
    "role",
    "product",
    "algorithm",
    "key_id",
    "cka_id",
    "spki_sha256",
    "token_serial",
    "token_label",
    "module_path",
    "created_at",
    "state_since",
    "certificate_serial_number",
    "certificate_not_after",
    "certificate_sha256",
    "copies_on",
    "backups",
)
"""In this order for ever: new columns are added at the end."""

_SHORT_COLUMNS = ("label", "state", "signs_now", "not_after", "key_id", "token_label")
# What spreadsheet programs take for the beginning of a formula.
_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")


def key_rows(records: Iterable[KeyRecord], now: datetime) -> list[Row]:
    """One row per key; what a key lacks is an empty string. `signs_now` is "yes" or the rule that forbids it."""
    return [_key_row(record, now) for record in records]


def _key_row(record: KeyRecord, now: datetime) -> Row:
    certificate = record.certificate
    values = (
        record.label,
        record.state.value,
        _signs_now(record, now),
        _time(record.not_before),
        _time(record.not_after),
        record.role.value,
        record.product or "",
        record.algorithm.value,
        "" if record.public_key is None else record.public_key.key_id.hex(),
        record.cka_id.hex(),
        "" if record.public_key is None else record.public_key.spki_sha256.hex(),
        record.token.serial,
        record.token.label,
        record.token.module_path,
        _time(record.created_at),
        _time(record.state_since),
        "" if certificate is None else certificate.serial_number,
        "" if certificate is None else _time(certificate.not_after),
        "" if certificate is None else certificate.sha256.hex(),
        ", ".join(f"{token.serial}/{token.label}" for token in record.tokens if token != record.token),
        str(sum(backup.ended is None for backup in record.backups)) if record.backups else "",
    )
    return dict(zip(KEY_COLUMNS, values, strict=True))


def _signs_now(record: KeyRecord, now: datetime) -> str:
    if KeyUsage.SIGN not in record.spec.usages:
        return "KS-23"
    decision = may_sign(record.state, record.not_before, record.not_after, now)
    return "yes" if decision.allowed else decision.rule_id


def _time(time: datetime | None) -> str:
    return "" if time is None else time_to_text(time)


def rows_as_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """RFC 4180 with a header line and every cell quoted.

    A cell that a spreadsheet would take for a formula gets an apostrophe before it; unprintable characters are escaped.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_harmless(row[column]) for column in columns])
    return out.getvalue()


def _harmless(cell: str) -> str:
    guard = "'" if cell.startswith(_FORMULA_BEGINNINGS) or cell.lstrip().startswith(_FORMULA_BEGINNINGS) else ""
    return guard + printable(cell)


def rows_as_text(rows: Sequence[Row], columns: Sequence[str] = _SHORT_COLUMNS) -> str:
    """A table for people, of the most asked-for columns."""
    return text_table(columns, [[row[column] for column in columns] for row in rows])
