"""Taking a file of birth records: verified as a stream first, then written in one transaction, all of it or nothing.

The costly part, signatures and certificates, is done before the registry is locked; what was verified waits in a
temporary file of this process, so that nobody can exchange it, and memory stays bounded whatever the file's size.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, BinaryIO

import msgspec
from sqlalchemy import Connection, select, update

from pki.chain import VerifiedChain
from provisioning.registry import tables
from provisioning.registry.births_file import BirthsFile, TakenRecord
from provisioning.registry.births_fold import BirthsFold
from provisioning.registry.database import Database
from provisioning.registry.errors import refused
from provisioning.registry.imports import record_import
from provisioning.registry.orders import keep_ca_certificates, known_ca_certificates, take_order, uuid_text
from provisioning.registry.proofs import ProvenRecord, RecordProofs
from provisioning.registry.rows import Row
from provisioning.registry.trust import Trust, issuing_ca, require_order_signed
from provisioning.station.records import BirthRecord
from signer.store.stored_times import time_to_text

BLOCK_RECORDS = 250
_IN_MEMORY_BYTES = 16 * 1024 * 1024
_LENGTH_SIZE_BYTES = 4

Advance = Callable[[int], None]
"""Told how many records were worked through so far."""


@dataclass(frozen=True, slots=True)
class BirthsTaken:
    """What a file brought. `added` is 0 when everything in it was known."""

    order_id: str
    station: str
    first_number: int
    last_number: int
    added: int
    events: dict[str, int]


def take_births(
    database: Database,
    stream: BinaryIO,
    trust: Trust,
    now: datetime,
    who: str,
    *,
    until: int | None = None,
    advance: Advance = lambda _: None,
) -> BirthsTaken:
    """Verify a file and take what is new in it. `until`: nothing above that number is taken, though all is verified.

    Raises PolicyViolation (BR-…, RG-…), NotAuthentic, RegistryError; then nothing was changed.
    """
    file = BirthsFile(stream)
    verified = _VerifiedFile(database, file, trust, now)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        for count, proven in enumerate(verified.new_records(), start=1):
            if until is None or proven.taken.record.number <= until:
                _append(spool, proven)
            if count % BLOCK_RECORDS == 0:
                advance(count)
        spool.seek(0)
        with database.writing() as connection:
            return _Taking(connection, verified, time_to_text(now), who).take(spool)


class _VerifiedFile:
    """The file against what the registry had of its ledger when the reading began."""

    def __init__(self, database: Database, file: BirthsFile, trust: Trust, now: datetime) -> None:
        """Raises NotAuthentic BR-11, RG-03."""
        self.file = file
        self.trust = trust
        self._database = database
        self._now = now
        self._order = file.order.order
        if self._order.station(file.station.spki_sha256) is None:
            raise refused("BR-11", f"station {file.station.spki_sha256.hex()} is none of the order's stations")
        with database.reading() as connection:
            self._ledger = _ledger(connection, file)
            self._certificates = trust.ca_certificates + known_ca_certificates(connection)
        if self._ledger is None:
            require_order_signed(file.order, trust)
        self.chain: list[bytes] = []

    def new_records(self) -> Iterator[ProvenRecord]:
        """Every record that was not known then, each with its own proofs; the known ones are compared."""
        known = 0 if self._ledger is None else int(self._ledger["last_number"])
        proofs: RecordProofs | None = None
        last: BirthRecord | None = None
        for taken in self._compared(self.file.records(known), known):
            record = last = taken.record
            if proofs is None:
                proofs = RecordProofs(self._order, self._issuer(record.at), self._now)
            yield proofs.prove(taken)
        if last is not None:
            self._issuer(last.at)

    def _issuer(self, at: datetime) -> VerifiedChain:
        verified, self.chain = issuing_ca(self._order.issuing_ca, self._certificates, at)
        return verified

    def _compared(self, records: Iterator[TakenRecord], known: int) -> Iterator[TakenRecord]:
        """The records above `known`; BR-12 for one below that is not the registry's."""
        block: list[TakenRecord] = []
        for taken in records:
            if taken.record.number > known:
                yield from self._block_compared(block)
                block = []
                yield taken
                continue
            block.append(taken)
            if len(block) == BLOCK_RECORDS:
                yield from self._block_compared(block)
                block = []
        yield from self._block_compared(block)

    def _block_compared(self, block: list[TakenRecord]) -> Iterator[TakenRecord]:
        """Nothing, or BR-12: a generator, so that it fits between the others."""
        if block and self._ledger is not None:
            with self._database.reading() as connection:
                require_known(connection, self._ledger, block)
        yield from ()


class _Taking:
    """The transaction."""

    def __init__(self, connection: Connection, verified: _VerifiedFile, now: str, who: str) -> None:
        self._connection = connection
        self._verified = verified
        self._now = now
        self._who = who

    def take(self, spool: IO[bytes]) -> BirthsTaken:
        """Write what the spool has and the ledger has not."""
        connection, file = self._connection, self._verified.file
        take_order(connection, file.order, self._verified.trust, self._now)
        keep_ca_certificates(connection, self._verified.chain, self._now)
        ledger = _ledger(connection, file)
        assert ledger is not None  # noqa: S101 (the order was just taken)
        _require_reaches(ledger, file)
        before = int(ledger["last_number"])
        order = file.order.order
        fold = BirthsFold(connection, order, uuid_text(order.product_id), ledger)
        events: Counter[str] = Counter()
        for block in _blocks(spool):
            new = self._not_yet_taken(ledger, block)
            if new:
                _require_continues(ledger, new[0].taken)
                fold.take(new)
                events.update(proven.taken.record.event.value for proven in new)
        self._keep(ledger, before)
        return BirthsTaken(
            ledger["order_id"], ledger["station"], before + 1, ledger["last_number"], sum(events.values()), dict(events)
        )

    def _not_yet_taken(self, ledger: Row, block: list[ProvenRecord]) -> list[ProvenRecord]:
        """What another importer has taken since the file was read is compared, not taken again."""
        taken_since = [proven.taken for proven in block if proven.taken.record.number <= ledger["last_number"]]
        require_known(self._connection, ledger, taken_since)
        return block[len(taken_since) :]

    def _keep(self, ledger: Row, before: int) -> None:
        file, connection = self._verified.file, self._connection
        assert file.end is not None  # noqa: S101 (the file was read to its end)
        commit = max(file.end.evidence_commit, ledger["evidence_commit"] or 0)
        added = ledger["last_number"] - before
        if added or commit != ledger["evidence_commit"]:
            row = ledger | {"evidence_commit": commit}
            columns = tables.ledgers.c
            connection.execute(update(tables.ledgers).where(columns.id == row["id"]).values(**row))
            stations = tables.stations
            connection.execute(
                update(stations)
                .where(stations.c.fingerprint == row["station"])
                .values(public_key=file.station.point.hex())
            )
        if added:
            record_import(connection, "births", file.sha256, self._now, self._who, added)


def _ledger(connection: Connection, file: BirthsFile) -> Row | None:
    """The ledger of the file's order and station, None if the order is not known (by this very digest)."""
    ledgers, orders = tables.ledgers, tables.orders
    query = (
        select(ledgers)
        .join(orders, orders.c.order_id == ledgers.c.order_id)
        .where(orders.c.digest == file.order.digest.value.hex(), ledgers.c.station == file.station.spki_sha256.hex())
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)


def require_known(connection: Connection, ledger: Row, records: Sequence[TakenRecord]) -> None:
    """BR-12: records that the registry has already are the same, byte for byte."""
    if not records:
        return
    table = tables.birth_records.c
    numbers = [taken.record.number for taken in records]
    query = select(table.number, table.digest).where(
        table.ledger_id == ledger["id"], table.number.between(numbers[0], numbers[-1])
    )
    stored = {row.number: row.digest for row in connection.execute(query)}
    for taken in records:
        if stored.get(taken.record.number) != taken.hash.hex():
            raise refused(
                "BR-12",
                f"birth record {taken.record.number} is another one than the registry has of this station and order: "
                "its ledger was put back, or the station or its key was copied; nothing was taken",
            )


def _require_reaches(ledger: Row, file: BirthsFile) -> None:
    if file.first_number > ledger["last_number"] + 1:
        raise refused(
            "BR-02",
            f"the file begins with record {file.first_number}, and the registry has this station's until "
            f"{ledger['last_number']}: give the file with those between first",
        )


def _require_continues(ledger: Row, taken: TakenRecord) -> None:
    """BR-12: the first new record follows the registry's last. BR-02: and is not older."""
    record = taken.record
    if record.previous.hex() != ledger["head"]:
        raise refused(
            "BR-12",
            f"birth record {record.number} follows another record than the registry's {ledger['last_number']}: the "
            "station's ledger was put back, or the station or its key was copied; nothing was taken",
        )
    if ledger["last_at"] is not None and time_to_text(record.at) < ledger["last_at"]:
        raise refused("BR-02", f"birth record {record.number} is older than the record before it")


def _append(spool: IO[bytes], proven: ProvenRecord) -> None:
    data = msgspec.msgpack.encode(proven)
    spool.write(len(data).to_bytes(_LENGTH_SIZE_BYTES, "big") + data)


def _blocks(spool: IO[bytes]) -> Iterator[list[ProvenRecord]]:
    decoder = msgspec.msgpack.Decoder(ProvenRecord)
    block: list[ProvenRecord] = []
    while size := spool.read(_LENGTH_SIZE_BYTES):
        block.append(decoder.decode(spool.read(int.from_bytes(size, "big"))))
        if len(block) == BLOCK_RECORDS:
            yield block
            block = []
    if block:
        yield block
