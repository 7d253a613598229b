"""Kill a process at every durable write of the log's life, open what is left, and compare it with what was promised.

Run with cut_shim.so preloaded: `python -m tests.unit.log.crash_rig STRIDE CONTROL`. One process is the parent of all
the dying ones, so that each costs a fork and not a start. Prints one JSON document.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pki.errors import StrongroomError
from signer.log.audit_log import TileLog, open_audit_log
from signer.log.checkpoint import NoteSignature, parse_checkpoint
from signer.log.recovery import begin_log
from tests.unit.log.logs import BEGUN, event, fast_folder, later
from tests.unit.log.software_key import SoftwareKey
from verifiers.audit_log import LogFault, verify_log

Promise = Callable[[str], None]
_CALLS_MAX = 1000


def life(folder: Path, key: SoftwareKey, promise: Promise, control: str) -> None:
    """What a log goes through, each promise after what it promises (and before, in the control)."""
    begin_log(folder, key, "ada", BEGUN)
    promise("begun")
    log = open_audit_log(folder, key)
    append(log, promise, 1, control)
    append(log, promise, 3, control)
    promise("checkpoint " + log.checkpoint().decode())
    append(log, promise, 270, control)
    note = log.checkpoint()
    promise("checkpoint " + note.decode())
    log.add_cosignature(parse_checkpoint(note).head, NoteSignature("witness", b"1234", b"cosigned"))
    promise("cosigned")
    append(log, promise, 2, control)
    promise("checkpoint " + log.checkpoint().decode())


def append(log: TileLog, promise: Promise, count: int, control: str) -> None:
    size = log.size
    if control == "early":
        promise(f"size {size + count}")
    log.append([event(size + number) for number in range(count)], later(size))
    promise(f"size {size + count}")


def killed_life(key: SoftwareKey, folder: Path, at: int, after: bool, control: str) -> tuple[list[str], bool]:
    """What was promised before the process died, and whether it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        shim = ctypes.CDLL(None)
        shim.cut_arm(ctypes.c_long(at), int(after))
        try:
            life(folder, key, lambda text: _write(writing, text), control)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        promises = [text.decode() for text in stream.read().split(b"\0") if text]
    _, status = os.waitpid(child, 0)
    return promises, os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode() + b"\0")


def broken_promise(key: SoftwareKey, folder: Path, promises: list[str]) -> str | None:
    """What was promised and is not so; None if all is well. Ends by using the log on."""
    if not (folder / "index.sqlite").exists():
        return "the log is gone" if promises or folder.exists() else None
    sizes = [int(text.split()[1]) for text in promises if text.startswith("size")]
    notes = [text.removeprefix("checkpoint ") for text in promises if text.startswith("checkpoint")]
    try:
        with open_audit_log(folder, key) as log:
            if log.size < max(sizes, default=1):
                return f"{log.size} entries of {max(sizes)}"
            if notes and parse_checkpoint((folder / "checkpoint").read_bytes()).head.size < (
                parse_checkpoint(notes[-1].encode()).head.size
            ):
                return "an older checkpoint"
            if "cosigned" in promises and b"witness" not in (folder / "witnessed").read_bytes():
                return "no cosignature"
            log.append([event(99_999)], later(99_999))
            log.checkpoint()
            log.prove(log.size - 1)
        verify_log(folder, [key.pem], earlier=[("promised", note.encode()) for note in notes])
    except (StrongroomError, LogFault) as error:
        return f"{type(error).__name__}: {error}"
    return None


def main(stride: int, control: str) -> int:
    key = SoftwareKey()
    count, broken = 0, []
    finished = False
    for after in (False, True):
        finished = False
        for at in range(1 + (stride - 1) * int(after) // 2, _CALLS_MAX, stride):
            with fast_folder() as place:
                promises, died = killed_life(key, place / "log", at, after, control)
                problem = broken_promise(key, place / "log", promises)
                count += 1
                if problem is not None:
                    broken.append(f"killed {'after' if after else 'before'} call {at}: {problem}")
                if not died:
                    finished = True
                    break
    json.dump({"cuts": count, "broken": broken, "finished": finished}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
