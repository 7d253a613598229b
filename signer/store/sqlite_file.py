"""Opening the key store's file, the same for both ways of access, and what SQLite's errors mean to people.

Only the standard library: this is on the hot path of every signature.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signer.store.errors import (
    KeyStoreBusy,
    KeyStoreDamaged,
    KeyStoreError,
    KeyStoreForeign,
    KeyStoreMissing,
    KeyStoreOutdated,
    KeyStoreTooNew,
    KeyStoreUnsafe,
    KeyStoreUnwritable,
)
from signer.store.revisions import APPLICATION_ID, CURRENT_REVISION, KNOWN_REVISIONS

BUSY_TIMEOUT_SECONDS = 15.0
"""How long an access waits for another process; a commit takes about a millisecond."""

OLDEST_SQLITE = (3, 37, 0)
"""STRICT tables came with it."""

# EXTRA is FULL and a sync of the folder after the journal is unlinked; without that sync a commit can be undone by a
# power cut that follows it (docs/adr/0020). TRUSTED_SCHEMA=OFF and CELL_SIZE_CHECK are SQLite's advice for files that
# others may have touched. RECURSIVE_TRIGGERS makes REPLACE fire the triggers that forbid deletion.
_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA synchronous = EXTRA",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing key store of the current revision, in autocommit mode; the caller writes BEGIN and COMMIT.

    Raises KeyStoreMissing, KeyStoreUnsafe, KeyStoreForeign, KeyStoreOutdated, KeyStoreTooNew, KeyStoreBusy,
    KeyStoreUnwritable or KeyStoreDamaged.
    """
    connection = connect_any_revision(path)
    try:
        _require_current(revision_of(connection, path), path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_any_revision(path: Path) -> sqlite3.Connection:
    """As `connect`, for upgrades: the revision may be an old one."""
    _require_safe_file(path)
    with explained(path, "open"):
        connection = open_database(path)
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_database(path: Path) -> sqlite3.Connection:
    """Open an existing file without looking into it."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise KeyStoreError(f"the key store needs SQLite {needed} or newer; Python has {sqlite3.sqlite_version}")
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)


def set_pragmas(connection: sqlite3.Connection, path: Path) -> None:
    """The settings of every connection; each is per connection except the journal mode, which is in the file."""
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
        raise KeyStoreBusy(f"key store {path}: cannot leave write-ahead logging while another process has it open")


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise KeyStoreForeign(f"{path} is a database, but not a key store; check the path")
    set_pragmas(connection, path)


def _require_safe_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise KeyStoreMissing(f"there is no key store at {path}; check the path, or make one") from None
    except OSError as error:
        raise KeyStoreError(f"key store {path} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise KeyStoreForeign(f"{path} is not a file; check the path")
    if mode & stat.S_IWOTH:
        raise KeyStoreUnsafe(f"key store {path} can be changed by anyone on this machine; run: chmod o-w {path}")


def revision_of(connection: sqlite3.Connection, path: Path) -> str:
    """The revision written in the file."""
    with explained(path, "open"):
        rows = connection.execute("SELECT version_num FROM alembic_version LIMIT 2").fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], str):
        raise KeyStoreDamaged(f"key store {path} does not say its revision once; restore a backup")
    return str(rows[0][0])


def require_known(revision: str, path: Path) -> None:
    """Raise KeyStoreTooNew for a revision that this program has never heard of."""
    if revision not in KNOWN_REVISIONS:
        raise KeyStoreTooNew(
            f"key store {path} has schema {revision!r}, newer than this program's {CURRENT_REVISION}; "
            "use the newer Strongroom that wrote it"
        )


def _require_current(revision: str, path: Path) -> None:
    require_known(revision, path)
    if revision != CURRENT_REVISION:
        raise KeyStoreOutdated(
            f"key store {path} has schema {revision}, this program needs {CURRENT_REVISION}; "
            "upgrade it with `strongroom key upgrade-store`, which makes a backup first"
        )


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors into ours; `doing` is a verb ("open", "write to")."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path, doing) from error


def explain(error: sqlite3.Error, path: Path, doing: str) -> KeyStoreError:
    """The error of ours for one of SQLite's (result codes: the primary code is the low byte of the extended one)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    error_type, advice = _ADVICE.get(code, (KeyStoreError, str(error)))
    return error_type(f"cannot {doing} key store {path}: {advice} ({name}); nothing was changed")


_ADVICE: dict[int, tuple[type[KeyStoreError], str]] = {
    sqlite3.SQLITE_BUSY: (KeyStoreBusy, "another process has kept it locked; try again"),
    sqlite3.SQLITE_LOCKED: (KeyStoreBusy, "another statement has kept it locked; try again"),
    sqlite3.SQLITE_FULL: (KeyStoreUnwritable, "the disk is full; free some space"),
    sqlite3.SQLITE_READONLY: (KeyStoreUnwritable, "the file or its folder is read-only; check the permissions"),
    sqlite3.SQLITE_CANTOPEN: (KeyStoreUnwritable, "a file cannot be opened or made in its folder; check permissions"),
    sqlite3.SQLITE_PERM: (KeyStoreUnwritable, "permission was denied; check the permissions"),
    sqlite3.SQLITE_IOERR: (KeyStoreUnwritable, "reading or writing failed; check the disk, its space and its limits"),
    sqlite3.SQLITE_CORRUPT: (KeyStoreDamaged, "the file is damaged; restore a backup"),
    sqlite3.SQLITE_NOTADB: (KeyStoreForeign, "it is not a database, or its beginning is damaged; check the path"),
    sqlite3.SQLITE_TOOBIG: (KeyStoreError, "a value is too long"),
    sqlite3.SQLITE_CONSTRAINT: (KeyStoreError, "a rule of its schema forbids this"),
}
