"""The ledger of one order at one station: numbered, chained, signed, committed; then evidence; then the answer.

Callers of many nests share commits (docs/spec/station.md, sections 2 to 4). Whatever fails after the first byte was
written stops the ledger: what then holds is found out at the next start, from the file and the token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from pki.errors import PolicyViolation, SignatureInvalid, StrongroomError
from pki.values import PublicKey, Signature
from provisioning.station.boards import Boards
from provisioning.station.evidence import Evidence, EvidenceStore, newest_evidence, require_agreement
from provisioning.station.ledger_file import LedgerFile, LedgerRow
from provisioning.station.records import BirthRecord, SignedRecord, parse_record
from provisioning.station.rules import Rule, refused
from signer.device_objects.work_order import SignedWorkOrder
from signer.log.group_commit import GroupCommit, Waiting
from signer.signing_key import SigningKey, sign_verified, verify_signature

RECORDS_PER_COMMIT_MAX = 64
CLOCK_TOLERANCE = timedelta(minutes=5)
SUB_QUOTA_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record will stand; a draft makes its record from it."""

    number: int
    previous: bytes
    at: datetime
    next_sequence: int


Draft = Callable[[Place, Boards], BirthRecord]
"""Makes the record for its place. It may sign (the activation), and raises what refuses the record."""


class Ledger:
    """An open ledger. `append` may be called by many threads; everything else by one."""

    def __init__(
        self,
        file: LedgerFile,
        store: EvidenceStore,
        order: SignedWorkOrder,
        key: SigningKey,
        clock: Callable[[], datetime],
    ) -> None:
        """Read every record, and compare with the evidence. Raises PolicyViolation ST-04, ST-14, ST-20 to ST-24."""
        self._file = file
        self._store = store
        self._key = key
        self._clock = clock
        self._order_id = order.order.order_id
        station = key.public_key.spki_sha256
        self.boards = Boards(self._order_id, order.digest.value, station, sub_quota(order, key.public_key))
        self._commit = 0
        self._fault: str | None = None
        self._group: GroupCommit[Draft, BirthRecord] = GroupCommit(self._write, RECORDS_PER_COMMIT_MAX)
        self._take_stock()

    @property
    def evidence(self) -> Evidence:
        """What the ledger says of itself."""
        boards = self.boards
        station = self._key.public_key.spki_sha256
        return Evidence(
            self._order_id, station, self._commit, boards.number, boards.begun, boards.activated, boards.head
        )

    def append(self, draft: Draft) -> BirthRecord:
        """Add one record; when this returns, record and evidence are durable.

        Raises what the draft raises (PolicyViolation; nothing was written), or ST-12, ST-26.
        """
        return self._group.carry_out(draft)

    def records(self, start: int = 1) -> Iterator[SignedRecord]:
        """The records from number `start` on. Raises PolicyViolation ST-24, BR-01."""
        for row in self._file.rows(start):
            yield SignedRecord(parse_record(row.record), row.signature)

    def record(self, number: int) -> BirthRecord:
        """One record."""
        return parse_record(self._file.record(number))

    def close(self) -> None:
        """Nothing can be added any more."""
        self._fault = self._fault or "it was closed"
        self._file.close()

    def _take_stock(self) -> None:
        found = newest_evidence(self._store.read(self._order_id), self._order_id, self._key.public_key)
        stock = read_ledger(self._file, self.boards, self._key.public_key, found.number if found is not None else 0)
        self._commit = stock.commit
        require_agreement(self.evidence, found, {stock.watched_number: stock.watched_head}, stock.newest_commit_size)
        if found is not None and found.commit < self._commit:
            self._store.replace(self._order_id, self.evidence.signed(self._key))

    # Writing. One caller at a time gets here (GroupCommit).

    def _write(self, group: list[Waiting[Draft, BirthRecord]]) -> None:
        if self._fault is not None:
            raise refused(Rule.STATION_STOPPED, f"the station stopped: {self._fault}; start it again")
        at = self._now()
        rows: list[LedgerRow] = []
        try:
            for waiting in group:
                self._compose(waiting, at, rows)
            if rows:
                self._file.append(rows)
                self._commit += 1
                self._store.replace(self._order_id, self.evidence.signed(self._key))
        except BaseException as error:
            # What is in memory, in the file and on the token may differ from here on.
            self._fault = str(error) or type(error).__name__
            raise refused(Rule.STATION_STOPPED, f"the ledger could not be written: {self._fault}") from error

    def _compose(self, waiting: Waiting[Draft, BirthRecord], at: datetime, rows: list[LedgerRow]) -> None:
        """Make one record and add it to `rows`, or give the caller its refusal."""
        boards = self.boards
        place = Place(boards.number + 1, boards.head, at, boards.begun + 1)
        try:
            record = waiting.order(place, boards)
        except StrongroomError as error:
            waiting.error = error
            return
        signature = sign_verified(self._key, record.digest)
        try:
            boards.take(record)
        except PolicyViolation as error:
            waiting.error = error
            return
        rows.append(LedgerRow(record.number, self._commit + 1, record.canonical, signature.value))
        waiting.answer = record

    def _now(self) -> datetime:
        now, newest = self._clock().replace(microsecond=0), self.boards.newest_at
        if newest is None or now >= newest:
            return now
        if newest - now > CLOCK_TOLERANCE:
            raise refused(
                Rule.CLOCK_SET_BACK,
                f"the clock says {now:%Y-%m-%d %H:%M}, the newest record is of {newest:%Y-%m-%d %H:%M}",
            )
        return newest


class Stock(NamedTuple):
    """What a ledger's file holds. `watched_head` is the head at `watched_number`, zero where it ends before."""

    commit: int
    newest_commit_size: int
    watched_number: int
    watched_head: bytes


def read_ledger(file: LedgerFile, boards: Boards, station_key: PublicKey, watched_number: int) -> Stock:
    """Put every record into `boards`; verify the newest one's signature. Raises PolicyViolation ST-24."""
    commit, newest_commit_size, newest = 0, 0, None
    watched_head = boards.head if watched_number == 0 else bytes(32)
    for row in file.rows():
        if row.commit < commit:
            raise refused(Rule.LEDGER_DAMAGED, f"record {row.number} is of an older commit; restore a backup")
        newest_commit_size = newest_commit_size + 1 if row.commit == commit else 1
        commit, newest = row.commit, row
        _take(row, boards)
        if row.number == watched_number:
            watched_head = boards.head
    if newest is not None:
        try:
            verify_record(SignedRecord(parse_record(newest.record), newest.signature), station_key)
        except PolicyViolation as error:
            raise refused(Rule.LEDGER_DAMAGED, f"the newest record: {error}; restore a backup") from None
    return Stock(commit, newest_commit_size, watched_number, watched_head)


def _take(row: LedgerRow, boards: Boards) -> None:
    try:
        record = parse_record(row.record)
        if record.number != row.number:
            raise PolicyViolation("BR-02", f"record {record.number} stands as number {row.number}")
        boards.take(record)
    except PolicyViolation as error:
        raise refused(Rule.LEDGER_DAMAGED, f"the ledger breaks a rule: {error}; restore a backup") from None


def sub_quota(order: SignedWorkOrder, station_key: PublicKey) -> int:
    """How many devices this station may make. Raises PolicyViolation ST-04, ST-14."""
    station = order.order.station(station_key.spki_sha256)
    if station is None:
        raise refused(
            Rule.NOT_THIS_STATION,
            f"the order is not for this station (key {station_key.key_id.hex()}); use the token that it names",
        )
    if station.sub_quota > SUB_QUOTA_MAX:
        raise refused(Rule.ORDER_TOO_LARGE, f"a station makes at most {SUB_QUOTA_MAX} devices of one order")
    return station.sub_quota


def verify_record(signed: SignedRecord, station_key: PublicKey) -> None:
    """The station's signature. Raises PolicyViolation BR-04."""
    try:
        verify_signature(station_key, signed.record.digest, Signature(signed.signature))
    except (SignatureInvalid, ValueError):
        raise PolicyViolation("BR-04", f"birth record {signed.record.number} is not signed by this station") from None


def first_evidence(order: SignedWorkOrder, key: SigningKey) -> Evidence:
    """The evidence of an empty ledger."""
    return Evidence(order.order.order_id, key.public_key.spki_sha256, 0, 0, 0, 0, bytes(32))
