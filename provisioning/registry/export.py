"""Rows as CSV (RFC 4180) and JSON, line by line, in constant memory.

RG-50: a cell that a spreadsheet would take for a formula gets an apostrophe before it; JSON has every value as it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pki.values import PublicKey

DEVICE_COLUMNS = (
    "uid",
    "product_id",
    "serial",
    "lot",
    "hardware_revision",
    "lifecycle",
    "order_id",
    "station",
    "sequence",
    "begun_at",
    "activated_at",
    "protection",
    "trust_bundle_version",
    "trust_bundle_since",
    "application_version",
    "application_head_hash",
    "identity_public_key",
    "agreement_public_key",
    "heard_at",
)
"""In this order for ever: new columns are added at the end."""

GRANT_COLUMNS = ("uid", "agreement_public_key")
_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n")


def rows_as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A heading line, then one line a row, each with its line end; what a row lacks is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in map(row.__getitem__, columns)])
        if out.tell() > 1 << 16:
            yield _emptied(out)
    yield _emptied(out)


def _cell(value: object) -> str:
    """RG-50."""
    text = "" if value is None else str(value)
    if text[:1].isalnum():
        return text
    return f"'{text}" if text.startswith(_FORMULA_BEGINNINGS) or text.lstrip().startswith(_FORMULA_BEGINNINGS) else text


def _emptied(out: io.StringIO) -> str:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text


def rows_as_json(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON array of objects, one object a line."""
    encoder = msgspec.json.Encoder()
    before = "[\n"
    for row in rows:
        yield before + encoder.encode({column: row[column] for column in columns}).decode("utf-8")
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def grant_lines(keys: Iterable[tuple[bytes, PublicKey]]) -> Iterator[str]:
    """The list of devices for `strongroom grant issue`: UID and agreement key, in hexadecimal digits."""
    yield ",".join(GRANT_COLUMNS) + "\n"
    for uid, key in keys:
        yield f"{uid.hex()},{key.point.hex()}\n"
