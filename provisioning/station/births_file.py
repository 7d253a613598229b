"""The file in which birth records leave a station, `strongroom-births-1` (docs/spec/birth-record.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, BinaryIO

import msgspec

from pki.canonical_json import encode_canonical, parse_canonical
from pki.errors import FormatError, PolicyViolation, SignatureInvalid, StrongroomError
from pki.values import Digest, PublicKey, Signature
from provisioning.station.evidence import Evidence
from provisioning.station.records import SignedRecord, parse_record, read_time, write_time
from signer.device_objects.work_order import SignedWorkOrder, parse_work_order
from signer.signing_key import SigningKey, sign_verified, verify_signature

FILE_FORMAT = "strongroom-births-1"
END_FORMAT = "strongroom-births-end-1"
LINE_SIZE_BYTES_MAX = 64 * 1024
RECORDS_MAX = 25_000_000
_END_CONTEXT = b"SR-births-v1".ljust(16, b"\0")
_HEADER_FIELDS = {"format", "order", "station_public_key", "first_number", "count"}
_LINE_FIELDS = {"record", "signature"}
_END_FIELDS = {"format", "number", "head", "evidence_commit", "at", "signature"}


class BirthsHeader(msgspec.Struct, frozen=True):
    """The first line."""

    order: SignedWorkOrder
    station_key: PublicKey
    first_number: int
    count: int


class BirthsEnd(msgspec.Struct, frozen=True):
    """The last line: nothing was left out until then."""

    number: int
    head: bytes
    evidence_commit: int
    at: datetime


def write_births(
    order: SignedWorkOrder,
    key: SigningKey,
    first_number: int,
    records: Iterable[SignedRecord],
    evidence: Evidence,
    now: datetime,
) -> Iterator[bytes]:
    """The lines of a file with the records from `first_number` to the evidence's number. Raises TokenError."""
    yield _line(
        {
            "format": FILE_FORMAT,
            "order": order.raw.hex(),
            "station_public_key": key.public_key.point.hex(),
            "first_number": first_number,
            "count": evidence.number - first_number + 1,
        }
    )
    for signed in records:
        yield _line({"record": signed.record.canonical.decode(), "signature": signed.signature.hex()})
    end: dict[str, Any] = {
        "format": END_FORMAT,
        "number": evidence.number,
        "head": evidence.head.hex(),
        "evidence_commit": evidence.commit,
        "at": write_time(now),
    }
    signature = sign_verified(key, Digest.of(_END_CONTEXT, encode_canonical(end)))
    yield _line(end | {"signature": signature.value.hex()})


class BirthsReader:
    """Reads one file, line by line, in constant memory: the header at once, then `records`, then `end`.

    Raises PolicyViolation BR-10 for the file's own form and its last line, BR-01 for a record's. Chain and signatures
    of the records are the caller's to check.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.header = _header(self._next({*_HEADER_FIELDS}, FILE_FORMAT))
        self.end: BirthsEnd | None = None

    def records(self) -> Iterator[SignedRecord]:
        """Every record, in order; `end` is there afterwards."""
        number, head = self.header.first_number - 1, None
        for _ in range(self.header.count):
            fields = self._next(_LINE_FIELDS, None)
            try:
                record = parse_record(str(fields["record"]).encode("utf-8"))
                signature = bytes.fromhex(fields["signature"])
            except (TypeError, ValueError):
                raise _refused("a line that is no record and its signature") from None
            number += 1
            head = record.hash
            if record.number != number:
                raise _refused(f"record {record.number} stands where {number} should")
            yield SignedRecord(record, signature)
        self.end = self._read_end(number, head)

    def _read_end(self, number: int, head: bytes | None) -> BirthsEnd:
        fields = self._next(_END_FIELDS, END_FORMAT)
        try:
            signature = Signature(bytes.fromhex(fields.pop("signature")))
            verify_signature(self.header.station_key, Digest.of(_END_CONTEXT, encode_canonical(fields)), signature)
            end = BirthsEnd(
                fields["number"], bytes.fromhex(fields["head"]), fields["evidence_commit"], read_time(fields["at"])
            )
        except (TypeError, ValueError, SignatureInvalid):
            raise _refused("its last line is not the station's") from None
        if end.number != number or (head is not None and end.head != head) or self._stream.read(1):
            raise _refused("its last line does not fit the records before it, or more follows")
        return end

    def _next(self, names: set[str], form: str | None) -> dict[str, Any]:
        line = self._stream.readline(LINE_SIZE_BYTES_MAX + 1)
        if not line.endswith(b"\n"):
            raise _refused("it ends in the middle: it was cut short, or is no births file")
        try:
            fields = parse_canonical(line[:-1], "births file", LINE_SIZE_BYTES_MAX)
        except FormatError as error:
            raise _refused(str(error)) from None
        if fields.keys() != names or (form is not None and fields["format"] != form):
            raise _refused(f"a line without the fields {', '.join(sorted(names))}, or with others")
        return fields


def _header(fields: dict[str, Any]) -> BirthsHeader:
    try:
        order = parse_work_order(bytes.fromhex(fields["order"]))
        key = PublicKey(bytes.fromhex(fields["station_public_key"]))
    except (TypeError, ValueError, StrongroomError) as error:
        raise _refused(f"its first line: {error}") from None
    first_number, count = fields["first_number"], fields["count"]
    is_counted = type(first_number) is int and type(count) is int and first_number >= 1 and 0 <= count <= RECORDS_MAX
    if not is_counted:
        raise _refused("its first line has no such counts")
    return BirthsHeader(order, key, first_number, count)


def _line(fields: dict[str, Any]) -> bytes:
    return encode_canonical(fields) + b"\n"


def _refused(fault: str) -> PolicyViolation:
    return PolicyViolation("BR-10", f"births file: {fault}")
