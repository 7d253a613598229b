"""Making, upgrading, checking and backing up a key store. Alembic is imported where a schema is made or changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from signer.new_file import NewFile
from signer.store.check import problems_in
from signer.store.errors import KeyStoreDamaged
from signer.store.revisions import APPLICATION_ID, CURRENT_REVISION
from signer.store.sqlite_file import connect_any_revision, explained, require_known, revision_of

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
_OWNER_ONLY = 0o600


def create_key_store(path: Path) -> None:
    """Make an empty key store, readable by its owner only. Raises OutputError when there is a file already."""
    with NewFile(path, _OWNER_ONLY) as out, closing(_in_memory()) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _run_migrations(connection, CURRENT_REVISION)
        out.write_at(0, connection.serialize())
        out.publish()


def upgrade_key_store(path: Path, backup: Path) -> tuple[str, str]:
    """Bring an older schema up to date, all of it or nothing, after writing a backup to a new file.

    Gives the revisions before and after; when they are equal, nothing was done and no backup was written.
    """
    with closing(connect_any_revision(path)) as connection:
        before = revision_of(connection, path)
        require_known(before, path)
        if before == CURRENT_REVISION:
            return before, before
        backup_key_store(path, backup)
        with explained(path, "upgrade"):
            _run_migrations(connection, CURRENT_REVISION)
        return before, revision_of(connection, path)


def backup_key_store(path: Path, out: Path) -> None:
    """Write a copy as of one moment to the new file `out`; works while others use the store.

    The copy is checked as by `check_key_store` before it is written. Raises OutputError when `out` exists or cannot be
    written, KeyStoreDamaged when the check fails, and the errors of opening.
    """
    with NewFile(out, _OWNER_ONLY) as new, closing(_in_memory()) as copy:
        with closing(connect_any_revision(path)) as source, explained(path, "back up"):
            source.backup(copy)
        _require_sound(copy, path)
        new.write_at(0, copy.serialize())
        new.publish()


def check_key_store(path: Path) -> None:
    """Read everything and raise KeyStoreDamaged with the first contradiction; any known revision will do."""
    with closing(connect_any_revision(path)) as connection:
        _require_sound(connection, path)


def _require_sound(connection: sqlite3.Connection, path: Path) -> None:
    require_known(revision_of(connection, path), path)
    with explained(path, "check"):
        problems = problems_in(connection)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise KeyStoreDamaged(f"key store {path} is damaged: {problems[0]}{more}; restore a backup")


def migrations_config() -> Config:
    """The Alembic configuration of the packaged migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def _run_migrations(connection: sqlite3.Connection, revision: str) -> None:
    """Run the revisions on an open connection, in one transaction; raises sqlite3.Error."""
    from alembic import command
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    config = migrations_config()
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    try:
        with engine.connect() as alembic_connection:
            alembic_connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = alembic_connection
            command.upgrade(config, revision)
            alembic_connection.commit()
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from error
        raise
