"""`package build` of a large image against the work that no implementation can leave out, and the memory it takes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

from bench.authority import Authority
from bench.figures import Bound, Figure
from bench.interleaved import interleave, timed

_IMAGE_SIZE_BYTES = 16 * 1024 * 1024
_BLOCK_SIZE_BYTES = 256 * 1024  # stays in the processor's cache: the fastest of the sizes tried
_ROUNDS = 25

_PRINT_PEAK = r"""
import re
with open("/proc/self/status") as status:
    print("peak kB", re.search(r"VmHWM:\s+(\d+) kB", status.read())[1])
"""
_RUN_COMMAND = f"""
import sys
from cli.main import run
if run(sys.argv[1:]) != 0:
    sys.exit("package build failed")
{_PRINT_PEAK}"""


def measure_large_build(authority: Authority) -> list[Figure]:
    os.environ["SOFTHSM2_CONF"] = authority.environment["SOFTHSM2_CONF"]
    content = os.urandom(_IMAGE_SIZE_BYTES)
    firmware = authority.folder / "large.bin"
    firmware.write_bytes(content)
    rounds = interleave(
        {"floor": lambda: _floor(content, authority.folder), "build": lambda: _build(authority, firmware)}, _ROUNDS
    )
    memory = _peak_kilobytes(authority, _RUN_COMMAND, *authority.build_arguments(firmware, authority.folder / "m.srp"))
    memory_of_interpreter = _peak_kilobytes(authority, _PRINT_PEAK)
    size_megabytes = _IMAGE_SIZE_BYTES / 1e6
    return [
        Figure(
            "package build, 16 MB: time of AES-256-CTR, 3 × SHA-256 and one durable copy, by its own time",
            rounds.ratio("floor", "build"), "ratio", Bound.AT_LEAST, 0.6,
        ),
        Figure("package build, 16 MB", size_megabytes / rounds.seconds("build"), "MB/s"),
        Figure(
            "package build, 16 MB: peak memory of its process over that of a bare interpreter",
            (memory - memory_of_interpreter) / 1024, "MiB", Bound.AT_MOST, 64,
        ),
        Figure("bare interpreter: peak memory", memory_of_interpreter / 1024, "MiB"),
    ]  # fmt: skip


def _build(authority: Authority, firmware: Path) -> float:
    """The whole command in this process: command line, authority files, key store, token, package."""
    from cli.main import run

    out = authority.folder / "large.srp"
    arguments = authority.build_arguments(firmware, out)
    with redirect_stdout(io.StringIO()):
        seconds = timed(lambda: _require_success(run(arguments)))
    out.unlink()
    return seconds


def _require_success(exit_code: int) -> None:
    if exit_code != 0:
        raise RuntimeError(f"package build failed with exit code {exit_code}")


def _floor(content: bytes, folder: Path) -> float:
    """One pass of AES-256-CTR, three of SHA-256, one copy written and made durable: all of the same bytes."""
    copy = folder / "floor.bin"

    def work() -> None:
        _encrypt(content)
        for _ in range(3):
            _hash(content)
        _write(content, copy)

    seconds = timed(work)
    copy.unlink()
    return seconds


def _encrypt(content: bytes) -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    update_into = Cipher(algorithms.AES256(bytes(32)), modes.CTR(bytes(16))).encryptor().update_into
    # update_into wants room for almost one AES block more than it writes.
    buffer = memoryview(bytearray(_BLOCK_SIZE_BYTES + 15))
    for block in _blocks(content):
        update_into(block, buffer)


def _hash(content: bytes) -> None:
    state = hashlib.sha256()
    for block in _blocks(content):
        state.update(block)
    state.digest()


def _write(content: bytes, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for block in _blocks(content):
            if os.write(descriptor, block) != block.nbytes:
                raise RuntimeError(f"{path} was not written whole")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _blocks(content: bytes) -> Iterator[memoryview]:
    view = memoryview(content)
    return (view[offset : offset + _BLOCK_SIZE_BYTES] for offset in range(0, len(content), _BLOCK_SIZE_BYTES))


def _peak_kilobytes(authority: Authority, program: str, *arguments: str) -> int:
    """The largest resident size of a process of its own that runs `program`, as the process itself sees it.

    The parent's view would count what the child shared with its parent before it began.
    """
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(
        command, env=authority.environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    found = re.search(r"^peak kB (\d+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no peak memory in the output:\n{done.stdout}")
    return int(found[1])
