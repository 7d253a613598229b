"""Importers side by side, and importers that are killed: each file whole, once, or not at all. On both databases."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioning.registry.registry import Registry
from tests.registry.production_line import Board, Key, Line, Station
from tests.registry.world import rows_of, sizes_of, take

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(url: str, line: Line, tmp_path: Path) -> Iterator[Start]:
    """Starts importers, which wait for a line; whatever is left of them is killed."""
    trust = tmp_path / "trust"
    trust.write_bytes(pickle.dumps(line.trust))
    started: list[subprocess.Popen[str]] = []

    def begin(content: bytes, *moment: str) -> subprocess.Popen[str]:
        file = tmp_path / f"{len(started)}.births"
        file.write_bytes(content)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.registry.importer", url, file, trust, *moment],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stations(line: Line, count: int, boards: int) -> list[Station]:
    """Of one order, each with its ledger."""
    keys = [Key.new() for _ in range(count)]
    order = line.order(dict.fromkeys(keys, 100))
    found = [Station(line, key, order) for key in keys]
    for first, station in enumerate(found):
        for number in range(boards):
            station.make(Board.new(1000 * first + number + 1))
    return found


def test_importers_side_by_side_take_everything_once(registry: Registry, url: str, line: Line, start: Start) -> None:
    """Two of them with the same file, and a third with another station's of the same order."""
    first, second = stations(line, 2, 6)
    processes = [start(file) for file in (first.file(), first.file(), second.file())]
    assert [heard(process) for process in processes] == ["ready"] * 3
    for process in processes:
        go(process)
    told = [heard(process) for process in processes]
    assert sorted(told[:2]) == ["added 0", "added 12"]
    assert told[2] == "added 12"
    sums = registry.reconcile(first.order[8:24])
    assert [one.injected for one in sums.stations] == [6, 6]
    assert not sums.problems()
    rows = rows_of(url)
    assert len({row[0] for row in rows["devices"]}) == len(rows["devices"]) == 12
    assert len(rows["imports"]) == 2


@pytest.mark.parametrize("moment", ["block 2", "commit", "done"])
def test_a_killed_import_is_whole_or_nothing(
    registry: Registry, url: str, line: Line, start: Start, moment: str
) -> None:
    (station,) = stations(line, 1, 6)
    station.begin(Board.new(999))
    process = start(station.file(), moment)
    assert heard(process) == "ready"
    empty = sizes_of(url)
    go(process)
    assert heard(process) == "here"
    process.kill()
    process.wait()
    if moment == "done":
        assert registry.reconcile(station.order[8:24]).total("begun") == 7
    else:
        assert sizes_of(url) == empty
    assert take(registry, station.file(), line.trust).added == (0 if moment == "done" else 13)
    assert registry.reconcile(station.order[8:24]).total("injected") == 6
