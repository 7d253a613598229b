"""One order at one station: who is counted, what is signed for whom, and what is recorded, in that order.

Every method may be called by the threads of all nests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pki.errors import PolicyViolation
from pki.values import Digest
from provisioning.station.boards import Board, Boards, Standing
from provisioning.station.certifying import Certifier
from provisioning.station.composing import Composer, keys_of
from provisioning.station.facts import ChallengeFacts, Issued, Known, StatusFacts, Verdict
from provisioning.station.injecting import Injector, inject
from provisioning.station.ledger import Ledger, Place
from provisioning.station.records import BirthEvent, BirthRecord
from provisioning.station.rules import Rule, refused
from signer.device_objects.work_order import SignedWorkOrder
from signer.signing_key import SigningKey


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a station works with. `injector` is None for an order that injects nothing."""

    order: SignedWorkOrder
    lot_key: SigningKey
    certifier: Certifier
    injector: Injector | None
    clock: Callable[[], datetime]


class Station:
    """Counts, signs and records. Raises PolicyViolation ST-… wherever it may not."""

    def __init__(self, workshop: Workshop, ledger: Ledger) -> None:
        """Raises PolicyViolation ST-05."""
        self._shop = workshop
        self._ledger = ledger
        if workshop.lot_key.public_key != workshop.order.order.lot_public_key:
            raise refused(Rule.LOT_KEY, "the lot's key on the token is not the order's; use the lot's own token")
        self._composer = Composer(workshop.order, ledger.evidence.station, workshop.lot_key)

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self._ledger

    def require_open(self) -> None:
        """The order is in force now. Raises PolicyViolation ST-07, ST-08."""
        require_within_dates(self._shop.order, self._shop.clock())

    def known(self, uid: bytes, identity_public_key: bytes) -> Known:
        """What the ledger says of a UID and of an identity key."""
        boards = self._ledger.boards
        uid_of_identity = boards.uid_of_identity(identity_public_key)
        board = boards.board(uid)
        if board is None:
            return Known(uid_of_identity=uid_of_identity)
        return Known(
            standing=board.standing,
            identity_public_key=board.identity_public_key,
            uid_of_identity=uid_of_identity,
            serial=board.serial,
            sequence=board.sequence,
            activations=frozenset(board.issued),
            certificate_digest=board.certificate_digest,
        )

    def begin(self, challenge: ChallengeFacts, serial: str) -> Issued:
        """Count one device, and sign its activation. Raises PolicyViolation ST-07, ST-08, ST-25, ST-26, ST-39, …"""
        boards = self._ledger.boards
        _require_room(boards, boards.begun + 1)
        _require_new_serial(boards, serial, challenge.uid)
        identity, made = keys_of(challenge)
        certificate = self._shop.certifier.certify(identity, challenge.uid, serial, self._shop.clock())
        injected = inject(self._shop.order.order.inject, self._shop.injector, made)

        def draft(place: Place, boards: Boards) -> BirthRecord:
            require_within_dates(self._shop.order, place.at)
            _require_room(boards, place.next_sequence)
            _require_new_serial(boards, serial, challenge.uid)
            return self._composer.issued(
                BirthEvent.BEGUN, challenge, place, place.next_sequence, serial, certificate, injected
            )

        return self._as_issued(self._ledger.append(draft))

    def renew(self, challenge: ChallengeFacts) -> Issued:
        """Another activation for a device that is counted already. Raises PolicyViolation ST-07, ST-08, ST-26."""
        _, made = keys_of(challenge)
        first = self._first_record(self._counted(challenge.uid))
        injected = inject(self._shop.order.order.inject, self._shop.injector, made)

        def draft(place: Place, _: Boards) -> BirthRecord:
            require_within_dates(self._shop.order, place.at)
            assert first.sequence and first.certificate and first.serial is not None  # noqa: S101, PT018 (it is begun)
            return self._composer.issued(
                BirthEvent.RENEWED, challenge, place, first.sequence, first.serial, first.certificate, injected
            )

        return self._as_issued(self._ledger.append(draft))

    def complete(self, challenge: ChallengeFacts, status: StatusFacts, receipt: bytes | None) -> None:
        """Record that a device is OPERATIONAL by an activation of this ledger; the caller has verified it."""
        board = self._counted(challenge.uid)
        issued = self._ledger.record(board.issued[status.activation_digest])
        self._ledger.append(lambda place, _: self._composer.activated(challenge, place, issued, status, receipt))

    def fail(self, challenge: ChallengeFacts, verdict: Verdict) -> None:
        """Record a refusal. What was counted stays counted."""
        rule = verdict.rule if verdict.rule is not None else Rule.FIXTURE_FAILED
        self._ledger.append(
            lambda place, boards: self._composer.failed(challenge, place, boards.board(challenge.uid), rule)
        )

    def scrap(self, uid: bytes, reason: str) -> None:
        """A board is gone for good. Raises PolicyViolation ST-44 if it was scrapped before, BR-01 for such a reason."""
        board = self._ledger.boards.board(uid)
        if board is not None and board.standing is Standing.SCRAPPED:
            raise refused(Rule.SCRAPPED, f"board {uid.hex()} was scrapped already; nothing changed")
        revision = self._shop.order.order.hardware_revision_min
        if board is not None and board.issued:
            revision = self._first_record(board).hardware_revision
        self._ledger.append(
            lambda place, boards: self._composer.scrapped(uid, revision, place, boards.board(uid), reason)
        )

    def _as_issued(self, record: BirthRecord) -> Issued:
        assert record.sequence and record.activation and record.certificate  # noqa: S101, PT018 (begun or renewed)
        assert record.activation_digest and record.agreement_public_key  # noqa: S101, PT018
        return Issued(
            sequence=record.sequence,
            data=self._shop.order.raw + record.activation,
            activation_digest=record.activation_digest,
            certificate_digest=Digest.of(record.certificate).value,
            agreement_public_key=record.agreement_public_key,
        )

    def _counted(self, uid: bytes) -> Board:
        board = self._ledger.boards.board(uid)
        if board is None or not board.issued:
            raise PolicyViolation("BR-06", f"board {uid.hex()} was never begun")
        return board

    def _first_record(self, board: Board) -> BirthRecord:
        return self._ledger.record(min(board.issued.values()))


def require_within_dates(order: SignedWorkOrder, now: datetime) -> None:
    """The order is in force now. Raises PolicyViolation ST-07, ST-08."""
    seconds = int(now.timestamp())
    if seconds < order.order.not_before:
        raise refused(Rule.TOO_EARLY, "the order is not in force yet; check the clock, or wait")
    if seconds > order.order.not_after:
        raise refused(Rule.TOO_LATE, "the order's last day is over; nothing more is made by it")


def _require_room(boards: Boards, sequence: int) -> None:
    if sequence > boards.sub_quota:
        raise refused(
            Rule.QUOTA_USED_UP,
            f"this station has counted all {boards.sub_quota} devices of its share of the order; it makes no more",
        )


def _require_new_serial(boards: Boards, serial: str, uid: bytes) -> None:
    other = boards.uid_of_serial(serial) if serial else None
    if other not in (None, uid):
        raise refused(Rule.SERIAL_NUMBER, f"serial number {serial!r} belongs to another device; scan again")
