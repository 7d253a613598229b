"""A registry in one SQLite file: how it is opened (as docs/adr/0020 found for the key store), and its errors."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

from provisioning.registry.errors import (
    RegistryBusy,
    RegistryDamaged,
    RegistryError,
    RegistryForeign,
    RegistryMissing,
    RegistryUnsafe,
    RegistryUnwritable,
)
from provisioning.registry.revisions import APPLICATION_ID

BUSY_TIMEOUT_SECONDS = 60.0
"""How long an access waits for another process: an import of 100,000 births writes for some ten seconds."""

_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA synchronous = EXTRA",
    # 64 MiB of pages: a large import is written once, at its end.
    "PRAGMA cache_size = -65536",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing registry of any revision, in autocommit mode. Raises RegistryError or sqlite3.Error."""
    _require_safe_file(path)
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
            raise RegistryForeign(f"{path} is a database, but no registry; check the address")
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
            raise RegistryBusy(f"registry {path}: cannot leave write-ahead logging while another process has it open")
    except BaseException:
        connection.close()
        raise
    return connection


def _require_safe_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise RegistryMissing(
            f"there is no registry at {path}; check the address, or make one with `strongroom registry init`"
        ) from None
    except OSError as error:
        raise RegistryError(f"registry {path} cannot be opened: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise RegistryForeign(f"{path} is not a file; check the address")
    if mode & stat.S_IWOTH:
        raise RegistryUnsafe(f"registry {path} can be changed by anyone on this machine; run: chmod o-w {path}")


def explain(error: sqlite3.Error, doing: str, place: str) -> RegistryError:
    """The error of ours for one of SQLite's (the primary result code is the low byte of the extended one)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    error_type, advice = _ADVICE.get(code, (RegistryError, " ".join(str(error).split())))
    if code == sqlite3.SQLITE_CONSTRAINT:
        advice = f"{advice} ({' '.join(str(error).split())})"
    return error_type(f"cannot {doing} {place}: {advice} ({name}); nothing was changed")


_ADVICE: dict[int, tuple[type[RegistryError], str]] = {
    sqlite3.SQLITE_BUSY: (RegistryBusy, "another process has kept it locked; try again"),
    sqlite3.SQLITE_LOCKED: (RegistryBusy, "another statement has kept it locked; try again"),
    sqlite3.SQLITE_FULL: (RegistryUnwritable, "the disk is full; free some space"),
    sqlite3.SQLITE_READONLY: (RegistryUnwritable, "the file or its folder is read-only; check the permissions"),
    sqlite3.SQLITE_CANTOPEN: (RegistryUnwritable, "a file cannot be opened or made in its folder; check permissions"),
    sqlite3.SQLITE_PERM: (RegistryUnwritable, "permission was denied; check the permissions"),
    sqlite3.SQLITE_IOERR: (RegistryUnwritable, "reading or writing failed; check the disk, its space and its limits"),
    sqlite3.SQLITE_CORRUPT: (RegistryDamaged, "the file is damaged; restore a backup"),
    sqlite3.SQLITE_NOTADB: (RegistryForeign, "it is not a database, or its beginning is damaged; check the address"),
    sqlite3.SQLITE_TOOBIG: (RegistryError, "a value is too long"),
    sqlite3.SQLITE_CONSTRAINT: (RegistryError, "a rule of its schema forbids this"),
}
