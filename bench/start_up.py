"""Whole processes: what our commands take from start to end, against processes that only import what they need."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from bench.authority import Authority, run_quietly, strongroom
from bench.figures import Bound, Figure
from bench.interleaved import Measurement, interleave, timed

_IMAGE_SIZE_BYTES = 512 * 1024
_ROUNDS = 30
_SECONDS_MAX = 60
_IMPORTS_ONLY = "import typer, pkcs11, cryptography.hazmat.primitives.asymmetric.ec"
# What these libraries load themselves as soon as a module is opened and a signature verified, whoever uses them.
_IMPORTS_WITH_DEFERRED = f"{_IMPORTS_ONLY}, pkcs11._pkcs11, cryptography.hazmat.backends.openssl.backend"
_EMPTY_APPLICATION = """\
import typer

app = typer.Typer()


@app.command()
def main() -> None:
    pass


app()
"""


def measure_start_up(authority: Authority) -> list[Figure]:
    out = authority.folder / "small.srp"
    firmware = authority.folder / "small.bin"
    firmware.write_bytes(os.urandom(_IMAGE_SIZE_BYTES))
    empty = authority.folder / "empty_application.py"
    empty.write_text(_EMPTY_APPLICATION, encoding="utf-8")
    imgtool_out = authority.folder / "imgtool.bin"

    def process(*command: str, made: Path | None = None) -> Measurement:
        return _process(authority, command, made)

    build = strongroom(*authority.build_arguments(firmware, out))
    imgtool = _imgtool_sign(authority, firmware, imgtool_out)
    rounds = interleave(
        {
            "imports": process(sys.executable, "-c", _IMPORTS_ONLY),
            "build": process(*build, made=out),
            "imports with deferred": process(sys.executable, "-c", _IMPORTS_WITH_DEFERRED),
            "empty --help": process(sys.executable, str(empty), "--help"),
            "strongroom --help": process(*strongroom("--help")),
            "imgtool sign": process(*imgtool, made=imgtool_out),
        },
        _ROUNDS,
    )
    whole = "whole process"
    return [
        Figure(
            "package build, 512 kB, key in SoftHSM: whole process by one that only imports typer, pkcs11, cryptography",
            rounds.ratio("build", "imports"), "ratio", Bound.AT_MOST, 1.3,
        ),
        Figure(
            "the same by one that also imports what these libraries load when they are first used",
            rounds.ratio("build", "imports with deferred"), "ratio",
        ),
        Figure(
            "strongroom --help: whole process by an empty typer application's",
            rounds.ratio("strongroom --help", "empty --help"), "ratio", Bound.AT_MOST, 1.2,
        ),
        Figure(f"package build, 512 kB, key in SoftHSM: {whole}", rounds.seconds("build") * 1000, "ms"),
        Figure(f"imgtool sign, 512 kB, key in a file: {whole}", rounds.seconds("imgtool sign") * 1000, "ms"),
        Figure(f"import typer, pkcs11, cryptography: {whole}", rounds.seconds("imports") * 1000, "ms"),
        Figure(f"strongroom --help: {whole}", rounds.seconds("strongroom --help") * 1000, "ms"),
        Figure(f"empty typer application --help: {whole}", rounds.seconds("empty --help") * 1000, "ms"),
    ]  # fmt: skip


def _process(authority: Authority, command: tuple[str, ...], made: Path | None) -> Measurement:
    """Seconds from start to end of a process that must succeed; the file that it makes is removed."""

    def run() -> None:
        with subprocess.Popen(command, env=authority.environment, stdout=subprocess.DEVNULL) as process:
            # `wait(timeout=…)` looks every 50 ms whether the process has ended: what it measures is rounded up to that.
            guard = threading.Timer(_SECONDS_MAX, process.kill)
            guard.start()
            code = process.wait()
            guard.cancel()
        if code:
            raise subprocess.CalledProcessError(code, command)

    def measure() -> float:
        seconds = timed(run)
        if made is not None:
            made.unlink()
        return seconds

    return measure


def _imgtool_sign(authority: Authority, firmware: Path, out: Path) -> list[str]:
    """`imgtool` from the environment that `make setup` made for it, with a software key for this purpose only."""
    imgtool = Path(__file__).parents[1] / ".venv-imgtool" / "bin" / "imgtool"
    key = authority.folder / "fake" / "imgtool.pem"
    run_quietly([str(imgtool), "keygen", "--key", str(key), "--type", "ecdsa-p256"], authority.environment)
    sizes = ("--header-size", "1024", "--pad-header", "--slot-size", str(2 * _IMAGE_SIZE_BYTES))
    return [
        *(str(imgtool), "sign", "--key", str(key), "--version", "1.0.0", "--align", "8", *sizes),
        *(str(firmware), str(out)),
    ]
