"""Drills of docs/runbooks/lost-log-or-store.md."""

from __future__ import annotations

import shutil

import pytest

from tests.runbooks.conftest import Drill
from tests.runbooks.runbook import cases

RUNBOOK = "lost-log-or-store"
A, B, C, D = cases(RUNBOOK)


@pytest.mark.campaign
def test_a_damaged_index_is_made_again_from_the_tiles(drill: Drill) -> None:
    index = drill.world.root / "log" / "index.sqlite"
    content = bytearray(index.read_bytes())
    content[4096:8192] = bytes(4096)
    index.write_bytes(content)
    drill.hold(RUNBOOK, A)


@pytest.mark.campaign
def test_a_lost_log_is_restored_from_its_backup(drill: Drill) -> None:
    shutil.rmtree(drill.world.root / "log")
    drill.hold(RUNBOOK, B)


def test_a_lost_key_store_is_restored_and_the_newer_log_kept(drill: Drill) -> None:
    (drill.world.root / "store" / "keys.sqlite").unlink()
    drill.hold(RUNBOOK, C)


@pytest.mark.campaign
def test_a_changed_log_is_found_and_left_alone(drill: Drill) -> None:
    index = drill.world.root / "log" / "index.sqlite"
    bundle = max((drill.world.root / "log" / "tile" / "entries").rglob("*.p/*"), key=lambda path: int(path.name))
    content = bytearray(bundle.read_bytes())
    content[content.index(b"root")] ^= 1
    bundle.write_bytes(content)
    before = index.read_bytes()
    drill.hold(RUNBOOK, D, without="It worked if")
    assert index.read_bytes() == before
