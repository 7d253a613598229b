"""The schema in the file: what both ways of access set, and that its own rules hold against any program."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from pki.key_specs import KeyAlgorithm
from pki.key_states import ALLOWED_TRANSITIONS, KeyState
from signer.store import revisions
from signer.store.key_store import KeyStore, open_key_store
from signer.store.maintenance import migrations_config
from signer.store.sqlite_file import connect
from signer.store.stored_times import time_to_text
from signer.store.tables import Base
from tests.unit.store.stores import BACKUP, DAY, NOW, OTHER_TOKEN, certificate_for, change, new_key, raw, software_key


@pytest.fixture
def populated(store: KeyStore, store_path: Path) -> Iterator[sqlite3.Connection]:
    """An active key with a certificate, a backup and a copy, and a claim, open in another program: only foreign keys
    and triggers set.
    """
    private, public = software_key()
    key = store.register(new_key(key=public), change(), backup=BACKUP, copies_on=[OTHER_TOKEN])
    store.activate(key.cka_id, NOW, NOW + DAY, change())
    store.set_certificate(key.cka_id, certificate_for(private), change())
    with closing(raw(store_path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.execute("INSERT INTO content_keys_used VALUES (?, ?)", (bytes(32), time_to_text(NOW)))
        yield connection


def pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def assert_durable(connection: sqlite3.Connection) -> None:
    assert pragma(connection, "journal_mode") == "delete"
    assert pragma(connection, "synchronous") == 3, "EXTRA: see docs/adr/0020"
    assert pragma(connection, "foreign_keys") == 1
    assert pragma(connection, "recursive_triggers") == 1
    assert pragma(connection, "trusted_schema") == 0
    assert pragma(connection, "busy_timeout") == 15_000


def test_both_ways_of_access_are_durable(store_path: Path) -> None:
    with closing(connect(store_path)) as connection:
        assert_durable(connection)
        assert pragma(connection, "application_id") == revisions.APPLICATION_ID
    with open_key_store(store_path) as store, store._transaction(store._writing, "write to") as session:
        driver_connection = session.connection().connection.driver_connection
        assert isinstance(driver_connection, sqlite3.Connection)
        assert_durable(driver_connection)
        assert driver_connection.in_transaction


def test_a_store_that_somebody_switched_to_write_ahead_logging_is_switched_back(store_path: Path) -> None:
    with closing(raw(store_path)) as connection:
        assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    with closing(connect(store_path)) as connection:
        assert_durable(connection)


def test_the_revision_the_program_reads_is_alembics_head() -> None:
    script = ScriptDirectory.from_config(migrations_config())
    assert script.get_heads() == [revisions.CURRENT_REVISION]
    assert tuple(step.revision for step in reversed(list(script.walk_revisions()))) == revisions.KNOWN_REVISIONS


def test_sqlalchemys_tables_are_those_in_the_file(store_path: Path) -> None:
    engine = create_engine(f"sqlite:///{store_path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    with closing(raw(store_path)) as connection:
        for table in Base.metadata.tables.values():
            columns = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
            assert [(name, bool(required), bool(primary)) for _, name, _, required, _, primary in columns] == [
                (column.name, not column.nullable, column.primary_key) for column in table.columns
            ]
            strict = connection.execute("SELECT strict FROM pragma_table_list WHERE name = ?", (table.name,)).fetchone()
            assert strict == (1,)


def test_the_schemas_transitions_are_those_of_pki(populated: sqlite3.Connection) -> None:
    """All pairs, tried on the table itself."""
    populated.execute("DROP TRIGGER key_state_changes_follow")
    (cka_id,) = populated.execute("SELECT cka_id FROM keys").fetchone()
    states: list[KeyState | None] = [None, *KeyState]
    sequence = 100
    for before in states:
        for after in KeyState:
            sequence += 1
            row = (cka_id, 1 if before is None else sequence, before, after, time_to_text(NOW), "x", "x")
            populated.execute("BEGIN")
            if before is None:
                populated.execute("DROP TRIGGER key_state_changes_stay")
                populated.execute("DELETE FROM key_state_changes")
            try:
                populated.execute("INSERT INTO key_state_changes VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                accepted = True
            except sqlite3.IntegrityError:
                accepted = False
            populated.execute("ROLLBACK")
            allowed = {KeyState.PRE_ACTIVATION} if before is None else ALLOWED_TRANSITIONS[before]
            assert accepted is (after in allowed), (before, after)


def test_the_schemas_algorithms_are_those_of_pki(populated: sqlite3.Connection) -> None:
    (sql,) = populated.execute("SELECT sql FROM sqlite_master WHERE name = 'keys'").fetchone()
    assert "algorithm IN (" + ", ".join(f"'{item.value}'" for item in KeyAlgorithm) + ")" in sql


def append(sequence: int, from_state: str | None, to_state: str, at: str = "changed_at") -> str:
    """One more entry in the history, whose newest is number 2, to active."""
    before = "NULL" if from_state is None else f"'{from_state}'"
    values = f"cka_id, {sequence}, {before}, '{to_state}', {at}, 'x', 'x'"
    return f"INSERT INTO key_state_changes SELECT {values} FROM key_state_changes WHERE sequence = 2"  # noqa: S608


def another_key(algorithm: str, window: str, spki: str = "NULL") -> str:
    values = f"randomblob(20), 'x', role, product, {algorithm}, {spki}, token_id, created_at, {window}"
    return f"INSERT INTO keys SELECT {values} FROM keys"  # noqa: S608


def copy_of(origin: str, token: str, made_at: str = "made_at", end: str = "NULL, NULL, NULL") -> str:
    """Another copy of the key, whose home is token 1 and which has a copy on token 2."""
    values = f"NULL, cka_id, {token}, '{origin}', {made_at}, 'x', 'x', {end}"
    return f"INSERT INTO key_copies SELECT {values} FROM key_copies"  # noqa: S608


TIME = "'2026-11-22T12:00:00.123456Z'"
LATER = "'2026-11-23T12:00:00.123456Z'"
FORBIDDEN = {
    "delete a key": ("DELETE FROM keys", "never taken out"),
    "replace a claim": ("REPLACE INTO content_keys_used SELECT * FROM content_keys_used", "never forgotten"),
    "change a key's role": ("UPDATE keys SET role = 'root'", "only the time window"),
    "change a key's product": ("UPDATE keys SET product = NULL", "only the time window"),
    "change a key's label": ("UPDATE keys SET label = 'sr:root:-:0009'", "only the time window"),
    "change a key's public key": ("UPDATE keys SET spki = zeroblob(91)", "only the time window"),
    "prolong a key": ("UPDATE keys SET not_after = '2099-01-01T00:00:00.000000Z'", "and only once"),
    "delete history": ("DELETE FROM key_state_changes", "append-only"),
    "change history": ("UPDATE key_state_changes SET reason = 'nothing to see'", "append-only"),
    "leave a gap in history": (append(4, "active", "suspended"), "follows from the newest"),
    "continue from another state": (append(3, "suspended", "active"), "follows from the newest"),
    "backdate": (append(3, "active", "suspended", "'2026-11-22T12:00:00.123455Z'"), "not dated before it"),
    "write a time in another form": (append(3, "active", "suspended", "'tomorrow'"), "CHECK .*GLOB"),
    "go a forbidden way": (append(3, "active", "pre-activation"), "(?s)CHECK .*pre-activation > active"),
    "begin a second time": (append(1, None, "pre-activation"), "follows from the newest"),
    "begin without beginning": (append(3, None, "pre-activation"), "follows from the newest"),
    "write history of no key": (
        f"INSERT INTO key_state_changes VALUES (zeroblob(20), 1, NULL, 'pre-activation', {TIME}, 'x', 'x')",  # noqa: S608
        "FOREIGN KEY",
    ),
    "delete a certificate": ("DELETE FROM certificates", "never taken out"),
    "change a certificate": ("UPDATE certificates SET der = x'00'", "can only be ended"),
    "make two certificates current": (
        "INSERT INTO certificates SELECT zeroblob(32), cka_id, der, serial_number, subject, issuer, not_before, "
        "not_after, added_at, added_by, reason, NULL FROM certificates",
        "UNIQUE constraint failed: certificates.cka_id",
    ),
    "forget a content key": ("DELETE FROM content_keys_used", "never forgotten"),
    "change a content key": ("UPDATE content_keys_used SET fingerprint = randomblob(32)", "never forgotten"),
    "claim a content key twice": ("INSERT INTO content_keys_used SELECT * FROM content_keys_used", "UNIQUE"),
    "claim a short fingerprint": (f"INSERT INTO content_keys_used VALUES (zeroblob(31), {TIME})", "CHECK .*length"),  # noqa: S608
    "claim text": (f"INSERT INTO content_keys_used VALUES ('{'x' * 32}', {TIME})", "cannot store TEXT value in BLOB"),  # noqa: S608
    "delete a backup": ("DELETE FROM key_backups", "never taken out"),
    "change a backup": ("UPDATE key_backups SET kek_kcv = zeroblob(5)", "can only be ended"),
    "end a backup without saying who": (f"UPDATE key_backups SET ended_at = {LATER}", "CHECK"),  # noqa: S608
    "make a backup of a key that is there already": (
        f"INSERT INTO key_backups SELECT zeroblob(32), cka_id, method, kek_kcv, NULL, {LATER}, 'x', 'x', NULL, NULL, "  # noqa: S608
        "NULL FROM key_backups",
        "made when its key is generated",
    ),
    "back up in an unknown way": (
        "INSERT INTO key_backups SELECT zeroblob(32), cka_id, 'paper', kek_kcv, NULL, made_at, 'x', 'x', NULL, NULL, "
        "NULL FROM key_backups",
        "CHECK .*method",
    ),
    "delete a copy": ("DELETE FROM key_copies", "never taken out"),
    "move a copy": ("UPDATE key_copies SET token_id = 1", "can only be ended"),
    "copy to a token twice": (copy_of("restored", "2"), "UNIQUE constraint failed: key_copies.cka_id"),
    "transfer a key that is there already": (copy_of("transferred", "2", LATER), "transferred when it is generated"),
    "transfer a key to its own token": (copy_of("transferred", "1"), "transferred when it is generated"),
    "say that a home is left without an end": (copy_of("generated", "1"), "CHECK .*generated"),
    "say of another token that it was the home": (
        copy_of("generated", "2", end=f"{LATER}, 'x', 'x'"),
        "generated on its first token",
    ),
    "copy to an unknown token": (copy_of("restored", "99"), "FOREIGN KEY"),
    "copy in an unknown way": (copy_of("stolen", "1"), "CHECK .*origin"),
    "end a copy before it was made": (
        "UPDATE key_copies SET ended_at = '2026-11-21T12:00:00.000000Z', ended_by = 'x', end_reason = 'x'",
        "CHECK .*made_at <= ended_at",
    ),
    "record a token twice": (
        "INSERT INTO tokens (serial, label, module_path) SELECT serial, label, 'x' FROM tokens",
        "UNIQUE constraint failed: tokens.serial, tokens.label",
    ),
    "record a public key twice": (
        another_key("algorithm", "NULL, NULL", "spki"),
        "UNIQUE constraint failed: keys.spki",
    ),
    "record an EC key without public key": (another_key("algorithm", "NULL, NULL"), "CHECK .*spki IS NOT NULL"),
    "record half a window": (another_key("'aes-256'", "not_before, NULL"), "CHECK .*not_after IS NULL"),
    "record a window reversed": (another_key("'aes-256'", "not_after, not_before"), "CHECK .*not_before < not_after"),
}


@pytest.mark.parametrize(("statement", "text"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_schema_forbids_to(statement: str, text: str, populated: sqlite3.Connection) -> None:
    before = list(populated.iterdump())
    with pytest.raises(sqlite3.IntegrityError, match=text):
        populated.execute(statement)
    assert list(populated.iterdump()) == before


def test_the_schema_allows_what_is_right(populated: sqlite3.Connection) -> None:
    """The counterpart: the same statements, with the one thing right that is wrong above."""
    for statement in (
        append(3, "active", "suspended"),
        another_key("'aes-256'", "not_before, not_after"),
        "UPDATE certificates SET ended_at = not_after",
        "INSERT INTO content_keys_used SELECT randomblob(32), claimed_at FROM content_keys_used",
    ):
        assert populated.execute(statement).rowcount == 1
