"""The schema: one line of revisions, one set of tables, rows that stay; and what is refused at opening."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select

from pki.errors import OutputError
from provisioning.registry import errors, revisions
from provisioning.registry.address import parse_address
from provisioning.registry.maintenance import create_registry, migrations_config, upgrade_registry
from provisioning.registry.queries import DeviceQuery
from provisioning.registry.registry import Registry, open_registry
from provisioning.registry.tables import devices, metadata
from tests.postgres_fixtures import PostgresServer
from tests.registry.production_line import ORDER, PRODUCT, RMA, Board, Key, Line, Station
from tests.registry.test_grants import boards, grant_file, take_file
from tests.registry.test_lives import LATER, NONCE, service_digest, service_order
from tests.registry.world import WHO, database_of, new_station, rows_of, take

EVIDENCE = {
    *("imports", "ca_certificates", "lots", "orders", "birth_records", "activations", "statuses", "lifecycles"),
    *("firmware", "trust_bundles", "services", "grant_batches", "grants"),
}


def execute(url: str, *statements: str) -> None:
    """As another program would: without Strongroom."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("PRAGMA recursive_triggers = ON")
            for statement in statements:
                connection.execute(statement)
        return
    with psycopg.connect(url) as server:
        for statement in statements:
            server.execute(statement.encode())


# The revisions


def test_there_is_one_line_of_revisions() -> None:
    script = ScriptDirectory.from_config(migrations_config())
    found = [revision.revision for revision in script.walk_revisions("base", "heads")]
    assert tuple(reversed(found)) == revisions.KNOWN_REVISIONS
    assert script.get_heads() == [revisions.CURRENT_REVISION]
    with pytest.raises(NotImplementedError):
        script.get_revision(revisions.CURRENT_REVISION).module.downgrade()


def test_the_model_is_what_the_migrations_make(url: str) -> None:
    with database_of(url).reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_both_databases_have_the_same_columns(url: str) -> None:
    """Names, and which may be empty; the model is the third witness."""
    with database_of(url).reading() as connection:
        inspector = inspect(connection)
        assert set(inspector.get_table_names()) == {*metadata.tables, "alembic_version"}
        for name, table in metadata.tables.items():
            found = [(column["name"], column["nullable"]) for column in inspector.get_columns(name)]
            assert found == [(column.name, column.nullable) for column in table.c], name


def test_upgrading_a_current_registry_does_nothing(registry: Registry, url: str) -> None:
    before = rows_of(url)
    assert upgrade_registry(parse_address(url)) == (revisions.CURRENT_REVISION, revisions.CURRENT_REVISION)
    assert rows_of(url) == before


def test_a_registry_is_made_once(registry: Registry, url: str) -> None:
    with pytest.raises((OutputError, errors.RegistryExists)):
        create_registry(parse_address(url))


@pytest.fixture
def revision_changed(url: str) -> Iterator[str]:
    yield url
    execute(url, "DELETE FROM alembic_version", f"INSERT INTO alembic_version VALUES ('{revisions.CURRENT_REVISION}')")  # noqa: S608


@pytest.mark.parametrize(
    ("revision", "error"),
    [("registry_9999", errors.RegistryTooNew), ("0003", errors.RegistryForeign), (None, errors.RegistryDamaged)],
)
def test_another_revision_is_refused(revision_changed: str, revision: str | None, error: type[Exception]) -> None:
    changes = ["DELETE FROM alembic_version"]
    if revision is not None:
        changes.append(f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608
    execute(revision_changed, *changes)
    with pytest.raises(error):
        open_registry(revision_changed)
    with pytest.raises(error):
        upgrade_registry(parse_address(revision_changed))


# The rows


def populated(registry: Registry, url: str, line: Line, folder: Path) -> Station:
    """Something in every table."""
    station = new_station(line, inject=1, group_public_key=Key.new().point)
    wrapped = Key.new().point + b"\x18\0" + bytes(6) + b"w" * 24 + bytes(128)
    for number in (1, 2):
        board = Board.new(number)
        station.begin(board, keys={"injected": 1, "group_key": wrapped})
        station.activate(board)
    take(registry, station.file(), line.trust)
    take_file(registry, grant_file(line, folder / "g.srg", boards(station)), line.trust)
    order = service_order(line, station.boards[1], 1)
    receipt = station.boards[1].receipt(service_digest(order), NONCE, RMA)
    registry.take_service(order, receipt, LATER, who=WHO, trust=line.trust)
    assert all(rows_of(url).values())
    return station


def test_rows_stay_whatever_program_writes(registry: Registry, url: str, line: Line, tmp_path: Path) -> None:
    populated(registry, url, line, tmp_path)
    before = rows_of(url)
    for name, table in metadata.tables.items():
        verbs = [f"DELETE FROM {name}"]  # noqa: S608 (names of our own tables)
        if name in EVIDENCE:
            column = next(iter(table.c)).name
            verbs.append(f"UPDATE {name} SET {column} = {column}")  # noqa: S608
        if url.startswith("postgres"):
            verbs.append(f"TRUNCATE {name} CASCADE")
        for verb in verbs:
            with pytest.raises((sqlite3.IntegrityError, psycopg.errors.RestrictViolation), match="keeps its rows"):
                execute(url, verb)
    assert rows_of(url) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE devices SET lifecycle = 'new'",
        "UPDATE devices SET uid = 'ABCDEF00000000000000000000000000'",
        "UPDATE devices SET uid = 'short'",
        "UPDATE devices SET heard_at = '2026-11-27'",
        "UPDATE devices SET trust_bundle_version = 0",
        "UPDATE devices SET lot = 'unknown'",
        "UPDATE devices SET uid = (SELECT max(uid) FROM devices)",
        "UPDATE births SET sequence = 1",
        "UPDATE ledgers SET last_sequence = sub_quota + 1",
        "UPDATE births SET state = 'begun', sequence = NULL",
    ],
)
def test_what_makes_no_sense_is_refused_by_the_schema(
    registry: Registry, url: str, line: Line, tmp_path: Path, change: str
) -> None:
    populated(registry, url, line, tmp_path)
    with pytest.raises((sqlite3.IntegrityError, psycopg.errors.IntegrityError)):
        execute(url, "PRAGMA foreign_keys = ON" if url.startswith("sqlite") else "SELECT 1", change)


# Opening


def test_a_file_is_opened_durably_and_closed_to_others(registry: Registry, url: str, kind: str) -> None:
    if kind == "postgresql":
        return
    path = Path(url.removeprefix("sqlite:///"))
    from provisioning.registry.sqlite_file import connect

    with closing(connect(path)) as connection:
        for name, value in (("journal_mode", "delete"), ("synchronous", 3), ("foreign_keys", 1), ("trusted_schema", 0)):
            assert connection.execute(f"PRAGMA {name}").fetchone() == (value,), "see docs/adr/0020"
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
    path.chmod(0o666)
    with pytest.raises(errors.RegistryUnsafe, match="chmod o-w"):
        open_registry(url)


def test_a_new_file_is_its_owners(tmp_path: Path) -> None:
    create_registry(parse_address(f"sqlite:///{tmp_path / 'r.sqlite'}"))
    assert (tmp_path / "r.sqlite").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["r.sqlite"]


def test_what_is_no_registry_is_refused(tmp_path: Path) -> None:
    for name, content, error in (
        ("none", None, errors.RegistryMissing),
        ("text", b"not a database, and long enough to be looked into" * 50, errors.RegistryForeign),
        ("folder", None, errors.RegistryForeign),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        if name == "folder":
            path.mkdir()
        with pytest.raises(error):
            open_registry(f"sqlite:///{path}")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("CREATE TABLE keys (id)")
    with pytest.raises(errors.RegistryForeign):
        open_registry(f"sqlite:///{tmp_path / 'other.sqlite'}")


def test_a_server_that_is_not_there_or_not_ours_is_told(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with pytest.raises(errors.RegistryUnreachable):
        open_registry(f"postgresql://strongroom@/registry?host={tmp_path}")
    with pytest.raises(errors.RegistryUnreachable, match="nowhere"):
        open_registry(postgres_server.url("nowhere"))
    with pytest.raises(errors.RegistryMissing, match="registry init"):
        open_registry(postgres_server.url("postgres"))
    with pytest.raises(errors.RegistryUnreachable):
        open_registry(postgres_server.url("postgres").replace("strongroom@", "stranger@"))


def test_a_password_is_read_from_the_password_file_alone(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server demands one (scram-sha-256)."""
    empty = tmp_path / "pgpass"
    empty.write_text("")
    empty.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(empty))
    with pytest.raises(errors.RegistryUnreachable) as caught:
        open_registry(postgres_server.url("postgres"))
    secret = postgres_server.password_file.read_text().strip().rpartition(":")[2]
    assert secret not in str(caught.value)


def test_a_server_that_forgets_is_refused(postgres_server: PostgresServer) -> None:
    database = postgres_server.new_database()
    create_registry(parse_address(postgres_server.url(database)))
    try:
        postgres_server.psql("ALTER SYSTEM SET full_page_writes = off")
        postgres_server.psql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 10
        while postgres_server.psql("SHOW full_page_writes").strip() == "on" and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(errors.RegistryUnsafe, match="full_page_writes"):
            open_registry(postgres_server.url(database))
    finally:
        postgres_server.psql("ALTER SYSTEM RESET full_page_writes")
        postgres_server.psql("SELECT pg_reload_conf()")


# Speed: what is asked often is found by an index, however many devices there are


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (DeviceQuery(uid=bytes(11) + b"\x01"), "devices_by_uid"),
        (DeviceQuery(uid=bytes(11) + b"\x01", product_id=PRODUCT), "one_device_of_a_uid"),
        (DeviceQuery(serial="SN-1"), "devices_by_serial"),
        (DeviceQuery(product_id=PRODUCT, lot="2026-48"), "devices_by_lot"),
        (DeviceQuery(order_id=ORDER), "devices_by_order"),
        (DeviceQuery(product_id=PRODUCT, lifecycle="rma"), "devices_by_lifecycle"),
        (DeviceQuery(product_id=PRODUCT, bundle_below=2), "devices_by_bundle"),
    ],
)
def test_questions_are_answered_by_an_index(url: str, kind: str, query: DeviceQuery, index: str) -> None:
    statement = select(devices.c.id).where(*query.conditions())
    explain = "EXPLAIN QUERY PLAN" if kind == "sqlite" else "EXPLAIN"
    with database_of(url).reading() as connection:
        if kind == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        text = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = str(connection.exec_driver_sql(f"{explain} {text}").all())
    if kind == "postgresql" or index == "one_device_of_a_uid":
        assert "SCAN devices" not in plan, plan  # which of its indexes a server takes is its own business
        assert "Seq Scan" not in plan, plan
    else:
        assert index in plan, plan
