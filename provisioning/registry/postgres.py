"""A registry in a PostgreSQL database: how it is connected to, what the server must promise, and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.registry.address import PostgresAddress
from provisioning.registry.errors import (
    RegistryBusy,
    RegistryError,
    RegistryUnreachable,
    RegistryUnsafe,
    RegistryUnwritable,
)

if TYPE_CHECKING:
    import psycopg

OLDEST_SERVER = 130000
"""PostgreSQL 13, as `server_version` counts."""

WRITER_LOCK = 0x5352_5247
"""The advisory lock that every writer of a registry takes: one import at a time."""

_CONNECT_TIMEOUT_SECONDS = 10
_SETTINGS = (
    "SET synchronous_commit = on",
    "SET lock_timeout = '60s'",
    "SET client_encoding = 'UTF8'",
    "SET TimeZone = 'UTC'",
)
_PROMISES = (
    ("fsync", "on", "a power cut could lose what was confirmed"),
    ("full_page_writes", "on", "a power cut could tear pages"),
    ("server_encoding", "UTF8", "texts could change"),
)


def connect(address: PostgresAddress) -> psycopg.Connection:
    """Connect and check what the server promises. Raises RegistryUnsafe, RegistryError or psycopg.Error."""
    import psycopg

    keywords = {"connect_timeout": str(_CONNECT_TIMEOUT_SECONDS), "application_name": "strongroom"}
    connection = psycopg.connect(**keywords | dict(address.keywords))  # type: ignore[arg-type]
    try:
        for setting in _SETTINGS:
            connection.execute(setting.encode("ascii"))
        if connection.info.server_version < OLDEST_SERVER:
            raise RegistryError(f"{address}: PostgreSQL 13 or newer is needed, not {connection.info.server_version}")
        for name, wanted, risk in _PROMISES:
            row = connection.execute(b"SELECT current_setting(%s)", (name,)).fetchone()
            if row != (wanted,):
                raise RegistryUnsafe(f"{address}: the server's {name} is not {wanted}, so that {risk}; set it so")
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def explain(error: Exception, doing: str, place: str) -> RegistryError:
    """The error of ours for one of libpq's or the server's (SQLSTATE, PostgreSQL manual, appendix A)."""
    state = getattr(error, "sqlstate", None) or ""
    said = " ".join(str(error).split())[:300]
    error_type, advice = _advice(state, said)
    return error_type(f"cannot {doing} {place}: {advice}{f' ({state})' if state else ''}; nothing was changed")


def _advice(state: str, said: str) -> tuple[type[RegistryError], str]:
    for prefix, error_type, advice in _ADVICE:
        if state.startswith(prefix):
            return error_type, f"{advice}: {said}" if advice else said
    return (RegistryUnreachable, f"the server was not reached: {said}") if not state else (RegistryError, said)


_ADVICE: tuple[tuple[str, type[RegistryError], str], ...] = (
    ("08", RegistryUnreachable, "the connection failed"),
    ("57P03", RegistryUnreachable, "the server is starting or stopping; try again"),
    ("57", RegistryUnreachable, "the server stopped this"),
    ("55P03", RegistryBusy, "another process has kept it locked; try again"),
    ("40", RegistryBusy, "another transaction was in the way; try again"),
    ("53", RegistryUnwritable, "the server has no room or memory"),
    ("25006", RegistryUnwritable, "the server takes no changes"),
    ("42501", RegistryUnwritable, "the server does not permit it"),
    ("23", RegistryError, "a rule of its schema forbids this"),
)
