"""Making and upgrading a registry. Alembic is imported here and nowhere else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from provisioning.registry.address import RegistryAddress, SqliteAddress
from provisioning.registry.database import Database, revision_of
from provisioning.registry.errors import RegistryExists
from provisioning.registry.revisions import APPLICATION_ID, CURRENT_REVISION
from signer.new_file import NewFile

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
_OWNER_ONLY = 0o600


def create_registry(address: RegistryAddress) -> None:
    """Make an empty registry: a new file for its owner only, or the tables in an empty database.

    Raises OutputError when there is a file already, RegistryExists when there are tables of these names.
    """
    if isinstance(address, SqliteAddress):
        _create_file(address.path)
        return
    database = Database(address)
    try:
        with database.writing() as connection:
            if connection.dialect.has_table(connection, "alembic_version"):
                revision_of(connection, database.place)
                raise RegistryExists(f"there is a registry in {database.place} already; nothing was changed")
            run_migrations(connection, CURRENT_REVISION)
    finally:
        database.dispose()


def upgrade_registry(address: RegistryAddress) -> tuple[str, str]:
    """Bring an older schema up to date, all of it or nothing. Gives the revisions before and after."""
    database = Database(address)
    try:
        with database.writing() as connection:
            before = revision_of(connection, database.place)
            if before != CURRENT_REVISION:
                run_migrations(connection, CURRENT_REVISION)
            return before, CURRENT_REVISION
    finally:
        database.dispose()


def _create_file(path: Path) -> None:
    with NewFile(path, _OWNER_ONLY) as out, closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        memory.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        engine = create_engine("sqlite://", creator=lambda: memory, poolclass=StaticPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            run_migrations(connection, CURRENT_REVISION)
            connection.commit()
            out.write_at(0, memory.serialize())
        out.publish()


def migrations_config() -> Config:
    """The Alembic configuration of the packaged migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def run_migrations(connection: Connection, revision: str) -> None:
    """Run the revisions inside the caller's transaction."""
    from alembic import command

    config = migrations_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
