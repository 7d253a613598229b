"""The log on disk: what opening finds and ends, several processes, and what it refuses."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pki.errors import AuditError, OutputError, PolicyViolation, Rollback
from signer.log.audit_log import EVENTS_MAX, TileLog, open_audit_log
from signer.log.checkpoint import Checkpoint, TreeHead, parse_checkpoint
from signer.log.recovery import begin_log, compare_index, rebuild
from tests.unit.log.logs import BEGUN, event, fast_folder, later, new_log
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import verify_log

ROOT = Path(__file__).resolve().parents[3]
KEY = SoftwareKey()
COUNT = 300


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A log of 300 entries under a checkpoint, and two more."""
    with fast_folder() as folder:
        with new_log(folder / "log", KEY, COUNT, step_seconds=1) as log:
            log.append([event(COUNT), event(COUNT + 1)], later(COUNT))
        yield folder / "log"


@pytest.fixture
def folder(template: Path) -> Iterator[Path]:
    with fast_folder() as place:
        shutil.copytree(template, place / "log")
        yield place / "log"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_opens_as_it_was_left(folder: Path) -> None:
    with open_audit_log(folder, KEY) as log:
        assert log.size == COUNT + 2
        assert log.newest_time() == later(COUNT)
        assert [entry.index for entry in log.entries()] == list(range(COUNT + 2))
        assert [entry.index for entry in log.entries(COUNT)] == [COUNT, COUNT + 1]
        assert parse_checkpoint(log.checkpoint()).head.size == COUNT + 2
    verify_log(folder, [KEY.pem])


def test_a_log_is_begun_once(folder: Path) -> None:
    before = files_of(folder)
    with pytest.raises(OutputError, match="exists already"):
        begin_log(folder, KEY, "ada", BEGUN)
    assert files_of(folder) == before


def test_a_beginning_that_fails_leaves_nothing() -> None:
    key = SoftwareKey()
    key.fails_with = RuntimeError("token lost")
    with fast_folder() as place:
        with pytest.raises(RuntimeError, match="token lost"):
            begin_log(place / "log", key, "ada", BEGUN)
        assert list(place.iterdir()) == []


def test_opening_ends_a_publication_that_was_interrupted(folder: Path) -> None:
    with open_audit_log(folder, KEY) as log:
        old = (folder / "checkpoint").read_bytes()
        note = log.checkpoint()
    for leftover in (old, None):
        (folder / "checkpoint").unlink()
        if leftover is not None:
            (folder / "checkpoint").write_bytes(leftover)
        with open_audit_log(folder, KEY):
            assert (folder / "checkpoint").read_bytes() == note


def test_what_a_kill_left_unfinished_is_removed_by_whoever_has_the_key(folder: Path) -> None:
    leftovers = [folder / name for name in (".tile.part", ".checkpoint.part", ".witnessed.part")]
    for path in leftovers:
        path.write_bytes(b"half of")
    before = (folder / "checkpoint").read_bytes()
    with open_audit_log(folder, None):
        assert all(path.exists() for path in leftovers)
    with open_audit_log(folder, KEY):
        assert not any(path.exists() for path in leftovers)
    assert (folder / "checkpoint").read_bytes() == before


def test_an_old_index_is_refused(folder: Path) -> None:
    """Whoever puts back yesterday's database does not undo the checkpoint of today."""
    old = (folder / "index.sqlite").read_bytes()
    with open_audit_log(folder, KEY) as log:
        log.checkpoint()
    (folder / "index.sqlite").write_bytes(old)
    with pytest.raises(AuditError, match="older than its checkpoint"):
        open_audit_log(folder, KEY)


def test_another_checkpoint_of_the_same_size_is_refused(folder: Path) -> None:
    there = parse_checkpoint((folder / "checkpoint").read_bytes())
    other = TreeHead(there.head.origin, there.head.size, bytes(32))
    (folder / "checkpoint").write_bytes(Checkpoint(other, there.signatures).note)
    with pytest.raises(AuditError, match="not the checkpoint that the index knows"):
        open_audit_log(folder, KEY)


@pytest.mark.parametrize("content", [b"", b"no note\n", b"\xff" * 100, b"x" * 20_000])
def test_a_checkpoint_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "checkpoint").write_bytes(content)
    with pytest.raises(AuditError, match="damaged"):
        open_audit_log(folder, KEY)


def test_al_05_refuses_another_key(folder: Path) -> None:
    other = SoftwareKey()
    with pytest.raises(PolicyViolation, match="AL-05"):
        open_audit_log(folder, other)
    assert other.calls == 0


def test_without_its_key_it_appends_and_signs_nothing(folder: Path) -> None:
    with open_audit_log(folder, None) as log:
        log.append([event()], later(COUNT))
        with pytest.raises(AuditError, match="without its key"):
            log.checkpoint()


def spoil_index(folder: Path) -> None:
    (folder / "index.sqlite").write_bytes(b"no database" * 100)


def lose_index(folder: Path) -> None:
    (folder / "index.sqlite").unlink()


def truncate_index(folder: Path) -> None:
    with (folder / "index.sqlite").open("r+b") as stream:
        stream.truncate(8192)


@pytest.mark.parametrize("spoil", [spoil_index, lose_index, truncate_index])
def test_a_lost_index_is_made_again_from_the_tiles(folder: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(AuditError), open_audit_log(folder, KEY) as log:
        log.append([event()], later(COUNT))
    assert "made again from the tiles" in rebuild(folder, KEY.public_key)
    with open_audit_log(folder, KEY) as log:
        assert log.size == COUNT
        assert len(log.find("key_label", event().details["key_label"])) == COUNT - 1
        log.append([event(COUNT)], later(COUNT))
        log.checkpoint()
    verify_log(folder, [KEY.pem])
    assert compare_index(folder, COUNT + 1) == 0


@pytest.mark.parametrize("name", ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/0/000"])
def test_damaged_tiles_are_made_again_from_the_index(folder: Path, name: str) -> None:
    before = files_of(folder)
    (folder / name).write_bytes(b"\0" * 32)
    assert "made again from the index" in rebuild(folder, KEY.public_key)
    assert files_of(folder) == before


def test_tiles_that_do_not_lead_to_the_checkpoint_sign_no_other(folder: Path) -> None:
    path = folder / "tile/1/000.p/1"
    path.write_bytes(bytes(32))
    calls = KEY.calls
    with open_audit_log(folder, KEY) as log:
        with pytest.raises(AuditError, match="do not lead to the root"):
            log.checkpoint()
        assert log.size == COUNT + 2
    assert KEY.calls == calls


def test_an_index_and_tiles_that_were_both_changed_are_not_made_again(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        connection.execute("DROP TRIGGER entries_stay")
        connection.execute("UPDATE entries SET entry = CAST(replace(entry, 'ada', 'eve') AS BLOB) WHERE number = 7")
        connection.commit()
    with pytest.raises(AuditError, match="does not lead to the root"):
        rebuild(folder, KEY.public_key)
    with pytest.raises(AuditError, match="entry 7 in the index"):
        compare_index(folder, COUNT)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET entry = x'00' WHERE number = 3",
        "DELETE FROM entries WHERE number = 3",
        "INSERT OR REPLACE INTO entries SELECT number, at, x'00' FROM entries WHERE number = 3",
        "UPDATE log SET origin = 'other'",
        "DELETE FROM log",
        "DELETE FROM checkpoints",
    ],
)
def test_the_index_is_append_only_for_every_program(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        connection.execute("PRAGMA recursive_triggers = ON")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)


def test_a_foreign_or_open_index_is_refused(folder: Path) -> None:
    (folder / "index.sqlite").chmod(0o666)
    with pytest.raises(AuditError, match="chmod o-w"):
        open_audit_log(folder, KEY)
    lose_index(folder)
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.commit()
    with pytest.raises(AuditError, match="no index of an audit log"):
        open_audit_log(folder, KEY)


@pytest.mark.parametrize("count", [0, EVENTS_MAX + 1])
def test_an_append_has_bounds(folder: Path, count: int) -> None:
    with open_audit_log(folder, KEY) as log, pytest.raises(AuditError, match="1 to 4096"):
        log.append([event()] * count, later(COUNT))


def test_a_forked_child_may_not_use_it(folder: Path) -> None:
    with open_audit_log(folder, KEY) as log:
        child = os.fork()
        if child == 0:
            try:
                log.append([event()], later(COUNT))
            except AuditError:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# Several processes


def test_processes_append_one_after_the_other(folder: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom datetime import UTC, datetime\n"
        "from signer.log.audit_log import open_audit_log\nfrom tests.unit.log.logs import event\n"
        "with open_audit_log(Path(sys.argv[1]), None) as log:\n"
        "    for number in range(25):\n"
        "        log.append([event(number, who=sys.argv[2])] * 2, datetime.now(UTC))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    workers = [subprocess.Popen([sys.executable, "-c", program, folder, name], env=environment) for name in "abc"]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    with open_audit_log(folder, KEY) as log:
        made = [entry.event.details for entry in log.entries(COUNT + 2)]
        for name in "abc":
            numbers = [details["number"] for details in made if details["who"] == name]
            assert numbers == [number for number in range(25) for _ in "12"]
        assert all(made[at]["who"] == made[at + 1]["who"] for at in range(0, len(made), 2)), "an append was torn apart"
        log.checkpoint()
    verify_log(folder, [KEY.pem])


def test_the_time_spent_waiting_for_others_is_no_clock_set_back(folder: Path) -> None:
    """Another process holds the lock for two seconds, and makes an entry with the time at its end."""
    path = folder / "index.sqlite"
    with open_audit_log(folder, KEY) as log, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        made: list[object] = []
        thread = threading.Thread(target=lambda: made.append(log.append([event()], later(1000))))
        thread.start()
        time.sleep(2.1)
        other.execute("INSERT INTO entries VALUES (?, ?, x'00')", (COUNT + 2, "2026-11-27T12:16:42Z"))
        other.execute("COMMIT")
        thread.join()
        assert len(made) == 1
        with pytest.raises(Rollback, match="AL-01"):
            log.append([event()], later(1000))


def test_waiting_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from signer.log import index_file

    monkeypatch.setattr(index_file, "BUSY_TIMEOUT_SECONDS", 0.05)
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None)) as other:
        log = TileLog(folder, KEY)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuditError, match="another process has kept it locked"):
            log.append([event()], later(COUNT))
        other.execute("ROLLBACK")
        log.append([event()], later(COUNT))
        log.close()
