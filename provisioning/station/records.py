"""Birth records: one encoding, read back strictly (docs/spec/birth-record.md, section 1; rule BR-01)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from pki.canonical_json import encode_canonical, parse_canonical
from pki.errors import FormatError, PolicyViolation
from pki.values import Digest

RECORD_TYPE = "strongroom-birth-record-1"
RECORD_SIZE_BYTES_MAX = 8 * 1024
RECORD_CONTEXT = b"SR-birth-v1".ljust(16, b"\0")
NO_RECORD = bytes(32)
"""`previous` of the first record."""

UID_SIZE_BYTES = 16
CERTIFICATE_SIZE_BYTES_MAX = 1024
REASON_LENGTH_MAX = 200
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_PRINTABLE = re.compile(r"[ -~]*")
_U32_MAX = (1 << 32) - 1


class BirthEvent(StrEnum):
    """What happened to a board."""

    BEGUN = "begun"
    RENEWED = "renewed"
    ACTIVATED = "activated"
    FAILED = "failed"
    SCRAPPED = "scrapped"


class BirthRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One record. Field names and sizes are the specification's; `at` is in UTC and has whole seconds.

    Constructing one whose fields do not fit its event, or each other's sizes, raises PolicyViolation BR-01.
    """

    order_id: bytes
    order_digest: bytes
    station: bytes
    number: int
    previous: bytes
    at: datetime
    event: BirthEvent
    uid: bytes
    product_id: bytes
    lot: str
    hardware_revision: int
    identity_public_key: bytes | None = None
    sequence: int | None = None
    serial: str | None = None
    protection: int | None = None
    trust_bundle_version: int | None = None
    made_agreement_public_key: bytes | None = None
    agreement_public_key: bytes | None = None
    certificate: bytes | None = None
    activation: bytes | None = None
    activation_digest: bytes | None = None
    receipt: bytes | None = None
    status_nonce: bytes | None = None
    signed_status: bytes | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            need = _NEEDS[self.event].get(name, _Need.ALWAYS)
            if value is None:
                if need is _Need.ALWAYS:
                    raise _malformed(name, f"is missing in a record of a {self.event} device")
            elif need is _Need.NEVER:
                raise _malformed(name, f"does not belong into a record of a {self.event} device")
            else:
                check(name, value)
        if not any(self.uid):
            raise _malformed("uid", "is zero")
        if self.event in (BirthEvent.FAILED, BirthEvent.SCRAPPED) and not self.reason:
            raise _malformed("reason", "is empty")

    @cached_property
    def canonical(self) -> bytes:
        """What is signed and chained: canonical JSON."""
        fields: dict[str, Any] = {"type": RECORD_TYPE}
        for name in _CHECKS:
            value = getattr(self, name)
            fields[name] = value.hex() if isinstance(value, bytes) else value
        fields["at"] = self.at.strftime(_TIME)
        fields["event"] = self.event.value
        return encode_canonical(fields)

    @cached_property
    def hash(self) -> bytes:
        """`previous` of the next record."""
        return Digest.of(self.canonical).value

    @property
    def digest(self) -> Digest:
        """What the station's key signs."""
        return Digest.of(RECORD_CONTEXT, self.canonical)


class SignedRecord(msgspec.Struct, frozen=True):
    """A record and the signature that came with it; not verified."""

    record: BirthRecord
    signature: bytes


def parse_record(data: bytes) -> BirthRecord:
    """Read one record strictly. Raises PolicyViolation BR-01 for anything but its one form."""
    try:
        fields = parse_canonical(data, "birth record", RECORD_SIZE_BYTES_MAX)
    except FormatError as error:
        raise PolicyViolation("BR-01", str(error)) from None
    if fields.pop("type", None) != RECORD_TYPE or fields.keys() != _CHECKS.keys():
        raise PolicyViolation("BR-01", "not a birth record of this version, with each of its fields and no other")
    values = {name: _read(name, fields[name]) for name in _CHECKS}
    return BirthRecord(**values)


def _read(name: str, value: Any) -> Any:
    if name == "at":
        return read_time(value)
    if name == "event":
        try:
            return BirthEvent(value)
        except ValueError:
            raise _malformed(name, "is unknown") from None
    if name in _BINARY and value is not None:
        if type(value) is not str or not _HEX.fullmatch(value):
            raise _malformed(name, "is not lower-case hexadecimal")
        return bytes.fromhex(value)
    return value


def read_time(text: Any) -> datetime:
    """A time as records write it; BR-01 for another form."""
    try:
        moment = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise _malformed("at", "is not YYYY-MM-DDThh:mm:ssZ") from None
    if moment.strftime(_TIME) != text:
        raise _malformed("at", "is not YYYY-MM-DDThh:mm:ssZ")
    return moment


def write_time(moment: datetime) -> str:
    """A time as records write it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime(_TIME)


def _malformed(name: str, fault: str) -> PolicyViolation:
    return PolicyViolation("BR-01", f"birth record: `{name}` {fault}")


def _bytes(smallest: int, largest: int) -> Any:
    def check(name: str, value: Any) -> None:
        if type(value) is not bytes or not smallest <= len(value) <= largest:
            raise _malformed(name, f"has not {smallest} to {largest} bytes")

    return check


def _integer(lowest: int, highest: int) -> Any:
    def check(name: str, value: Any) -> None:
        if type(value) is not int or not lowest <= value <= highest:
            raise _malformed(name, f"is not {lowest} to {highest}")

    return check


def _text(longest: int) -> Any:
    def check(name: str, value: Any) -> None:
        if type(value) is not str or len(value) > longest or not _PRINTABLE.fullmatch(value):
            raise _malformed(name, f"is not at most {longest} printable ASCII characters")

    return check


def _moment(name: str, value: Any) -> None:
    if value.tzinfo is not UTC or value.microsecond:
        raise _malformed(name, "is not in UTC and whole seconds")


def _event(_: str, __: Any) -> None:
    """Its type says it."""


_CHECKS: Mapping[str, Any] = {
    "order_id": _bytes(16, 16),
    "order_digest": _bytes(32, 32),
    "station": _bytes(32, 32),
    "number": _integer(1, (1 << 53) - 1),
    "previous": _bytes(32, 32),
    "at": _moment,
    "event": _event,
    "uid": _bytes(UID_SIZE_BYTES, UID_SIZE_BYTES),
    "product_id": _bytes(16, 16),
    "lot": _text(16),
    "hardware_revision": _integer(0, (1 << 16) - 1),
    "identity_public_key": _bytes(64, 64),
    "sequence": _integer(1, _U32_MAX),
    "serial": _text(32),
    "protection": _integer(0, 31),
    "trust_bundle_version": _integer(1, _U32_MAX),
    "made_agreement_public_key": _bytes(64, 64),
    "agreement_public_key": _bytes(64, 64),
    "certificate": _bytes(1, CERTIFICATE_SIZE_BYTES_MAX),
    "activation": _bytes(864, 864),
    "activation_digest": _bytes(32, 32),
    "receipt": _bytes(320, 320),
    "status_nonce": _bytes(32, 32),
    "signed_status": _bytes(576, 576),
    "reason": _text(REASON_LENGTH_MAX),
}
_BINARY = frozenset(
    {
        *("order_id", "order_digest", "station", "previous", "uid", "product_id", "identity_public_key"),
        *("made_agreement_public_key", "agreement_public_key", "certificate", "activation", "activation_digest"),
        *("receipt", "status_nonce", "signed_status"),
    }
)


class _Need(StrEnum):
    ALWAYS = "always"
    MAYBE = "maybe"
    NEVER = "never"


def _needs(always: str, maybe: str, never: str) -> Mapping[str, _Need]:
    kinds = ((always, _Need.ALWAYS), (maybe, _Need.MAYBE), (never, _Need.NEVER))
    return {name: need for names, need in kinds for name in names.split()}


_SHARED = "identity_public_key sequence serial activation_digest"
_MADE = "made_agreement_public_key certificate activation"
_STATED = "protection trust_bundle_version agreement_public_key"
_PROOF = "status_nonce signed_status"
_ISSUED = _needs(f"{_SHARED} {_MADE} {_STATED}", "", f"receipt {_PROOF} reason")
_ENDED = _needs("reason", _SHARED, f"{_MADE} {_STATED} receipt {_PROOF}")
_NEEDS: Mapping[BirthEvent, Mapping[str, _Need]] = {
    BirthEvent.BEGUN: _ISSUED,
    BirthEvent.RENEWED: _ISSUED,
    BirthEvent.ACTIVATED: _needs(f"{_SHARED} {_STATED} {_PROOF}", "receipt", f"{_MADE} reason"),
    BirthEvent.FAILED: _ENDED,
    BirthEvent.SCRAPPED: _ENDED,
}
"""Which fields a record of each event has; fields that are not named here stand in every record."""
