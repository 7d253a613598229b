"""Files missing, foreign, damaged, of another schema, or not to be written: one clear error, nothing changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pki.errors import OutputError, StrongroomError
from pki.key_states import KeyState
from pki.roles import Role
from signer.store import sqlite_file
from signer.store.errors import (
    KeyStoreDamaged,
    KeyStoreError,
    KeyStoreForeign,
    KeyStoreMissing,
    KeyStoreTooNew,
    KeyStoreUnsafe,
    KeyStoreUnwritable,
)
from signer.store.key_store import KeyStore, open_key_store
from signer.store.maintenance import backup_key_store, check_key_store, create_key_store
from signer.store.signing_gate import ContentKeyLedger, require_may_sign
from tests.unit.store.stores import DAY, NOW, change, new_key, public_key, raw

WAYS_IN: dict[str, Callable[[Path], object]] = {
    "store": open_key_store,
    "gate": lambda path: require_may_sign(path, "sr:root:-:0001", Role.ROOT, None, NOW),
    "ledger": lambda path: ContentKeyLedger(path, NOW).claim(bytes(32)),
}


@pytest.fixture(params=WAYS_IN)
def way_in(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    """Each way of opening a key store; all must refuse alike."""
    return WAYS_IN[request.param]


def refused(error_type: type[StrongroomError], text: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(error_type, match=text) as caught:
        attempt()
    assert type(caught.value) is error_type
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_store_is_never_made_by_opening(tmp_path: Path, way_in: Callable[[Path], object]) -> None:
    refused(KeyStoreMissing, "no key store at", lambda: way_in(tmp_path / "keys.sqlite"))
    (tmp_path / "file").write_bytes(b"")
    refused(KeyStoreMissing, "no key store at", lambda: way_in(tmp_path / "file" / "keys.sqlite"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0", b"not a database at all" * 300], ids=["empty", "cut", "text"]
)
def test_another_file_is_not_taken_for_a_store(
    tmp_path: Path, way_in: Callable[[Path], object], content: bytes
) -> None:
    path = tmp_path / "keys.sqlite"
    path.write_bytes(content)
    path.chmod(0o600)
    refused(KeyStoreForeign, "check the path", lambda: way_in(path))
    assert path.read_bytes() == content


def test_another_database_is_not_taken_for_a_store(tmp_path: Path, way_in: Callable[[Path], object]) -> None:
    path = tmp_path / "keys.sqlite"
    with closing(raw(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0002')")
    refused(KeyStoreForeign, "not a key store", lambda: way_in(path))
    refused(KeyStoreForeign, "is not a file", lambda: way_in(tmp_path))


def test_a_store_that_anyone_can_write_is_refused(store_path: Path, way_in: Callable[[Path], object]) -> None:
    store_path.chmod(0o602)
    refused(KeyStoreUnsafe, "chmod o-w", lambda: way_in(store_path))


def test_a_newer_schema_is_refused(store_path: Path, way_in: Callable[[Path], object]) -> None:
    with closing(raw(store_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = store_path.read_bytes()
    refused(KeyStoreTooNew, "newer Strongroom", lambda: way_in(store_path))
    refused(KeyStoreTooNew, "newer Strongroom", lambda: check_key_store(store_path))
    assert store_path.read_bytes() == before


@pytest.mark.parametrize("statement", ["DELETE FROM alembic_version", "INSERT INTO alembic_version VALUES ('0001')"])
def test_a_store_without_one_revision_is_damaged(
    store_path: Path, way_in: Callable[[Path], object], statement: str
) -> None:
    with closing(raw(store_path)) as connection:
        connection.execute(statement)
    refused(KeyStoreDamaged, "its revision once", lambda: way_in(store_path))


def test_damaged_pages_are_found(store: KeyStore, store_path: Path) -> None:
    for sequence in range(1, 40):
        store.register(new_key(sequence=sequence), change())
    content = bytearray(store_path.read_bytes())
    page_size_bytes = int.from_bytes(content[16:18], "big")
    for page in range(1, len(content) // page_size_bytes):
        damaged = store_path.with_name(f"damaged-{page}.sqlite")
        copy = bytearray(content)
        copy[page * page_size_bytes : page * page_size_bytes + 64] = b"\xa5" * 64
        damaged.write_bytes(copy)
        damaged.chmod(0o600)
        with pytest.raises((KeyStoreDamaged, KeyStoreError)):
            check_key_store(damaged)


CONTRADICTIONS = {
    "role": ("UPDATE keys SET role = 'root'", "unlike its label"),
    "product": ("UPDATE keys SET product = NULL", "unlike its label"),
    "label": ("UPDATE keys SET label = 'release'", "not a key label"),
    "cka id": (f"UPDATE keys SET spki = x'{public_key(9).spki.hex()}'", "not the one derived"),  # noqa: S608
    "point": ("UPDATE keys SET spki = zeroblob(91)", "not a SubjectPublicKeyInfo"),
    "no state": ("DELETE FROM key_state_changes", "has no state"),
    "gap": ("DELETE FROM key_state_changes WHERE sequence = 1", "does not follow"),
    "order": (
        "UPDATE key_state_changes SET changed_at = '2026-01-01T00:00:00.000000Z' WHERE sequence = 2",
        "not follow",
    ),
    "time": (
        "UPDATE key_state_changes SET changed_at = '2026-11-22Txx:00:00.000000Z' WHERE sequence = 2",
        "not a time",
    ),
    "nothing referred to": ("UPDATE keys SET token_id = 99", "refers to nothing"),
}


@pytest.mark.parametrize(("statement", "text"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_found_and_not_backed_up(
    store: KeyStore, store_path: Path, tmp_path: Path, statement: str, text: str
) -> None:
    key = store.register(new_key(), change())
    store.activate(key.cka_id, NOW, NOW + DAY, change())
    check_key_store(store_path)
    with closing(raw(store_path)) as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)
    refused(KeyStoreDamaged, text, lambda: check_key_store(store_path))
    refused(KeyStoreDamaged, text, lambda: backup_key_store(store_path, tmp_path / "backup.sqlite"))
    assert [path.name for path in tmp_path.iterdir()] == [store_path.name]


def test_a_backup_is_a_store_and_never_overwrites(store: KeyStore, store_path: Path, tmp_path: Path) -> None:
    key = store.register(new_key(), change())
    ContentKeyLedger(store_path, NOW).claim(bytes(32))
    backup = tmp_path / "backup.sqlite"
    backup_key_store(store_path, backup)
    store.change_state(key.cka_id, KeyState.DESTROYED, change())
    assert backup.stat().st_mode & 0o777 == 0o600
    with open_key_store(backup) as copy:
        assert copy.keys() == (key,)
    content = backup.read_bytes()
    refused(OutputError, "exists already", lambda: backup_key_store(store_path, backup))
    refused(OutputError, "exists already", lambda: create_key_store(backup))
    refused(OutputError, "cannot write", lambda: backup_key_store(store_path, tmp_path / "none" / "backup.sqlite"))
    assert backup.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.sqlite", "keys.sqlite"]


def test_a_new_store_belongs_to_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_key_store(tmp_path / "keys.sqlite")
    finally:
        os.umask(before)
    assert (tmp_path / "keys.sqlite").stat().st_mode & 0o777 == 0o600
    with open_key_store(tmp_path / "keys.sqlite") as store:
        assert store.keys() == ()


def run_worker(what: str, path: Path) -> list[str]:
    command = [sys.executable, str(Path(__file__).with_name("workers.py")), what, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.splitlines()


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_claimed(store_path: Path) -> None:
    name, number, message = run_worker("claim_with_little_space", store_path)
    assert name == "KeyStoreUnwritable"
    assert "nothing was changed" in message
    check_key_store(store_path)
    with closing(raw(store_path)) as connection:
        assert connection.execute("SELECT count(*) FROM content_keys_used").fetchone() == (int(number),)


def test_sqlites_full_is_explained() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE t AS SELECT zeroblob(100000)")
    error = sqlite_file.explain(full.value, Path("keys.sqlite"), "write to")
    assert type(error) is KeyStoreUnwritable
    assert str(error) == (
        "cannot write to key store keys.sqlite: the disk is full; free some space (SQLITE_FULL); nothing was changed"
    )


def test_a_folder_without_room_for_a_journal_is_one_clear_error(store: KeyStore, store_path: Path) -> None:
    """What stands where the journal must go cannot be replaced, not even by root."""
    store_path.with_name(store_path.name + "-journal").mkdir()
    refused(KeyStoreUnwritable, "check the disk", lambda: ContentKeyLedger(store_path, NOW).claim(bytes(32)))
    refused(KeyStoreUnwritable, "check the disk", lambda: store.register(new_key(), change()))


def test_a_read_only_store_is_one_clear_error(empty_key_store: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy2(empty_key_store, folder))
        path.chmod(0o444)
        Path(folder).chmod(0o755)
        name, message = run_worker("claim_without_permission", path)
    assert name == "KeyStoreUnwritable"
    assert "check the permissions" in message
