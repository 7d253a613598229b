"""Upgrades from every revision there ever was, on files written by that revision, with everything still there after."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pki.errors import OutputError
from pki.key_states import KeyState
from pki.roles import Role
from signer.store import maintenance, sqlite_file
from signer.store.errors import KeyStoreError, KeyStoreOutdated, KeyStoreTooNew, KeyStoreUnwritable
from signer.store.key_store import open_key_store
from signer.store.maintenance import check_key_store, upgrade_key_store
from signer.store.revisions import CURRENT_REVISION, KNOWN_REVISIONS
from signer.store.signing_gate import ContentKeyLedger, require_may_sign
from tests.unit.store.stores import DAY, NOW, change, new_key, raw

DUMPS = Path(__file__).parent / "revisions"
OLD_REVISIONS = KNOWN_REVISIONS[:-1]


@pytest.fixture(params=OLD_REVISIONS)
def old_store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A populated file of an older revision, from the dump that was kept when the revision was current."""
    path = tmp_path / "keys.sqlite"
    with closing(raw(path)) as connection:
        connection.executescript((DUMPS / f"{request.param}.sql").read_text(encoding="utf-8"))
    path.chmod(0o600)
    return path


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the tables that an old revision had."""
    with closing(raw(path)) as connection:
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608
            for table in ("tokens", "keys", "key_state_changes", "certificates")
        }


def schema_of(path: Path) -> dict[tuple[str, str], str]:
    """What each table, index and trigger was made by, with the spacing evened out."""
    with closing(raw(path)) as connection:
        rows = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in rows}


def test_there_is_a_dump_of_every_older_revision() -> None:
    assert sorted(path.stem for path in DUMPS.iterdir()) == list(OLD_REVISIONS)


def test_an_older_store_is_refused_until_it_is_upgraded(old_store: Path) -> None:
    before = old_store.read_bytes()
    for attempt in (
        lambda: open_key_store(old_store),
        lambda: require_may_sign(old_store, new_key().label, Role.APPLICATION_RELEASE, "pump-x2", NOW),
        lambda: ContentKeyLedger(old_store, NOW).claim(bytes(32)),
    ):
        with pytest.raises(KeyStoreOutdated, match="upgrade"):
            attempt()
    assert old_store.read_bytes() == before


def test_an_upgrade_keeps_everything_and_a_backup(old_store: Path, tmp_path: Path) -> None:
    rows = rows_of(old_store)
    assert all(rows.values()), "the dump must have rows in every table"
    backup = tmp_path / "before.sqlite"
    before, after = upgrade_key_store(old_store, backup)
    assert before in OLD_REVISIONS
    assert after == CURRENT_REVISION
    assert rows_of(old_store) == rows == rows_of(backup)
    check_key_store(old_store)
    with open_key_store(old_store) as store:
        active = store.key("sr:application-release:pump-x2:0001")
        assert active.state is KeyState.ACTIVE
        assert active.certificate is not None
        assert store.key("sr:root:-:0001").state is KeyState.DESTROYED
        store.change_state(active.cka_id, KeyState.SUSPENDED, change(NOW + DAY))
    ContentKeyLedger(old_store, NOW).claim(bytes(32))
    with pytest.raises(KeyStoreOutdated):
        open_key_store(backup)


def test_a_new_store_and_an_upgraded_one_have_the_same_schema(
    old_store: Path, empty_key_store: Path, tmp_path: Path
) -> None:
    upgrade_key_store(old_store, tmp_path / "before.sqlite")
    assert schema_of(old_store) == schema_of(empty_key_store)


def test_upgrading_a_current_store_does_nothing(store_path: Path, tmp_path: Path) -> None:
    before = store_path.read_bytes()
    assert upgrade_key_store(store_path, tmp_path / "before.sqlite") == (CURRENT_REVISION, CURRENT_REVISION)
    assert store_path.read_bytes() == before
    assert not (tmp_path / "before.sqlite").exists()


def test_a_newer_store_is_not_upgraded(store_path: Path, tmp_path: Path) -> None:
    with closing(raw(store_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(KeyStoreTooNew):
        upgrade_key_store(store_path, tmp_path / "before.sqlite")
    assert not (tmp_path / "before.sqlite").exists()


def test_an_upgrade_without_room_for_its_backup_changes_nothing(old_store: Path, tmp_path: Path) -> None:
    (tmp_path / "before.sqlite").write_bytes(b"mine")
    before = old_store.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        upgrade_key_store(old_store, tmp_path / "before.sqlite")
    assert old_store.read_bytes() == before


def no_room(connection: sqlite3.Connection) -> None:
    """The file may not grow: the new table finds no page."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def no_last_trigger(connection: sqlite3.Connection) -> None:
    """The last statement but one fails, after the new table and its first trigger were made."""

    def refuse(action: int, name: str | None, *_: str | None) -> int:
        last = action == sqlite3.SQLITE_CREATE_TRIGGER and name == "key_copies_are_fixed"
        return sqlite3.SQLITE_DENY if last else sqlite3.SQLITE_OK

    connection.set_authorizer(refuse)


@pytest.mark.parametrize(("hinder", "error"), [(no_room, KeyStoreUnwritable), (no_last_trigger, KeyStoreError)])
def test_an_upgrade_that_fails_in_the_middle_changes_nothing(
    old_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hinder: Callable[[sqlite3.Connection], None],
    error: type[KeyStoreError],
) -> None:
    opened = sqlite_file.connect_any_revision
    calls: list[Path] = []

    def open_hindered(path: Path) -> sqlite3.Connection:
        connection = opened(path)
        if not calls:  # the first is the upgrade's own, the second the backup's
            hinder(connection)
        calls.append(path)
        return connection

    monkeypatch.setattr(maintenance, "connect_any_revision", open_hindered)
    rows, schema = rows_of(old_store), schema_of(old_store)
    with pytest.raises(error, match="nothing was changed"):
        upgrade_key_store(old_store, tmp_path / "before.sqlite")
    monkeypatch.undo()
    assert (rows_of(old_store), schema_of(old_store)) == (rows, schema)
    with pytest.raises(KeyStoreOutdated):
        open_key_store(old_store)
    assert upgrade_key_store(old_store, tmp_path / "again.sqlite")[1] == CURRENT_REVISION
