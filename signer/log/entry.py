"""An entry of the log as bytes: canonical JSON of an event and its time (docs/spec/audit-log.md, section 1)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from pki.canonical_json import INTEGER_MAX, encode_canonical, parse_canonical
from pki.errors import AuditError, FormatError
from signer.log.values import Event, EventKind, LoggedEntry

ENTRY_FORMAT = "strongroom-log-entry-1"
ENTRY_SIZE_BYTES_MAX = 16 * 1024
"""What an entry may have; the tiles' own bound is 65,535."""
REQUEST_EVENT = "request_event"
"""An indexed name that is derived: `KIND:PRODUCT`, of entries that have both `request_digest` and `product`."""

_TAKEN_FROM_DETAILS = ("request_digest", "head_digest", "key_label", "product", "ceremony_digest")
INDEXED_NAMES = (*_TAKEN_FROM_DETAILS, REQUEST_EVENT)
"""Names in `details` whose string values `find` knows."""
INDEXED_VALUE_LENGTH_MAX = 200
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_LEAF = b"\x00"

_sorted_encoder = msgspec.json.Encoder(order="deterministic")


def encode_entry(event: Event, at: datetime) -> bytes:
    """The bytes of an entry. Raises AuditError for an event that cannot be one: too long, or with floats.

    `at` is in UTC, and its fraction of a second is dropped.
    """
    document = {
        "actor": event.actor,
        "at": time_text(at),
        "details": event.details,
        "format": ENTRY_FORMAT,
        "kind": event.kind.value,
    }
    try:
        if _is_plain(event.details):
            entry = _sorted_encoder.encode(document)
        else:
            _require_ascii_names(event.details)
            entry = encode_canonical(document)
    except ValueError as error:
        raise AuditError(f"a {event.kind.value} event cannot be logged: {error}; nothing was released") from None
    if len(entry) > ENTRY_SIZE_BYTES_MAX:
        raise AuditError(
            f"a {event.kind.value} event cannot be logged: {len(entry)} bytes, and an entry has at most "
            f"{ENTRY_SIZE_BYTES_MAX}; nothing was released"
        )
    return entry


def _is_plain(details: dict[str, Any]) -> bool:
    """Whether msgspec writes the same bytes as RFC 8785 does: names in ASCII, and no value but ASCII text, int, bool.

    It is more than twice as fast, and every signature logs two entries (docs/adr/0051).
    """
    for name, value in details.items():
        kind = type(value)
        if not (name.isascii() and name.isidentifier()) or not (
            (kind is str and value.isascii()) or kind is bool or (kind is int and -INTEGER_MAX <= value <= INTEGER_MAX)
        ):
            return False
    return True


def _require_ascii_names(value: Any) -> None:
    """So that sorting names by code points, as most programs do, is sorting them as RFC 8785 does."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not name.isascii():
                raise ValueError(f"the name {name!r} is not ASCII")
            _require_ascii_names(item)
    elif isinstance(value, list):
        for item in value:
            _require_ascii_names(item)


def decode_entry(index: int, entry: bytes) -> LoggedEntry:
    """The entry that stands at `index`. Raises FormatError for anything that `encode_entry` does not write."""
    what = f"log entry {index}"
    document = parse_canonical(entry, what, ENTRY_SIZE_BYTES_MAX)
    if set(document) != {"actor", "at", "details", "format", "kind"} or document["format"] != ENTRY_FORMAT:
        raise FormatError(what, 0, f"not an entry of format {ENTRY_FORMAT}")
    try:
        if not isinstance(document["details"], dict) or not isinstance(document["actor"], str):
            raise ValueError("`details` is an object and `actor` a string")
        _require_ascii_names(document["details"])
        event = Event(kind=EventKind(document["kind"]), actor=document["actor"], details=document["details"])
        at = parse_time(document["at"])
    except (ValueError, TypeError) as error:
        raise FormatError(what, 0, str(error)) from None
    return LoggedEntry(index=index, at=at, event=event, leaf_hash=leaf_hash(entry))


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry in the tree, 32 bytes (RFC 6962, section 2.1)."""
    return hashlib.sha256(_LEAF + entry).digest()


def time_text(at: datetime) -> str:
    """`YYYY-MM-DDThh:mm:ssZ`; ValueError for a time that is not in UTC."""
    if at.utcoffset() != timedelta(0):
        raise ValueError("a time in the log is in UTC")
    return _utc_text(at)


@lru_cache(maxsize=16)
def _utc_text(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The time that `time_text` wrote; ValueError for any other form."""
    at = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    if time_text(at) != text:
        raise ValueError(f"{text!r} is not YYYY-MM-DDThh:mm:ssZ")
    return at


def indexed_values(event: Event) -> list[tuple[str, str]]:
    """What `find` finds the event by. Values longer than the bound are not indexed."""
    details = event.details
    found = [
        (name, value)
        for name in _TAKEN_FROM_DETAILS
        if type(value := details.get(name)) is str and len(value) <= INDEXED_VALUE_LENGTH_MAX
    ]
    names = dict(found)
    if "request_digest" in names and "product" in names:
        found.append((REQUEST_EVENT, request_event(event.kind, names["product"])))
    return found


def request_event(kind: EventKind, product: str) -> str:
    """The value under REQUEST_EVENT of entries of this kind about requests for this product."""
    return f"{kind}:{product}"
