"""A station killed at every moment of one board's way, once and twice: nothing is counted twice, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provisioning.station.boards import Standing
from provisioning.station.record_proofs import verify_proofs
from provisioning.station.station import Station
from tests.stations.kills import FileEvidence, answers_before_it_is_durable, attempt_until_killed
from tests.stations.paper_bench import Bench, PaperNest
from tests.stations.paper_device import LOCKED, OPERATIONAL, Chip

MOMENTS_MAX = 200


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, evidence=FileEvidence(tmp_path / "token"), quota=500).init()


def require_promises(station: Station, bench: Bench, chips: list[Chip]) -> None:
    """docs/spec/station.md, section 8."""
    boards = station.ledger.boards
    sequences: dict[int, bytes] = {}
    for signed in station.ledger.records():
        verify_proofs(signed, bench.order, bench.station_key.public_key)
        record = signed.record
        if record.event.value == "begun":
            assert record.sequence is not None
            assert record.sequence not in sequences
            sequences[record.sequence] = record.uid
    assert sorted(sequences) == list(range(1, len(sequences) + 1))
    assert len(set(sequences.values())) == len(sequences) == boards.begun
    for chip in chips:
        board = boards.board(chip.uid)
        if chip.lifecycle == OPERATIONAL:
            assert chip.activation in activations_on_record(station, chip.uid)
        if board is not None and board.standing is Standing.ACTIVATED:
            assert chip.lifecycle == OPERATIONAL


def activations_on_record(station: Station, uid: bytes) -> list[bytes]:
    """Every activation that may have been sent to a UID."""
    records = [signed.record for signed in station.ledger.records()]
    return [record.activation for record in records if record.uid == uid and record.activation is not None]


def kill_once(
    bench: Bench, number: int, kill_at: int, defect: Callable[[], None] = lambda: None
) -> tuple[PaperNest, bool]:
    """A new board, and a station that is killed; whether it was."""
    nest = bench.nest()
    nest.insert(bench.chip(number))
    return nest, attempt_until_killed(bench, nest, kill_at, defect).verdict is None


@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.campaign)])
def test_killed_at_every_moment_and_begun_again(bench: Bench, stride: int) -> None:
    chips: list[Chip] = []
    for moment in range(0, MOMENTS_MAX, stride):
        nest, killed = kill_once(bench, moment + 1, moment)
        chips.append(nest.powered.chip)
        if not killed:
            break
        again = attempt_until_killed(bench, nest, -1).verdict
        assert again is not None, f"moment {moment}"
        assert again.passed, f"moment {moment}: {again}"
    else:
        pytest.fail("it never ended")
    assert moment > 40
    station = bench.open()
    require_promises(station, bench, chips)
    boards = station.ledger.boards
    assert (boards.begun, boards.activated, boards.open) == (len(chips), len(chips), 0)


@pytest.mark.parametrize("shift", [3, 17])
def test_killed_again_while_it_begins_again(bench: Bench, shift: int) -> None:
    chips: list[Chip] = []
    for moment in range(shift % 5, MOMENTS_MAX, 9):
        nest, killed = kill_once(bench, moment + 1, moment)
        chips.append(nest.powered.chip)
        if not killed:
            break
        attempt_until_killed(bench, nest, (moment + shift) % 40)
        again = attempt_until_killed(bench, nest, -1).verdict
        assert again is not None
        assert again.passed, f"moments {moment}, {(moment + shift) % 40}: {again}"
    require_promises(bench.open(), bench, chips)


def test_killed_and_never_begun_again(bench: Bench) -> None:
    """What is left behind is LOCKED, or OPERATIONAL with its activation on record; the quota stays exact."""
    chips: list[Chip] = []
    for moment in range(1, MOMENTS_MAX, 4):
        nest, killed = kill_once(bench, moment + 1, moment)
        chips.append(nest.powered.chip)
        if not killed:
            break
    station = bench.open()
    require_promises(station, bench, chips)
    assert {chip.lifecycle for chip in chips} == {LOCKED, OPERATIONAL}
    assert station.ledger.boards.open > 0


def test_no_private_key_is_in_any_file(bench: Bench) -> None:
    nest, _ = kill_once(bench, 1, -1)
    chip = nest.powered.chip
    assert chip.identity is not None
    assert chip.agreement is not None
    station = bench.open()
    stored = b"".join(path.read_bytes() for path in bench.folder.rglob("*") if path.is_file())
    stored += b"".join(signed.record.canonical for signed in station.ledger.records())
    for key in (chip.identity, chip.agreement):
        scalar = key.private_numbers().private_value.to_bytes(32, "big")
        for form in (scalar, scalar.hex().encode()):
            assert form[: len(form) // 2] not in stored
            assert form[len(form) // 2 :] not in stored
    assert chip.activation.hex().encode() in stored, "the search finds what is there"
    assert bench.ledger_path.stat().st_mode & 0o077 == 0


def test_a_station_that_answers_before_it_is_durable_is_caught(bench: Bench) -> None:
    """The control: with this defect a device is OPERATIONAL that no record knows of, and the same look finds it."""
    strays: list[Chip] = []
    for moment in range(0, MOMENTS_MAX, 2):
        nest, killed = kill_once(bench, moment + 1, moment, answers_before_it_is_durable)
        chip = nest.powered.chip
        if not killed:
            break
        if chip.lifecycle == OPERATIONAL and chip.activation not in activations_on_record(bench.open(), chip.uid):
            strays.append(chip)
    assert strays
    with pytest.raises(AssertionError):
        require_promises(bench.open(), bench, strays)
