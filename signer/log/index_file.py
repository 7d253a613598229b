"""The index: one SQLite file with every entry and checkpoint. A commit here is what makes an entry durable.

Standard library only, and the settings of the key store (docs/adr/0020). Errors of SQLite become AuditError.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pki.errors import AuditError

INDEX_FILE = "index.sqlite"
BUSY_TIMEOUT_SECONDS = 15.0
_APPLICATION_ID = 0x53524C47  # "SRLG"
_FORMAT = 1
_OWNER_ONLY = 0o600
_CHUNK = 1024

_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA synchronous = EXTRA",
)
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
CREATE TABLE log (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL) STRICT;
CREATE TABLE entries (
    number INTEGER PRIMARY KEY CHECK (number >= 0), at TEXT NOT NULL, entry BLOB NOT NULL
) STRICT;
CREATE TABLE names (
    name TEXT NOT NULL, value TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (name, value, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY CHECK (size >= 0), note BLOB NOT NULL) STRICT;
CREATE TRIGGER log_stays BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the origin never changes'); END;
CREATE TRIGGER log_remains BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the origin never changes'); END;
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER checkpoints_remain BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints stay'); END;
"""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process has kept it locked; try again",
    sqlite3.SQLITE_LOCKED: "another statement has kept it locked; try again",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only; check the permissions",
    sqlite3.SQLITE_CANTOPEN: "a file cannot be opened or made in its folder; check the permissions",
    sqlite3.SQLITE_PERM: "permission was denied; check the permissions",
    sqlite3.SQLITE_IOERR: "reading or writing failed; check the disk, its space and its limits",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; `strongroom audit rebuild`, or restore a backup",
    sqlite3.SQLITE_NOTADB: "it is not a database, or its beginning is damaged; `strongroom audit rebuild`",
}

Row = tuple[int, str, bytes]
"""Of an entry: number, time, bytes."""


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors into AuditError; `doing` is a verb ("open", "write to")."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        advice = _ADVICE.get(code, str(error))
        raise AuditError(f"cannot {doing} the audit log {path}: {advice} ({name}); nothing was released") from error


def create_index(path: Path, origin: str) -> None:
    """Make an empty index, whole or not at all. Raises OutputError when there is a file already."""
    from signer.new_file import NewFile

    with NewFile(path, _OWNER_ONLY) as out, closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute("INSERT INTO log VALUES (1, ?)", (origin,))
        out.write_at(0, connection.serialize())
        out.publish()


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing index, in autocommit mode, for any thread (one at a time). Raises AuditError."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AuditError(
            f"there is no index of the audit log at {path} ({error.strerror}); `strongroom audit init` makes a log, "
            "`strongroom audit rebuild` makes a lost index again from the tiles"
        ) from None
    if not stat.S_ISREG(mode) or mode & stat.S_IWOTH:
        raise AuditError(f"{path} is no regular file, or anyone may change it; check what it is, and: chmod o-w {path}")
    with explained(path, "open"):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if marks != [_APPLICATION_ID, _FORMAT]:
        raise AuditError(f"{path} is a database, but no index of an audit log of this version; check the path")
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
        raise AuditError(f"the audit log {path} cannot leave write-ahead logging while another process has it open")


# Reading and writing. Callers hold the log's mutex, and wrap these in `explained`.


def origin(connection: sqlite3.Connection) -> str:
    """The log's origin."""
    return str(connection.execute("SELECT origin FROM log").fetchone()[0])


def newest(connection: sqlite3.Connection) -> tuple[int, str | None]:
    """How many entries there are, and the time of the newest."""
    row = connection.execute("SELECT number, at FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    return (0, None) if row is None else (row[0] + 1, row[1])


def insert(connection: sqlite3.Connection, rows: Sequence[Row], names: Iterable[tuple[str, str, int]]) -> None:
    """Add entries; numbers are without gaps by the caller's care, and unique by the table's."""
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
    connection.executemany("INSERT OR IGNORE INTO names VALUES (?, ?, ?)", names)


def entries(connection: sqlite3.Connection, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of entries `start` to before `stop`. Raises AuditError for a gap, which no program of ours makes."""
    for low in range(start, stop, _CHUNK):
        high = min(low + _CHUNK, stop)
        rows = connection.execute(
            "SELECT number, entry FROM entries WHERE number >= ? AND number < ? ORDER BY number", (low, high)
        ).fetchall()
        if [row[0] for row in rows] != list(range(low, high)):
            raise AuditError(f"the index of the audit log has not all entries from {low} to {high}; restore a backup")
        yield from (row[1] for row in rows)


def numbers_by_name(connection: sqlite3.Connection, name: str, value: str, limit: int) -> list[int]:
    """Entries that have the value under the name, in order; at most `limit`."""
    rows = connection.execute(
        "SELECT number FROM names WHERE name = ? AND value = ? ORDER BY number LIMIT ?", (name, value, limit)
    )
    return [row[0] for row in rows]


def newest_checkpoint(connection: sqlite3.Connection) -> bytes | None:
    """The note of the newest checkpoint."""
    row: Any = connection.execute("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    return None if row is None else bytes(row[0])


def checkpoint_of(connection: sqlite3.Connection, size: int) -> bytes | None:
    """The note of the checkpoint over `size` entries, if one was signed."""
    row: Any = connection.execute("SELECT note FROM checkpoints WHERE size = ?", (size,)).fetchone()
    return None if row is None else bytes(row[0])


def put_checkpoint(connection: sqlite3.Connection, size: int, note: bytes) -> None:
    """Record a checkpoint, or the same one with more signatures."""
    connection.execute(
        "INSERT INTO checkpoints VALUES (?, ?) ON CONFLICT (size) DO UPDATE SET note = excluded.note", (size, note)
    )
