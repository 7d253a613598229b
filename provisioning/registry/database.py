"""Transactions on either database, the same for everything above: one reader's view, one writer at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from provisioning.registry import postgres, sqlite_file
from provisioning.registry.address import RegistryAddress, SqliteAddress
from provisioning.registry.errors import (
    RegistryBusy,
    RegistryDamaged,
    RegistryError,
    RegistryForeign,
    RegistryMissing,
    RegistryOutdated,
    RegistryTooNew,
)
from provisioning.registry.revisions import CURRENT_REVISION, KNOWN_REVISIONS

_BEGIN = "strongroom_begin"
_POOL_SIZE = 4
_POOL_TIMEOUT_SECONDS = 60.0


class Database:
    """One registry's database. Connections to a file live as long as their transaction; a server's are kept."""

    def __init__(self, address: RegistryAddress) -> None:
        self.address = address
        self.place = f"registry {address.path if isinstance(address, SqliteAddress) else address}"
        self._engine = _sqlite_engine(address) if isinstance(address, SqliteAddress) else _postgres_engine(address)

    @property
    def is_sqlite(self) -> bool:
        """Which of the two it is."""
        return isinstance(self.address, SqliteAddress)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view, however long it is read. Errors are RegistryError."""
        options: dict[str, Any] = (
            {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        with (
            self._explained("read"),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, after every other writer's: committed durably at its end, or nothing of it."""
        with self._explained("write to"), self._writer() as connection, connection.begin():
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": postgres.WRITER_LOCK})
            yield connection

    def _writer(self) -> Connection:
        return self._engine.connect().execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self.explain(error, doing) from error
        except PoolTimeout as error:
            raise RegistryBusy(f"cannot {doing} {self.place}: all its connections are in use; try again") from error
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, doing, self.place) from error

    def explain(self, error: DBAPIError, doing: str) -> RegistryError:
        """The error of ours for a driver's."""
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            return sqlite_file.explain(cause, doing, self.place)
        return postgres.explain(cause if isinstance(cause, Exception) else error, doing, self.place)

    def require_current(self) -> None:
        """Raise RegistryMissing, RegistryForeign, RegistryOutdated or RegistryTooNew unless this program can use it."""
        with self.reading() as connection:
            revision = revision_of(connection, self.place)
        if revision != CURRENT_REVISION:
            raise RegistryOutdated(
                f"{self.place} has schema {revision}, this program needs {CURRENT_REVISION}; "
                "make a backup, then upgrade it with `strongroom registry upgrade`"
            )

    def dispose(self) -> None:
        """Let go of it."""
        self._engine.dispose()


def revision_of(connection: Connection, place: str) -> str:
    """The revision written in the database; one that this program has never heard of raises RegistryTooNew."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        raise RegistryMissing(f"there is no registry in {place}; make one with `strongroom registry init`")
    try:
        rows = connection.execute(text("SELECT version_num FROM alembic_version LIMIT 2")).fetchall()
    except SQLAlchemyError as error:
        raise RegistryForeign(f"{place} is no registry: its `alembic_version` is of another form") from error
    if len(rows) != 1:
        raise RegistryDamaged(f"{place} does not say its revision once; restore a backup")
    revision = str(rows[0][0])
    if not revision.startswith("registry_"):
        raise RegistryForeign(f"{place} belongs to another program (its schema is {revision[:40]!r})")
    if revision not in KNOWN_REVISIONS:
        raise RegistryTooNew(
            f"{place} has schema {revision}, newer than this program's {CURRENT_REVISION}; use the newer Strongroom"
        )
    return revision


def _sqlite_engine(address: SqliteAddress) -> Engine:
    """Python's driver opens no transaction by itself; ours begin as they are told."""
    engine = create_engine("sqlite://", creator=lambda: sqlite_file.connect(address.path), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _postgres_engine(address: RegistryAddress) -> Engine:
    assert not isinstance(address, SqliteAddress)  # noqa: S101 (the caller has looked)
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: postgres.connect(address),
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=_POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
    )
