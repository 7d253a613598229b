"""The ledger's file: one SQLite table of signed birth records that only grows (docs/adr/0020, docs/adr/0092)."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from provisioning.station.rules import Rule, refused

LEDGER_FILE = "ledger.sqlite"
BUSY_TIMEOUT_SECONDS = 15.0
_APPLICATION_ID = 0x53524C42  # "SRLB"
_FORMAT = 1
_OWNER_ONLY = 0o600

_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA synchronous = EXTRA",
)
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
CREATE TABLE records (
    number INTEGER PRIMARY KEY CHECK (number >= 1),
    commit_number INTEGER NOT NULL CHECK (commit_number >= 1),
    record BLOB NOT NULL,
    signature BLOB NOT NULL CHECK (length(signature) = 64)
) STRICT;
CREATE TRIGGER records_stay BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records never change'); END;
CREATE TRIGGER records_remain BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'records stay'); END;
"""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has kept it locked",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only; check the permissions",
    sqlite3.SQLITE_CANTOPEN: "a file cannot be opened or made in its folder; check the permissions",
    sqlite3.SQLITE_IOERR: "reading or writing failed; check the disk",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore a backup",
    sqlite3.SQLITE_NOTADB: "it is not a database, or its beginning is damaged; restore a backup",
    sqlite3.SQLITE_CONSTRAINT: "a rule of its schema forbids this",
}


class LedgerRow(msgspec.Struct, frozen=True):
    """A record as it stands in the file: canonical JSON, signature, and the transaction that brought it."""

    number: int
    commit: int
    record: bytes
    signature: bytes


def create_ledger(path: Path) -> None:
    """Make an empty ledger, whole or not at all. Raises OutputError when there is a file already."""
    from signer.new_file import NewFile

    with NewFile(path, _OWNER_ONLY) as out, closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        out.write_at(0, connection.serialize())
        out.publish()


class LedgerFile:
    """An open ledger, in autocommit mode, for any thread. Raises PolicyViolation ST-24."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        _require_safe(path)
        with self._explained("open"):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self) -> None:
        run = self._connection.execute
        marks = [run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if marks != [_APPLICATION_ID, _FORMAT]:
            raise refused(Rule.LEDGER_DAMAGED, f"{self._path} is no ledger of this version; check the path")
        for pragma in _PRAGMAS:
            run(pragma)
        # A rollback journal that is overwritten with zeros instead of unlinked: as durable, and no entry of the folder
        # changes at each commit, which is what costs time (docs/adr/0092).
        if run("PRAGMA journal_mode = PERSIST").fetchone() != ("persist",):
            raise refused(Rule.LEDGER_DAMAGED, f"{self._path} cannot leave write-ahead logging; end what has it open")

    def append(self, rows: Sequence[LedgerRow]) -> None:
        """Add rows in one transaction; when this returns they survive a power cut."""
        with self._lock, self._explained("write to"):
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO records VALUES (?, ?, ?, ?)",
                    [(row.number, row.commit, row.record, row.signature) for row in rows],
                )
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    run("ROLLBACK")
                raise

    def rows(self, start: int = 1) -> Iterator[LedgerRow]:
        """Every row from number `start` on, in order; nothing may be written meanwhile."""
        with self._explained("read"):
            cursor = self._connection.execute(
                "SELECT number, commit_number, record, signature FROM records WHERE number >= ? ORDER BY number",
                (start,),
            )
            for number, commit, record, signature in cursor:
                yield LedgerRow(number, commit, bytes(record), bytes(signature))

    def record(self, number: int) -> bytes:
        """The canonical JSON of one record."""
        with self._lock, self._explained("read"):
            row = self._connection.execute("SELECT record FROM records WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise refused(Rule.LEDGER_DAMAGED, f"{self._path} has no record {number}; restore a backup")
        return bytes(row[0])

    def copy_to(self, path: Path) -> None:
        """A copy of the whole file as of now, synced; the file must not exist, its folder is the caller's to sync."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _OWNER_ONLY)
        try:
            with self._lock, self._explained("copy"), closing(sqlite3.connect(path)) as target:
                self._connection.backup(target)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; twice does nothing."""
        self._connection.close()

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error))
            raise refused(
                Rule.LEDGER_DAMAGED, f"cannot {doing} the ledger {self._path}: {advice}; nothing was sent to a device"
            ) from error


def _require_safe(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise refused(
            Rule.LEDGER_DAMAGED, f"the ledger {path}: {error.strerror}; restore the station's backup"
        ) from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise refused(Rule.LEDGER_DAMAGED, f"the ledger {path} is no file of the station's alone; chmod 600 {path}")
