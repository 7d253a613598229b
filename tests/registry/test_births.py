"""Births are taken whole, verified, once; whatever is not so is refused by its rule. On both databases."""

from __future__ import annotations

import io
from typing import Any

from provisioning.registry.births_taking import BirthsTaken
from provisioning.registry.registry import Registry
from provisioning.registry.trust import Trust
from tests.registry.production_line import NOW, Board, Key, Line, Station


def new_station(line: Line, quota: int = 10, **order: Any) -> Station:
    key = Key.new()
    return Station(line, key, line.order({key: quota}, **order))


def take(registry: Registry, file: bytes, trust: Trust, **options: Any) -> BirthsTaken:
    return registry.take_births(io.BytesIO(file), NOW, who="tester", trust=trust, **options)


def test_births_are_taken_and_found(registry: Registry, line: Line) -> None:
    station = new_station(line)
    boards = [Board.new(n, f"SN-{n}") for n in range(1, 4)]
    for board in boards:
        station.make(board)
    taken = take(registry, station.file(), line.trust)
    assert (taken.added, taken.last_number) == (6, 6)
    assert taken.events == {"begun": 3, "activated": 3}
    for board in boards:
        assert registry.identity_key(board.uid) == board.identity.public
