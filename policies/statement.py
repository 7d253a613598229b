"""What requests and approvals share: one encoding, exactly the fields of their type, values of exactly one form."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from pki.canonical_json import parse_canonical
from pki.errors import FormatError
from policies.refusals import Malformed

STATEMENT_SIZE_BYTES_MAX = 16 * 1024
DIGEST_SIZE_BYTES = 32

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def parse_statement(data: bytes, prefix: str, type_tag: str, names: Collection[str]) -> dict[str, Any]:
    """The fields of a statement. `prefix` is "RQ" or "AP"; raises Malformed -01 (encoding), -02 (type, fields)."""
    try:
        fields = parse_canonical(data, "statement", STATEMENT_SIZE_BYTES_MAX)
    except FormatError as error:
        raise Malformed(f"{prefix}-01", "statement", error.reason, error.offset) from None
    if fields.get("type") != type_tag:
        raise Malformed(f"{prefix}-02", "type", f"not a statement of type {type_tag}")
    unknown, missing = fields.keys() - set(names), set(names) - fields.keys()
    if unknown:
        raise Malformed(f"{prefix}-02", _shown(min(unknown)), "a field that this type of statement does not have")
    if missing:
        raise Malformed(f"{prefix}-02", min(missing), "missing; every field must be there")
    return fields


def format_time(when: datetime) -> str:
    """As statements have times: UTC, whole seconds (RFC 3339 with `Z`)."""
    return f"{when.astimezone(UTC).isoformat()[:19]}Z"


def parse_time(value: object, name: str) -> datetime:
    """A time of a statement; ValueError for any other form or a day that does not exist."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(f"`{name}` must be a time as 2026-11-27T17:05:00Z")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"`{name}` is no time that exists") from None


def require_time(value: datetime, name: str) -> None:
    """ValueError unless the time is in UTC and of whole seconds, as its encoding is."""
    if value.utcoffset() is None or value.utcoffset() != UTC.utcoffset(None) or value.microsecond:
        raise ValueError(f"`{name}` must be a time in UTC, in whole seconds")


def parse_hex(value: object, name: str) -> bytes:
    """Bytes from lower-case hexadecimal digits; ValueError."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f"`{name}` must be lower-case hexadecimal digits")
    return bytes.fromhex(value)


def parse_text(value: object, name: str) -> str:
    """A string; ValueError for any other type."""
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a string")
    return value


def require_size(value: bytes, size_bytes: int, name: str) -> None:
    """ValueError unless `value` has exactly that many bytes and is not zero."""
    if len(value) != size_bytes or not any(value):
        raise ValueError(f"`{name}` must have {size_bytes} bytes and not be zero")


def _shown(name: str) -> str:
    """A name that came from outside, short enough for a line."""
    return repr(name[:40])
