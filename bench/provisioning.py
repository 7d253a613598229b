"""Provisioning: four stations side by side, each with its own token, order, ledger and fixture of simulated boards.

Everything is what it is on a line: processes, serial lines (pseudo-terminals), SoftHSM, a ledger on the disk with
`synchronous=EXTRA`, evidence on the token before an activation leaves. Boards run the reference bootloader. The tokens'
own files are in memory, since SoftHSM does not sync them anyway and a real HSM's are not on this disk (docs/adr/0093).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.figures import Bound, Figure
from tests.cli.release_world import ReleaseWorld, build_release
from tests.cli.world import World, build_world, configure_softhsm
from tests.stations.station_world import Fixture, Station, StationWorld, build_station, uid_of

STATIONS = 4
NESTS = 4
BOARDS_PER_STATION = 60
WARM_UP_BOARDS = 4
SECONDS_PER_HOUR = 3600
TARGET_DEVICES_PER_HOUR = 20_000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class _Line:
    """One station with its fixture, and the operator who feeds it."""

    number: int
    station: Station
    fixture: Fixture
    next_board: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self, boards: int) -> None:
        """Every nest is filled again as soon as it has its verdict."""
        for nest in range(min(NESTS, boards)):
            self._insert(nest)
        for left in range(boards, 0, -1):
            verdict = self.station.verdict()
            if not verdict["passed"]:
                self.failures.append(str(verdict))
            self.fixture.remove(verdict["nest"])
            if left > NESTS:
                self._insert(verdict["nest"])

    def _insert(self, nest: int) -> None:
        self.fixture.insert(nest, uid_of(self.number * 100_000 + self.next_board), flash="blank")
        self.next_board += 1


def measure_provisioning(folder: Path) -> list[Figure]:
    """Devices an hour with four stations, and what a device costs in processor time. `folder` is on the disk."""
    memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    tokens = Path(tempfile.mkdtemp(prefix="strongroom-bench-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        with pytest.MonkeyPatch.context() as patch:
            world = _world(tokens, patch)
            return _measure(world, folder)
    finally:
        shutil.rmtree(tokens)


def _world(folder: Path, patch: pytest.MonkeyPatch) -> StationWorld:
    environment = configure_softhsm(folder)
    patch.setenv("SOFTHSM2_CONF", environment["SOFTHSM2_CONF"])
    build_world(World(folder, environment))
    build_release(ReleaseWorld(folder, environment))
    world = StationWorld(folder, environment)
    build_station(world, STATIONS)
    return world


def _measure(world: StationWorld, folder: Path) -> list[Figure]:
    with ExitStack() as stack:
        lines = [_line(world, folder, number, stack) for number in range(STATIONS)]
        _feed(lines, WARM_UP_BOARDS)
        stations = [line.station.process.pid for line in lines]
        fixtures = [line.fixture.process.pid for line in lines]
        before = (_processor_seconds(stations), _processor_seconds(fixtures))
        begun = time.monotonic()
        _feed(lines, BOARDS_PER_STATION)
        seconds = time.monotonic() - begun
        used = (_processor_seconds(stations) - before[0], _processor_seconds(fixtures) - before[1])
    failures = [failure for line in lines for failure in line.failures]
    if failures:
        raise RuntimeError(f"{len(failures)} boards failed, the first: {failures[0]}")
    devices = STATIONS * BOARDS_PER_STATION
    cores = len(os.sched_getaffinity(0))
    both = sum(used) / devices
    return [
        Figure(
            "provisioning, 4 stations, ledgers on disk, simulated boards on serial lines",
            devices / seconds * SECONDS_PER_HOUR,
            "devices/h",
            Bound.AT_LEAST,
            TARGET_DEVICES_PER_HOUR,
        ),
        Figure("the same if nothing else ran on these cores", cores / both * SECONDS_PER_HOUR, "devices/h"),
        Figure("processor time of a device, station", used[0] / devices * 1000, "ms"),
        Figure("processor time of a device, simulated board and fixture", used[1] / devices * 1000, "ms"),
    ]


def _line(world: StationWorld, folder: Path, number: int, stack: ExitStack) -> _Line:
    place = folder / f"line-{number}"
    world.make_station_at(place, 10 * BOARDS_PER_STATION, number)
    fixture = stack.enter_context(world.fixture(NESTS, name=f"fixture-{number}"))
    return _Line(number, stack.enter_context(world.station(place, fixture)), fixture)


def _feed(lines: Sequence[_Line], boards: int) -> None:
    threads = [threading.Thread(target=line.run, args=(boards,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _processor_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes so far (proc(5), stat, fields 14 and 15)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS
