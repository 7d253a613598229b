"""Copies of a station's folder, and bringing one back (docs/spec/station.md, section 7).

A copy that is not the newest is brought up to the token's evidence with records that left the station before, and with
nothing else; a ledger that is ahead of a token's lost writes gets evidence anew once every signature in it is verified.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pki.errors import OutputError, PolicyViolation
from provisioning.station.births_file import BirthsReader
from provisioning.station.boards import Boards
from provisioning.station.evidence import Evidence, EvidenceStore, newest_evidence
from provisioning.station.folder import BUNDLE_FOLDER, CONFIG_FILE, StationFolder
from provisioning.station.ledger import read_ledger, sub_quota
from provisioning.station.ledger_file import LEDGER_FILE, LedgerFile, LedgerRow
from provisioning.station.record_proofs import verify_proofs
from provisioning.station.records import SignedRecord, parse_record
from provisioning.station.rules import Rule, refused
from signer.device_objects.work_order import SignedWorkOrder
from signer.durable import sync_folder
from signer.signing_key import SigningKey

_ROWS_AT_ONCE = 256


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, mode 0700, that gets its name when all of it is durable, or is gone. Raises OutputError."""
    if os.path.lexists(path):
        raise OutputError(f"{path} exists already; remove it or choose another name")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.mkdir(mode=0o700)
        yield temporary
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; nothing was left behind") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary)


def copy_station(source: StationFolder, target: Path) -> None:
    """Copy what a station is: all of its files as checked, and the ledger as of now, into a folder to fill."""
    (target / BUNDLE_FOLDER).mkdir(mode=0o700)
    names = [CONFIG_FILE, *source.config.files]
    names += [f"{BUNDLE_FOLDER}/{path.name}" for path in source.bundle_paths()]
    for name in dict.fromkeys(names):
        _copy_file(source.path / name, target / name)
    file = LedgerFile(source.ledger_path)
    try:
        file.copy_to(target / LEDGER_FILE)
    finally:
        file.close()
    sync_folder(target / BUNDLE_FOLDER)


def add_births(
    ledger_path: Path, readers: Iterable[BirthsReader], order: SignedWorkOrder, evidence: Evidence, key: SigningKey
) -> int:
    """Add to a ledger what the token has evidence of and the ledger has not; returns how many records that were.

    Every record is verified, and must follow the one before. Raises PolicyViolation ST-20 when records are still
    missing, ST-22 when they end in another head, BR-….
    """
    file = LedgerFile(ledger_path)
    try:
        boards = Boards(order.order.order_id, order.digest.value, evidence.station, sub_quota(order, key.public_key))
        read_ledger(file, boards, key.public_key, 0)
        rows = [
            LedgerRow(signed.record.number, evidence.commit, signed.record.canonical, signed.signature)
            for signed in _missing(readers, order, boards, evidence, key)
        ]
        if boards.number < evidence.number:
            raise refused(
                Rule.LEDGER_BEHIND,
                f"with these files the ledger has {boards.number} of {evidence.number} records: give all later ones",
            )
        if boards.head != evidence.head:
            raise refused(Rule.LEDGER_DIFFERS, "these records are not those that the token has evidence of")
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            file.append(rows[start : start + _ROWS_AT_ONCE])
        return len(rows)
    finally:
        file.close()


def _missing(
    readers: Iterable[BirthsReader], order: SignedWorkOrder, boards: Boards, evidence: Evidence, key: SigningKey
) -> Iterator[SignedRecord]:
    for reader in readers:
        if reader.header.order.raw != order.raw or reader.header.station_key != key.public_key:
            raise PolicyViolation("BR-03", "a births file is of another order or station")
        for signed in reader.records():
            if boards.number < signed.record.number <= evidence.number:
                verify_proofs(signed, order, key.public_key)
                boards.take(signed.record)
                yield signed


def evidence_from_ledger(file: LedgerFile, store: EvidenceStore, order: SignedWorkOrder, key: SigningKey) -> Evidence:
    """Write evidence anew for a ledger that is ahead of it by more than a kill can explain (ST-21).

    Every signature in the ledger is verified first, and the evidence that there is must be of a part of it. Raises
    PolicyViolation ST-20, ST-22, ST-23, BR-….
    """
    order_id, station = order.order.order_id, key.public_key.spki_sha256
    found = newest_evidence(store.read(order_id), order_id, key.public_key)
    if found is None:
        raise refused(Rule.NO_EVIDENCE, "the token has no evidence of this order: it is another token, or was emptied")
    for row in file.rows():
        verify_proofs(SignedRecord(parse_record(row.record), row.signature), order, key.public_key)
    boards = Boards(order_id, order.digest.value, station, sub_quota(order, key.public_key))
    stock = read_ledger(file, boards, key.public_key, found.number)
    if stock.commit < found.commit:
        raise refused(Rule.LEDGER_BEHIND, "the ledger is behind the token's evidence; only missing records mend that")
    if stock.watched_head != found.head:
        raise refused(Rule.LEDGER_DIFFERS, "the token has evidence of another ledger")
    renewed = Evidence(order_id, station, stock.commit, boards.number, boards.begun, boards.activated, boards.head)
    store.replace(order_id, renewed.signed(key))
    return renewed


def _copy_file(source: Path, target: Path) -> None:
    data = source.read_bytes()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
