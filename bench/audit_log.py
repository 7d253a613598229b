"""The audit log: durable logged signatures against unlogged ones, on SoftHSM; and how fast a large log is verified.

Both sides of the ratio sign with the same key in the same process and verify every signature. Logged ones have their
intent durable before the token is asked, and their result before the signature is returned, on the project's own disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.authority import SIGNING_KEY_LABEL, Authority
from bench.figures import Bound, Figure
from bench.interleaved import Measurement, interleave, timed

if TYPE_CHECKING:
    from signer.log.logged_key import LoggedKey
    from signer.signing_key import SigningKey

_SIGNATURES = 1024
_CALLERS = 4
_CALLERS_OF_ONE = 128
_ROUNDS = 10
_ENTRIES, _FEW_ENTRIES = 100_000, 10_000
_VERIFY_ROUNDS = 3
_VERIFIER = Path(__file__).parents[1] / "verifiers" / "audit_log.py"


def measure_audit_log(authority: Authority) -> list[Figure]:
    os.environ["SOFTHSM2_CONF"] = authority.environment["SOFTHSM2_CONF"]
    from signer.log.audit_log import open_audit_log
    from signer.log.logged_key import LoggedKey
    from signer.log.recovery import begin_log
    from signer.tokens import KeyRef, ModuleConfig, PinFile, find_module, load_module, parse_pkcs11_uri
    from signer.tokens.token import Token

    module = load_module(ModuleConfig(find_module("softhsm2")))
    folder = authority.folder / "bench-log"
    with Token(module, parse_pkcs11_uri(authority.token_uri)).open(PinFile(authority.pin_file)) as session:
        key = session.find(KeyRef(SIGNING_KEY_LABEL))
        # For the bench, the one key of the token signs the checkpoints as well.
        begin_log(folder, key, "bench", _now())
        with open_audit_log(folder, key) as log:
            logged = LoggedKey(key, SIGNING_KEY_LABEL, log, "bench", "a measurement", _now)
            rounds = interleave(_contestants(key, logged), _ROUNDS)
            log.checkpoint()
    ratio = "durable logged signatures/s by unlogged ones, all verified:"
    per_batch = _SIGNATURES // _CALLERS
    return [
        Figure(
            f"{ratio} {_CALLERS} callers, {per_batch} at a time",
            rounds.ratio("unlogged", "batches"), "ratio", Bound.AT_LEAST, 0.7,
        ),
        Figure(f"{ratio} {_CALLERS_OF_ONE} callers, one at a time", rounds.ratio("unlogged", "single"), "ratio"),
        Figure("durable logged signatures", _SIGNATURES / rounds.seconds("batches"), "signatures/s"),
        Figure("the same, unlogged", _SIGNATURES / rounds.seconds("unlogged"), "signatures/s"),
        *_verification(authority.folder),
    ]  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _contestants(key: SigningKey, logged: LoggedKey) -> dict[str, Measurement]:
    from pki.values import Digest, Scheme

    digest, scheme = Digest(bytes([0xA5]) * 32), Scheme.ECDSA_P256_SHA256_RAW

    def unlogged() -> None:
        for _ in range(_SIGNATURES):
            key.sign(digest, scheme)

    def batch() -> None:
        logged.sign_all([digest] * (_SIGNATURES // _CALLERS), scheme)

    def some() -> None:
        for _ in range(_SIGNATURES // _CALLERS_OF_ONE):
            logged.sign(digest, scheme)

    return {
        "unlogged": lambda: timed(unlogged),
        "batches": lambda: timed(lambda: _side_by_side(batch, _CALLERS)),
        "single": lambda: timed(lambda: _side_by_side(some, _CALLERS_OF_ONE)),
    }


def _side_by_side(work: Callable[[], None], callers: int) -> None:
    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(work) for _ in range(callers)]:
            done.result()


# Verification


def _verification(folder: Path) -> list[Figure]:
    few, many = (_make_log(folder / f"log-of-{count}", count) for count in (_FEW_ENTRIES, _ENTRIES))
    seconds = sorted(timed(lambda: _verify(many)) for _ in range(_VERIFY_ROUNDS))[_VERIFY_ROUNDS // 2]
    peaks = [_verify(path) for path in (few, many)]
    return [
        Figure(
            f"verifying a log of {_ENTRIES:,} entries, all processors, whole command", _ENTRIES / seconds, "entries/s"
        ),
        Figure("1,000,000 entries at this rate", 1_000_000 / (_ENTRIES / seconds), "s"),
        Figure(f"peak memory of the verifier's largest process, {_FEW_ENTRIES:,} entries", peaks[0], "MiB"),
        Figure(f"the same, {_ENTRIES:,} entries", peaks[1], "MiB"),
    ]


def _make_log(folder: Path, count: int) -> Path:
    """Tiles and checkpoint of a log of signatures, as a log has them, signed by a key in software."""
    from signer.log.checkpoint import TreeHead, sign_head
    from signer.log.entry import encode_entry
    from signer.log.recovery import origin_of, public_key_pem
    from signer.log.tiles import TileWriter
    from signer.log.values import Event, EventKind
    from tests.unit.log.software_key import SoftwareKey

    key, at = SoftwareKey(), datetime(2026, 1, 1, tzinfo=UTC)
    folder.mkdir()
    writer = TileWriter(folder, 0, [])
    for number in range(count):
        details = {"digest": "a5" * 32, "intent": number, "key_label": SIGNING_KEY_LABEL, "purpose": "package sign"}
        writer.add(encode_entry(Event(kind=EventKind.SIGN_INTENT, actor="bench", details=details), at))
    writer.finish()
    head = TreeHead(origin_of(key.public_key), count, writer.root)
    (folder / "checkpoint").write_bytes(sign_head(head, key).note)
    (folder / "log.pub.pem").write_bytes(public_key_pem(key.public_key))
    return folder


def _verify(folder: Path) -> float:
    """Verify as anybody would, in processes of its own; the peak memory of the largest of them in MiB."""
    # VmHWM, because ru_maxrss of a process that was just started still counts the one that started it.
    program = (
        "import resource, runpy, sys\nfrom contextlib import suppress\n"
        "sys.argv = sys.argv[1:]\n"
        "with suppress(SystemExit):\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "own = next(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))\n"
        "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
    )
    command = [sys.executable, "-c", program, str(_VERIFIER), str(folder), "--log-key", str(folder / "log.pub.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    if not done.stdout.startswith("sound:"):
        raise RuntimeError(f"the verifier said: {done.stdout}")
    return int(done.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    import tempfile

    from bench.authority import make_authority
    from bench.figures import table

    with tempfile.TemporaryDirectory(prefix="bench-", dir=Path(__file__).parents[1] / "build") as scratch:
        begun = time.monotonic()
        print(table(measure_audit_log(make_authority(Path(scratch)))))
        print(f"{time.monotonic() - begun:.0f} s")
