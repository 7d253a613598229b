"""An empty registry on each database, and a line of production in software: fixtures `url`, `registry`, `line`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from provisioning.registry.address import parse_address
from provisioning.registry.maintenance import create_registry
from provisioning.registry.registry import Registry, open_registry
from provisioning.registry.tables import metadata
from tests.postgres_fixtures import PostgresServer
from tests.registry.production_line import Line

__all__ = ["line", "postgres_url", "registry", "sqlite_template", "url"]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("registry") / "empty.sqlite"
    create_registry(parse_address(f"sqlite:///{path}"))
    return path.read_bytes()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    url = postgres_server.url(postgres_server.new_database())
    create_registry(parse_address(url))
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty registry. PostgreSQL's is emptied, as only its superuser can, past the triggers."""
    if request.param == "sqlite":
        path = tmp_path / "registry.sqlite"
        path.write_bytes(request.getfixturevalue("sqlite_template"))
        path.chmod(0o600)
        return f"sqlite:///{path}"
    found = str(request.getfixturevalue("postgres_url"))
    with psycopg.connect(found) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in metadata.tables:
            connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 (names of our own tables)
    return found


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with open_registry(url) as opened:
        yield opened


@pytest.fixture(scope="session")
def line() -> Line:
    return Line.new(seed=os.getpid() & 0)
