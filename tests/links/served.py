"""`strongroom device serve` as a process of its own, and stock SMP clients as others: what tests of links share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.device_file import encode_device, read_device_file

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".venv-clients" / "bin"
START_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Served:
    """A running command. `lines` is what it printed: one JSON object for each link."""

    process: subprocess.Popen[bytes]
    lines: tuple[dict[str, Any], ...]

    @cached_property
    def vias(self) -> list[str]:
        return [str(line["via"]) for line in self.lines]

    @property
    def pids(self) -> list[int]:
        """The processes of the devices, in their order, as they were when they were begun."""
        return [int(pid) for pid in self.lines[0]["pids"]]

    def via(self, scheme: str) -> str:
        """The one address that begins so."""
        (via,) = [via for via in self.vias if via.startswith(scheme)]
        return via

    def stop(self) -> int:
        """SIGTERM, and its exit code: device files are written whole."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def write_devices(folder: Path, devices: Sequence[SimulatedDevice]) -> list[Path]:
    """One device file each."""
    paths = [folder / f"device-{number + 1}.img" for number in range(len(devices))]
    for path, device in zip(paths, devices, strict=True):
        path.write_bytes(encode_device(device))
    return paths


def begin_serving(paths: Sequence[Path], *options: str) -> subprocess.Popen[bytes]:
    """The command, begun; nothing is waited for."""
    command = [sys.executable, "-m", "cli.start", "device", "serve", "--json", *map(str, paths), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=_environment())


@contextmanager
def serving(paths: Sequence[Path], *options: str, links: int = 1) -> Iterator[Served]:
    """The command while the body runs; `links` lines are waited for."""
    process = begin_serving(paths, *options)
    try:
        yield Served(process, tuple(read_lines(process, links)))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def read_lines(process: subprocess.Popen[bytes], count: int) -> list[dict[str, Any]]:
    """So many lines of JSON from its stdout; an AssertionError if it ends before."""
    assert process.stdout is not None
    lines = []
    for _ in range(count):
        line = process.stdout.readline()
        assert line, f"device serve ended with {process.wait(5)}"
        lines.append(json.loads(line))
    return lines


def device_in(path: Path) -> SimulatedDevice:
    """What is in a device file, and its log, when nobody serves it."""
    return read_device_file(path)


def run_client(*arguments: str, timeout_seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """A stock client, as anyone would call it."""
    return subprocess.run(
        [str(CLIENTS / arguments[0]), *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        env={"PATH": os.environ["PATH"], "COLUMNS": "200", "NO_COLOR": "1"},
        check=False,
    )


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
