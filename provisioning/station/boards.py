"""What the records of one station say about each board: the rules BR-02, BR-03, BR-05, BR-06, BR-08, BR-09, as a fold.

Signatures are `record_proofs.py`'s. The ledger builds this anew at each start, from its records alone.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from pki.errors import PolicyViolation
from pki.values import Digest
from provisioning.station.records import NO_RECORD, BirthEvent, BirthRecord


class Standing(StrEnum):
    """Where a board stands in the ledger."""

    REFUSED = "refused"
    """Never counted."""
    BEGUN = "begun"
    ACTIVATED = "activated"
    SCRAPPED = "scrapped"


class Board(msgspec.Struct):
    """One UID. What is None was never counted; `issued` are the numbers of its *begun* and *renewed* records."""

    uid: bytes
    standing: Standing
    sequence: int | None = None
    identity_public_key: bytes | None = None
    serial: str | None = None
    certificate_digest: bytes | None = None
    activation_digest: bytes | None = None
    """The last activation's."""
    issued: dict[bytes, int] = {}
    """Every activation's digest, and the number of its record."""


class Boards:
    """The boards of one ledger, and the head of its chain. `take` adds a record, or raises and changes nothing."""

    def __init__(self, order_id: bytes, order_digest: bytes, station: bytes, sub_quota: int) -> None:
        self._names = (order_id, order_digest, station)
        self.sub_quota = sub_quota
        self.number = 0
        self.head = NO_RECORD
        self.newest_at: datetime | None = None
        self.begun = 0
        self.activated = 0
        self.failures = 0
        self.scrapped = 0
        self._by_uid: dict[bytes, Board] = {}
        self._uid_by_identity: dict[bytes, bytes] = {}
        self._uid_by_serial: dict[str, bytes] = {}

    def board(self, uid: bytes) -> Board | None:
        """What is known of a UID."""
        return self._by_uid.get(uid)

    def uid_of_identity(self, identity_public_key: bytes) -> bytes | None:
        """Which UID was counted with this identity key."""
        return self._uid_by_identity.get(identity_public_key)

    def uid_of_serial(self, serial: str) -> bytes | None:
        """Which UID was counted with this serial number."""
        return self._uid_by_serial.get(serial)

    def all(self) -> tuple[Board, ...]:
        """Every board, in the order in which they came."""
        return tuple(self._by_uid.values())

    @property
    def open(self) -> int:
        """Boards that are counted, and neither activated nor scrapped."""
        return sum(board.standing is Standing.BEGUN for board in self._by_uid.values())

    def take(self, record: BirthRecord) -> None:
        """Add the next record. Raises PolicyViolation BR-02, BR-03, BR-05, BR-06, BR-08, BR-09."""
        self._check_chain(record)
        _TAKERS[record.event](self, record)
        self.number = record.number
        self.head = record.hash
        self.newest_at = record.at

    def _check_chain(self, record: BirthRecord) -> None:
        if (record.order_id, record.order_digest, record.station) != self._names:
            raise _broken("BR-03", record, "is of another order or station")
        if record.number != self.number + 1 or record.previous != self.head:
            raise _broken("BR-02", record, f"does not follow record {self.number}")
        if self.newest_at is not None and record.at < self.newest_at:
            raise _broken("BR-02", record, "is older than the record before it")

    def _take_begun(self, record: BirthRecord) -> None:
        board = self._by_uid.get(record.uid)
        if board is not None and board.standing is not Standing.REFUSED:
            raise _broken("BR-05", record, "counts a device that was counted before")
        identity, serial = _present(record.identity_public_key), record.serial
        if identity in self._uid_by_identity:
            raise _broken("BR-05", record, "has the identity key of another device")
        if serial and serial in self._uid_by_serial:
            raise _broken("BR-05", record, "has the serial number of another device")
        if record.sequence != self.begun + 1 or record.sequence > self.sub_quota:
            raise _broken("BR-05", record, f"has not the sequence {self.begun + 1}, or is above {self.sub_quota}")
        digest = _present(record.activation_digest)
        self._by_uid[record.uid] = Board(
            uid=record.uid,
            standing=Standing.BEGUN,
            sequence=record.sequence,
            identity_public_key=identity,
            serial=serial,
            certificate_digest=Digest.of(_present(record.certificate)).value,
            activation_digest=digest,
            issued={digest: record.number},
        )
        self._uid_by_identity[identity] = record.uid
        if serial:
            self._uid_by_serial[serial] = record.uid
        self.begun += 1

    def _take_renewed(self, record: BirthRecord) -> None:
        board = self._counted(record, "BR-06")
        if Digest.of(_present(record.certificate)).value != board.certificate_digest:
            raise _broken("BR-06", record, "has another certificate than was begun with")
        digest = _present(record.activation_digest)
        if digest in board.issued:
            raise _broken("BR-06", record, "repeats an activation")
        board.activation_digest = digest
        board.issued[digest] = record.number

    def _take_activated(self, record: BirthRecord) -> None:
        board = self._counted(record, "BR-08")
        if record.activation_digest not in board.issued:
            raise _broken("BR-08", record, "names an activation that is not in this ledger")
        board.activation_digest = record.activation_digest
        board.standing = Standing.ACTIVATED
        self.activated += 1

    def _counted(self, record: BirthRecord, rule_id: str) -> Board:
        """The board that waits for its activation, if the record says the same of it."""
        board = self._by_uid.get(record.uid)
        if board is None or board.standing is not Standing.BEGUN:
            raise _broken(rule_id, record, "is of a device that does not wait for its activation")
        if (record.identity_public_key, record.sequence, record.serial) != (
            board.identity_public_key,
            board.sequence,
            board.serial,
        ):
            raise _broken(rule_id, record, "has another key, sequence or serial number than was begun with")
        return board

    def _take_failed(self, record: BirthRecord) -> None:
        board = self._ended(record)
        if board.standing is Standing.SCRAPPED:
            raise _broken("BR-09", record, "is of a device that was scrapped")
        self._by_uid.setdefault(record.uid, board)
        self.failures += 1

    def _take_scrapped(self, record: BirthRecord) -> None:
        board = self._ended(record)
        if board.standing is Standing.SCRAPPED:
            raise _broken("BR-09", record, "is of a device that was scrapped before")
        board.standing = Standing.SCRAPPED
        self._by_uid.setdefault(record.uid, board)
        self.scrapped += 1

    def _ended(self, record: BirthRecord) -> Board:
        """The board that a failure or its end is recorded for; a UID that was never counted has nothing to say."""
        board = self._by_uid.get(record.uid) or Board(uid=record.uid, standing=Standing.REFUSED)
        said = (record.sequence, record.activation_digest, record.serial)
        is_same = said == (board.sequence, board.activation_digest, board.serial)
        if not is_same or (board.sequence is not None and record.identity_public_key != board.identity_public_key):
            raise _broken("BR-09", record, "does not say what was begun with this device")
        return board


_TAKERS = {
    BirthEvent.BEGUN: Boards._take_begun,
    BirthEvent.RENEWED: Boards._take_renewed,
    BirthEvent.ACTIVATED: Boards._take_activated,
    BirthEvent.FAILED: Boards._take_failed,
    BirthEvent.SCRAPPED: Boards._take_scrapped,
}


def _present(value: bytes | None) -> bytes:
    """A field that the record's event demands."""
    assert value is not None  # noqa: S101 (BirthRecord has checked it)
    return value


def _broken(rule_id: str, record: BirthRecord, fault: str) -> PolicyViolation:
    return PolicyViolation(rule_id, f"birth record {record.number} (UID {record.uid.hex()}) {fault}")
