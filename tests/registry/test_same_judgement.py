"""The station's own ledger rules and the registry's are two readings of one specification: they judge alike."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from pki.errors import PolicyViolation
from provisioning.registry.registry import Registry
from provisioning.station.boards import Boards, Standing
from provisioning.station.records import BirthRecord, parse_record
from tests.registry.production_line import Board, Line, Station, canonical
from tests.registry.world import new_station, refuses, rows_of, take

OPERATIONS = 20
STATES = {"activated": Standing.ACTIVATED, "scrapped": Standing.SCRAPPED}


def do_something(station: Station, boards: list[Board], chosen: random.Random) -> None:
    """Whatever comes to mind, allowed or not."""
    board = chosen.choice(boards)
    wanted: list[Callable[[Board], object]] = [station.begin, station.fail, station.scrap]
    if board.uid in station.latest:
        wanted += [station.renew, station.activate, station.activate]
    chosen.choice(wanted)(board)


def judged(own: Boards, record: BirthRecord) -> str | None:
    try:
        own.take(record)
    except PolicyViolation as error:
        return error.rule_id
    return None


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.campaign) for n in range(2, 12))])
def test_station_and_registry_judge_alike(registry: Registry, url: str, line: Line, seed: int) -> None:
    chosen = random.Random(seed)
    station = new_station(line, quota=4)
    boards = [Board.new(number, f"SN-{number % 4}") for number in range(1, 6)]
    own = Boards(station.order[8:24], station.order_digest, station.key.public.spki_sha256, 4)
    refusals = 0
    for _ in range(OPERATIONS):
        begun, latest = station.begun, dict(station.latest)
        do_something(station, boards, chosen)
        record = parse_record(canonical(station.records[-1]))
        rule = judged(own, record)
        if rule is None:
            continue
        refusals += 1
        message = refuses(registry, url, rule, station.file(), line.trust)
        assert re.search(rf"birth record {record.number} ", message)
        station.records.pop()
        station.begun, station.latest = begun, latest
        take(registry, station.file(), line.trust)
    take(registry, station.file(), line.trust)
    assert refusals >= 3
    found = {bytes.fromhex(str(row[1])): (row[2], row[4]) for row in rows_of(url)["births"]}
    expected = {board.uid: board for board in own.all()}
    assert found.keys() == expected.keys()
    for uid, (sequence, state) in found.items():
        assert sequence == expected[uid].sequence
        if state in STATES:
            assert expected[uid].standing is STATES[state]
        else:
            assert expected[uid].standing in (Standing.BEGUN, Standing.REFUSED)
