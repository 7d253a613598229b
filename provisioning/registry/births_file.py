"""A file of birth records, read as a stream: form, signatures, chain (docs/spec/birth-record.md, section 3).

Rules BR-01 to BR-04 and BR-10. What the records say about devices is judged elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

import msgspec

from pki.canonical_json import encode_canonical, parse_canonical
from pki.errors import FormatError, PolicyViolation, SignatureInvalid
from pki.values import Digest, PublicKey, Signature
from provisioning.registry.errors import NotAuthentic, refused
from provisioning.station.records import NO_RECORD, BirthRecord, parse_record, read_time
from signer.device_objects.work_order import SignedWorkOrder, parse_work_order
from signer.signing_key import verify_signature

LINE_SIZE_BYTES_MAX = 64 * 1024
RECORDS_MAX = 25_000_000

_FORMAT = "strongroom-births-1"
_END_FORMAT = "strongroom-births-end-1"
_END_CONTEXT = b"SR-births-v1".ljust(16, b"\0")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_INTEGER_MAX = (1 << 53) - 1


class TakenRecord(msgspec.Struct, frozen=True):
    """A record that follows the one before it, with its exact text and the station's signature."""

    record: BirthRecord
    canonical: bytes
    hash: bytes
    signature: bytes


class BirthsEnd(msgspec.Struct, frozen=True):
    """What the last line says."""

    number: int
    head: bytes
    evidence_commit: int
    at: datetime


class BirthsFile:
    """A file that is being read. The first line is read at once, the records as `records` is iterated, once.

    `sha256` and `end` are there when `records` has ended. Raises PolicyViolation BR-01 to BR-03, BR-10; NotAuthentic
    BR-04, BR-10.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._state = hashlib.sha256()
        first = self._line("the first line")
        _require_fields(first, {"format", "order", "station_public_key", "first_number", "count"}, _FORMAT)
        try:
            self.order: SignedWorkOrder = parse_work_order(_binary(first, "order", 640))
        except FormatError as error:
            raise refused("BR-10", f"the work order in the first line cannot be read: {error}") from None
        self.station = PublicKey(_binary(first, "station_public_key", 64))
        self.first_number = _integer(first, "first_number", 1)
        self.count = _integer(first, "count", 0)
        if self.count > RECORDS_MAX:
            raise refused("BR-10", f"a file holds at most {RECORDS_MAX:,} records, not {self.count:,}")
        self.end: BirthsEnd | None = None

    @property
    def sha256(self) -> bytes:
        """Digest of the file, as far as it was read."""
        return self._state.digest()

    def records(self, verified_until: int = 0) -> Iterator[TakenRecord]:
        """The records in order. Signatures of numbers up to `verified_until` are left to the caller's comparison."""
        names = (self.order.order.order_id, self.order.digest.value, self.station.spki_sha256)
        before: TakenRecord | None = None
        for number in range(self.first_number, self.first_number + self.count):
            taken = self._record(number)
            if (taken.record.order_id, taken.record.order_digest, taken.record.station) != names:
                raise refused("BR-03", f"birth record {number} is of another order or station than the file")
            _require_follows(taken.record, number, before)
            if number > verified_until:
                self._verify(taken.record.digest, taken.signature, "BR-04", f"birth record {number}")
            yield taken
            before = taken
        self._read_end(before)

    def _record(self, number: int) -> TakenRecord:
        line = self._line(f"record {number}")
        if line.keys() != {"record", "signature"} or type(line["record"]) is not str:
            raise refused("BR-10", f"the line of record {number} is not a record and its signature")
        signature = _binary(line, "signature", 64)
        canonical = line["record"].encode("utf-8")
        try:
            record = parse_record(canonical)
        except PolicyViolation as error:
            raise refused(error.rule_id, f"record {number}: {str(error).partition('] ')[2]}") from None
        return TakenRecord(record, canonical, hashlib.sha256(canonical).digest(), signature)

    def _read_end(self, last: TakenRecord | None) -> None:
        line = self._line("the last line")
        _require_fields(line, {"format", "number", "head", "evidence_commit", "at", "signature"}, _END_FORMAT)
        signature = _binary(line, "signature", 64)
        unsigned = encode_canonical({name: value for name, value in line.items() if name != "signature"})
        self._verify(Digest.of(_END_CONTEXT, unsigned), signature, "BR-10", "the last line")
        end = BirthsEnd(
            _integer(line, "number", 0),
            _binary(line, "head", 32),
            _integer(line, "evidence_commit", 0),
            _end_time(line["at"]),
        )
        if end.number != self.first_number + self.count - 1 or (last is not None and end.head != last.hash):
            raise refused("BR-10", "the last line does not name the record before it: the file was cut or put together")
        if last is None and self.first_number == 1 and end.head != NO_RECORD:
            raise refused("BR-10", "the last line names a record, and the file has none")
        if self._stream.read(1):
            raise refused("BR-10", "something follows the last line")
        self.end = end

    def _verify(self, digest: Digest, signature: bytes, rule_id: str, what: str) -> None:
        try:
            verify_signature(self.station, digest, Signature(signature))
        except SignatureInvalid:
            raise NotAuthentic(
                rule_id, f"the signature of {what} is not that of station {self.station.spki_sha256.hex()}"
            ) from None

    def _line(self, what: str) -> dict[str, Any]:
        data = self._stream.readline(LINE_SIZE_BYTES_MAX + 1)
        self._state.update(data)
        if not data:
            raise refused("BR-10", f"the file ends before {what}: it was cut short; copy it again")
        if len(data) > LINE_SIZE_BYTES_MAX or not data.endswith(b"\n"):
            raise refused("BR-10", f"{what} has more than {LINE_SIZE_BYTES_MAX} bytes, or no line feed at its end")
        try:
            return parse_canonical(data[:-1], what, LINE_SIZE_BYTES_MAX)
        except FormatError as error:
            raise refused("BR-10", str(error)) from None


def _require_follows(record: BirthRecord, number: int, before: TakenRecord | None) -> None:
    """BR-02, as far as the file has both; the first record's predecessor is the registry's to know."""
    if record.number != number:
        raise refused("BR-02", f"birth record {record.number} stands where {number} belongs: a gap, or a repetition")
    if before is None:
        if number == 1 and record.previous != NO_RECORD:
            raise refused("BR-02", "birth record 1 names a record before it")
        return
    if record.previous != before.hash:
        raise refused("BR-02", f"birth record {number} does not follow record {number - 1} of this file")
    if record.at < before.record.at:
        raise refused("BR-02", f"birth record {number} is older than the record before it")


def _require_fields(line: dict[str, Any], names: set[str], form: str) -> None:
    if line.keys() != names or line["format"] != form:
        raise refused("BR-10", f"this is no line {form}: is it the file that `strongroom station export` writes?")


def _end_time(value: Any) -> datetime:
    try:
        return read_time(value)
    except PolicyViolation:
        raise refused("BR-10", "`at` of the last line is not YYYY-MM-DDThh:mm:ssZ") from None


def _binary(line: dict[str, Any], name: str, size_bytes: int) -> bytes:
    value = line[name]
    if type(value) is not str or len(value) != 2 * size_bytes or not _HEX.fullmatch(value):
        raise refused("BR-10", f"`{name}` is not {size_bytes} bytes in lower-case hexadecimal digits")
    return bytes.fromhex(value)


def _integer(line: dict[str, Any], name: str, lowest: int) -> int:
    value = line[name]
    if type(value) is not int or not lowest <= value <= _INTEGER_MAX:
        raise refused("BR-10", f"`{name}` is not a number of at least {lowest}")
    return value
