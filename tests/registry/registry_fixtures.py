"""An empty registry on each database, and a line of production in software: fixtures `url`, `registry`, `line`.

The databases are made once and emptied for each test, so that SQLAlchemy compiles each statement once.
"""

from __future__ import annotations

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
from tests.registry.world import close_databases

__all__ = ["kind", "line", "open_registries", "registry", "sqlite_template", "url", "url_of_kind"]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("registry") / "empty.sqlite"
    create_registry(parse_address(f"sqlite:///{path}"))
    return path.read_bytes()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def url_of_kind(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'registry.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.url(server.new_database())
    create_registry(parse_address(url))
    return url


@pytest.fixture
def url(url_of_kind: str, kind: str, sqlite_template: bytes, open_registries: dict[str, Registry]) -> str:
    """The address of an empty registry. PostgreSQL's is emptied, as only its superuser can, past the triggers."""
    if kind == "sqlite":
        path = Path(url_of_kind.removeprefix("sqlite:///"))
        path.write_bytes(sqlite_template)
        path.chmod(0o600)
        return url_of_kind
    emptied = "; ".join(f"DELETE FROM {table}" for table in metadata.tables)  # noqa: S608 (names of our own tables)
    with psycopg.connect(url_of_kind) as connection:
        connection.execute(f"SET session_replication_role = replica; SET synchronous_commit = off; {emptied}".encode())
    return url_of_kind


@pytest.fixture(scope="session")
def open_registries() -> Iterator[dict[str, Registry]]:
    """By address; opened when first asked for."""
    found: dict[str, Registry] = {}
    yield found
    for registry in found.values():
        registry.close()
    close_databases()


@pytest.fixture
def registry(url: str, open_registries: dict[str, Registry]) -> Registry:
    if url not in open_registries:
        open_registries[url] = open_registry(url)
    return open_registries[url]


@pytest.fixture(scope="session")
def line() -> Line:
    return Line.new(seed=1)
