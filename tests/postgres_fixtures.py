"""A real PostgreSQL for tests, from Debian's package: started once, on a unix socket only, stopped afterwards.

A folder of tests gets it by writing in its conftest.py:

    from tests.postgres_fixtures import *  # noqa: F403

Fixtures: `postgres_server` (see `PostgresServer`), for the whole run. `make setup` installs it; where it is missing the
tests fail, they are never skipped. The role's password is in a file that PGPASSFILE names, as users have it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

__all__ = ["PostgresServer", "postgres_server"]

BINARIES = Path("/usr/lib/postgresql/15/bin")
ROLE = "strongroom"
_TIME_LIMIT_SECONDS = 60
_SETTINGS = "\n".join(
    (
        "listen_addresses = ''",
        "max_connections = 40",
        "shared_buffers = 64MB",
        "logging_collector = off",
        "autovacuum = off",
        "",
    )
)


@dataclass
class PostgresServer:
    """A running server. `folder` has its socket, its data and the password file."""

    folder: Path
    numbers: Iterator[int]

    @property
    def password_file(self) -> Path:
        return self.folder / "pgpass"

    def psql(self, statement: str, database: str = "postgres") -> str:
        """One statement by the stock client, as a program of its own."""
        done = subprocess.run(
            [
                *(BINARIES / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-h", str(self.folder), "-U", ROLE, "-d", database, "-c", statement),
            ],
            env={**os.environ, "PGPASSFILE": str(self.password_file)},
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_SECONDS,
            check=True,
        )
        return done.stdout

    def new_database(self, template: str = "template0") -> str:
        """The name of a new database of one test."""
        name = f"registry_{next(self.numbers)}"
        self.psql(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return name

    def url(self, database: str) -> str:
        """The address of a database, as Strongroom takes it."""
        return f"postgresql://{ROLE}@/{database}?host={self.folder}"


def _account() -> str | None:
    """Whom the server runs as: it refuses root."""
    return "postgres" if os.getuid() == 0 else None


def _run(*command: str | Path) -> None:
    subprocess.run(
        command,
        user=_account(),
        group=_account(),
        extra_groups=[] if _account() else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_TIME_LIMIT_SECONDS,
        check=True,
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    assert (BINARIES / "initdb").exists(), "PostgreSQL is missing: `make setup` installs Debian's postgresql"
    folder = Path(tempfile.mkdtemp(prefix="srpg-"))
    server = PostgresServer(folder, count(1))
    password = secrets.token_hex(16)
    server.password_file.write_text(f"*:*:*:{ROLE}:{password}\n", encoding="ascii")
    server.password_file.chmod(0o600)
    initial = folder / "initial"
    initial.write_text(password + "\n", encoding="ascii")
    account = _account()
    if account is not None:
        for path in (folder, initial):
            shutil.chown(path, account, account)
    data = folder / "data"
    _run(BINARIES / "initdb", "-D", data, "-U", ROLE, "-A", "scram-sha-256", "--pwfile", initial, "-E", "UTF8", "-N")
    initial.unlink()
    with (data / "postgresql.conf").open("a", encoding="ascii") as stream:
        stream.write(_SETTINGS)
    try:
        _run(BINARIES / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", f"-k {folder}", "start")
        before = os.environ.get("PGPASSFILE")
        os.environ["PGPASSFILE"] = str(server.password_file)
        yield server
        if before is None:
            del os.environ["PGPASSFILE"]
        else:
            os.environ["PGPASSFILE"] = before
    finally:
        if (data / "postmaster.pid").exists():
            _run(BINARIES / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
