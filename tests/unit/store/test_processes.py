"""Many processes at once, and processes killed at any moment: no claim is lost, doubled or half made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pki.errors import PolicyViolation
from signer.store import sqlite_file
from signer.store.errors import KeyStoreBusy
from signer.store.key_store import open_key_store
from signer.store.maintenance import backup_key_store, check_key_store
from signer.store.signing_gate import ContentKeyLedger
from tests.unit.store.stores import DAY, NOW, change, new_key, raw

Start = Callable[..., subprocess.Popen[str]]
ROOT = Path(__file__).resolve().parents[3]
ROUNDS_OF_KILLING = 12


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program of workers.py; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(what: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("workers.py")), what, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def claims_in(path: Path) -> set[int]:
    with closing(raw(path)) as connection:
        rows = connection.execute("SELECT fingerprint FROM content_keys_used").fetchall()
    return {int.from_bytes(fingerprint, "big") for (fingerprint,) in rows}


def test_of_many_processes_exactly_one_gets_each_claim(store_path: Path, start: Start) -> None:
    processes = [start("claim_shared", store_path, seed, 40) for seed in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    got = [[int(line) for line in process.communicate(timeout=120)[0].split()] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sorted(number for own in got for number in own) == list(range(40))
    assert claims_in(store_path) == set(range(40))
    check_key_store(store_path)


def test_many_processes_change_the_store_and_wait_for_each_other(store_path: Path, start: Start) -> None:
    """None fails for want of a lock; and of all who suspend one key, exactly one did."""
    with open_key_store(store_path) as store:
        shared = store.register(new_key(sequence=1), change())
        store.activate(shared.cka_id, NOW, NOW + DAY, change())
    processes = [start("register_and_suspend", store_path, number) for number in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(printed) == ["KS-11", "KS-11", "KS-11", "suspended"]
    with open_key_store(store_path) as store:
        assert len(store.keys()) == 1 + 4 * 5
        newest = store.state_history(shared.cka_id)[-1]
    assert newest.change.reason == f"by process {printed.index('suspended')}"
    check_key_store(store_path)


def test_kill_9_at_any_moment_keeps_every_claim_that_returned(store_path: Path, start: Start) -> None:
    """After each kill every printed claim is there, and at most one more: the one that was being made."""
    acknowledged: set[int] = set()
    for round_number in range(ROUNDS_OF_KILLING):
        first = round_number * 100_000
        process = start("claim_forever", store_path, first)
        assert process.stdout is not None
        line = process.stdout.readline()
        time.sleep(0.0007 * round_number)
        process.send_signal(signal.SIGKILL)
        printed = {
            int(number) for number in [line, *process.communicate()[0].splitlines(keepends=True)] if number[-1:] == "\n"
        }
        assert printed
        acknowledged |= printed
        check_key_store(store_path)
        claims = claims_in(store_path)
        assert acknowledged <= claims
        unprinted = claims - acknowledged
        assert unprinted <= {max(printed) + 1}
        acknowledged |= unprinted
        with pytest.raises(PolicyViolation, match="CEK-REUSE"):
            ContentKeyLedger(store_path, NOW).claim(max(printed).to_bytes(32, "big"))


def test_a_process_killed_inside_a_transaction_leaves_nothing_of_it(store_path: Path, start: Start) -> None:
    with open_key_store(store_path) as store:
        store.register(new_key(), change())
    process = start("die_in_transaction", store_path)
    assert process.wait(timeout=60) == -signal.SIGKILL
    journal = store_path.with_name(store_path.name + "-journal")
    assert journal.stat().st_size > 0, "SQLite must have begun to write the file, or the test shows nothing"
    torn = store_path.with_name("without-its-journal.sqlite")
    shutil.copy2(store_path, torn)
    with open_key_store(store_path) as store:
        assert store.key(new_key().label).cka_id == new_key().cka_id
    assert not journal.exists()
    assert claims_in(store_path) == set()
    check_key_store(store_path)
    assert torn.read_bytes() != store_path.read_bytes()


def test_a_store_that_stays_locked_is_one_clear_error(
    store_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_SECONDS", 0.2)
    process = start("hold", store_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(KeyStoreBusy, match="try again"):
        ContentKeyLedger(store_path, NOW).claim(bytes(32))
    with open_key_store(store_path) as store:
        with pytest.raises(KeyStoreBusy, match="try again"):
            store.register(new_key(), change())
        assert store.keys() == ()
        process.kill()
        process.wait()
        assert store.register(new_key(), change()).label == new_key().label


def test_a_backup_made_while_others_claim_is_whole(store_path: Path, tmp_path: Path, start: Start) -> None:
    process = start("claim_forever", store_path, 0)
    assert process.stdout is not None
    for round_number in range(5):
        newest = int(process.stdout.readline())
        backup = tmp_path / f"backup-{round_number}.sqlite"
        backup_key_store(store_path, backup)
        claims = claims_in(backup)
        assert claims == set(range(len(claims)))
        assert newest in claims
