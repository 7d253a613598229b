"""Drills of docs/runbooks/lost-station.md: a station with three records, of which its backup has one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.runbooks.conftest import Drill
from tests.runbooks.runbook import cases
from tests.stations.station_world import StationWorld, build_station, uid_of

RUNBOOK = "lost-station"
A, B, _ = cases(RUNBOOK)


@pytest.fixture
def tokens_before(drill: Drill) -> Path:
    """`desk/line-1` with a backup and an export; and the token's files as they were before the last two records."""
    world = StationWorld(drill.world.folder, drill.world.environment)
    build_station(world)
    desk, before = world.root / "desk", world.folder / "tokens-before"
    line = desk / "line-1"
    world.ok(*world.init_arguments(line, world.make_order()))
    for number in range(3):
        if number == 1:
            world.ok("station", "backup", line, desk / "line-1.backup")
            shutil.copytree(world.folder / "tokens", before)
        world.ok("station", "scrap", line, uid_of(number), "--reason", "drill")
    world.ok("station", "export", line, "-o", desk / "line-1.births")
    return before


@pytest.mark.usefixtures("tokens_before")
def test_a_lost_folder_is_restored_with_what_was_exported(drill: Drill) -> None:
    shutil.rmtree(drill.world.root / "desk" / "line-1")
    drill.hold(RUNBOOK, A)


@pytest.mark.campaign
def test_a_token_that_lost_its_newest_writes(drill: Drill, tokens_before: Path) -> None:
    shutil.rmtree(drill.world.folder / "tokens")
    shutil.copytree(tokens_before, drill.world.folder / "tokens")
    drill.hold(RUNBOOK, B)
