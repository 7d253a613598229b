"""Programs that the tests start as processes of their own: `python workers.py <what> <key store> …`."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from pki.errors import PolicyViolation, StrongroomError
from signer.store.signing_gate import ContentKeyLedger
from signer.store.sqlite_file import connect

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def claim_shared(path: Path, seed: str, count: str) -> None:
    """Claim the fingerprints 0 to count - 1, in an order of one's own; print those that were ours."""
    import random

    numbers = list(range(int(count)))
    random.Random(int(seed)).shuffle(numbers)
    sys.stdin.readline()  # all processes begin together
    for number in numbers:
        try:
            ContentKeyLedger(path, NOW).claim(number.to_bytes(32, "big"))
        except PolicyViolation:
            continue
        print(number, flush=True)


def claim_forever(path: Path, start: str) -> None:
    """Claim one after the other, printing each number after its claim returned; ends by being killed."""
    number = int(start)
    while True:
        ContentKeyLedger(path, NOW).claim(number.to_bytes(32, "big"))
        print(number, flush=True)
        number += 1


def register_and_suspend(path: Path, number: str) -> None:
    """Register keys of one's own, and try to suspend the one key that all of these processes share; print who did."""
    from pki.key_states import KeyState
    from signer.store.key_store import open_key_store
    from tests.unit.store.stores import change, new_key

    shared = new_key(sequence=1)
    with open_key_store(path) as store:
        sys.stdin.readline()  # all processes begin together
        for own in range(5):
            store.register(new_key(sequence=100 + 5 * int(number) + own), change())
        try:
            store.change_state(shared.cka_id, KeyState.SUSPENDED, change(reason=f"by process {number}"))
        except PolicyViolation as violation:
            print(violation.rule_id)
        else:
            print("suspended")


def die_in_transaction(path: Path) -> None:
    """Change much in one transaction, so that SQLite has written to the file already; then die without a word."""
    connection = connect(path)
    connection.execute("PRAGMA cache_size = 2")
    connection.execute("BEGIN IMMEDIATE")
    for number in range(2_000):
        row = (number.to_bytes(32, "big"), "2026-11-22T12:00:00.000000Z")
        connection.execute("INSERT INTO content_keys_used VALUES (?, ?)", row)
    os.kill(os.getpid(), signal.SIGKILL)


def hold(path: Path) -> None:
    """Hold the write lock until killed."""
    connection = connect(path)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.read()


def claim_with_little_space(path: Path) -> None:
    """Claim while no file may grow beyond the size that the key store has already; print the error."""
    import resource

    size_bytes = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
    for number in range(10_000):
        try:
            ContentKeyLedger(path, NOW).claim(number.to_bytes(32, "big"))
        except StrongroomError as error:
            print(type(error).__name__, number, error, sep="\n")
            return


def claim_without_permission(path: Path) -> None:
    """Claim in a read-only key store, as nobody where we are root, whom modes do not bind; print the error."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        ContentKeyLedger(path, NOW).claim(bytes(32))
    except StrongroomError as error:
        print(type(error).__name__, error, sep="\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
