"""The journal under power cuts: every operation of every record and of compaction, torn in every way, and cut again.

The rule is JournalRig's: a start reads the state before, or the state that was being written; and once a start has
settled, every later start reads what that one read.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from bootloader.reference.board import load_board
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal import COMPACTION_DUE_BYTES
from bootloader.reference.records import Event, EventKind, Floors, InstallRegion, InstallStarted, Record
from bootloader.reference.state import apply
from bootloader.simulation.sim_flash import PowerCut, Tear
from tests.unit.reference.journal_rig import BOARD, SAMPLES, JournalRig, hash_of, random_record

FIRST = (SAMPLES["DEVICE"], SAMPLES["BOOT_CONFIRMED"], SAMPLES["INSTALLED"], SAMPLES["BOOT_TRIAL"])
APPENDED = sorted(SAMPLES.keys() - {"TRUST_BUNDLE"})
READS_AFTER_CUT = 3


def count_operations(rig: JournalRig, action: Callable[[], object]) -> int:
    """How many flash operations an action takes; the rig is left as it was."""
    saved, begin = rig.save(), rig.flash.operation_count
    action()
    count = rig.flash.operation_count - begin
    rig.load(saved)
    return count


def start_and_append(rig: JournalRig, record: Record) -> None:
    rig.start()
    rig.append(record)


def start_and_compact(rig: JournalRig) -> None:
    rig.start()
    rig.compact()


def cut_during(rig: JournalRig, operation: int, tear: Tear, action: Callable[[], object]) -> bool:
    """Whether the power failed within the action."""
    rig.flash.cut_power_at(operation, tear)
    try:
        action()
    except PowerCut:
        return True
    return False


def start_and_go_on(rig: JournalRig, record: Record) -> None:
    """A start that settles, then appends: no later start may see anything else than this one did."""
    for _ in range(READS_AFTER_CUT):
        assert_readable(rig)
    for _ in range(READS_AFTER_CUT):
        rig.start()
    rig.append(record)
    for _ in range(READS_AFTER_CUT):
        assert_readable(rig)
    rig.start()


def assert_readable(rig: JournalRig) -> None:
    rig.flash.power_on()
    rig.demand_allowed(rig.peek())


@pytest.mark.parametrize("name", APPENDED)
def test_append_torn_at_every_unit(name: str) -> None:
    rig = JournalRig(*FIRST)
    record, next_record = SAMPLES[name], Event(DeviceCode.OK, EventKind.INSTALL, 7)
    rig.start()
    saved = rig.save()
    outcomes = set()
    for operation in range(count_operations(rig, partial(start_and_append, rig, record))):
        for seed, tear in enumerate(Tear):
            rig.load(saved)
            rig.flash.seed(seed)
            rig.start()
            before = rig.journal.state
            assert cut_during(rig, operation, tear, lambda: rig.append(record))
            rig.start()
            outcomes.add((rig.journal.state == before, rig.journal.state == apply(before, record)))
            start_and_go_on(rig, next_record)
    assert {(True, False), (False, True)} <= outcomes or apply(before, record) == before


@pytest.mark.parametrize("name", ["FLOORS", "BOOT_TRIAL", "INSTALL_STARTED application", "EVENT"])
def test_append_torn_then_settling_torn_at_every_unit(name: str) -> None:
    """Two cuts: where a record that came and went could come back for a third start."""
    rig = JournalRig(*FIRST)
    record = SAMPLES[name]
    rig.start()
    saved = rig.save()
    operations = count_operations(rig, partial(start_and_append, rig, record))
    second_cuts = 0
    for operation in range(operations):
        for tear in (Tear.NO_BITS, Tear.NEARLY_NOTHING, Tear.UNSTABLE, Tear.NEARLY_ALL, Tear.ALL_BITS):
            rig.load(saved)
            rig.flash.seed(operation)
            rig.start()
            assert cut_during(rig, operation, tear, lambda: rig.append(record))
            torn = rig.save()
            for second in range(60):
                rig.load(torn)
                rig.flash.seed(second)
                rig.flash.power_on()
                if not cut_during(rig, second, tear, rig.go_on):
                    break
                second_cuts += 1
                start_and_go_on(rig, Floors(second, operation, 9))
    assert second_cuts > 1000, "settling was not cut"


def nearly_full_rig(*, active_half: int) -> JournalRig:
    """A rig whose journal is due for compaction, from half 0 to half 1, or back."""
    rig = JournalRig(*FIRST)
    for _ in range(active_half):
        rig.compact()
    rig.start()
    chance = random.Random(active_half)
    while not rig.journal.is_compaction_due:
        rig.append(random_record(chance, rig.journal.state))
    rig.start()
    return rig


@pytest.mark.parametrize("active_half", [0, 1, 2])
def test_compaction_cut_and_cut_again(active_half: int) -> None:
    """Half 0 to half 1 as from the factory, back, and once more, with leftovers of the generations before."""
    cut_compaction_twice(active_half, every=9, second_cuts=1)


@pytest.mark.campaign
@pytest.mark.parametrize("active_half", [0, 1, 2])
def test_compaction_cut_at_every_operation_and_again_in_the_next(active_half: int) -> None:
    cut_compaction_twice(active_half, every=1, second_cuts=8)


def cut_compaction_twice(active_half: int, *, every: int, second_cuts: int) -> None:
    """Cut every so many operations, and all of the last that hand over; each torn in every way, and cut again."""
    rig = nearly_full_rig(active_half=active_half)
    state, sequence = rig.journal.state, rig.journal.half_sequence
    saved = rig.save()
    operations = count_operations(rig, partial(start_and_compact, rig))
    handed_over = runs = 0
    for operation in sorted({*range(0, operations, every), *range(operations - 24, operations)}):
        for tear in Tear:
            rig.load(saved)
            rig.flash.seed(operation)
            rig.start()
            assert cut_during(rig, operation, tear, rig.compact)
            torn = rig.save()
            for again in range(second_cuts):
                runs += 1
                rig.load(torn)
                rig.flash.seed(again)
                chance = random.Random(runs)
                cut = chance.choice((chance.randrange(12), chance.randrange(operations)))
                second_tear = chance.choice(list(Tear))
                rig.flash.power_on()
                cut_during(rig, cut, second_tear, lambda: compact_if_due(rig))
                rig.start()
                assert rig.journal.state == state
                handed_over += rig.journal.half_sequence != sequence
                compact_if_due(rig)
                assert not rig.journal.is_compaction_due
                start_and_go_on(rig, Event(DeviceCode.OK, EventKind.START, 10_000))
    assert 0 < handed_over < runs, "both outcomes of a compaction have been seen"


def compact_if_due(rig: JournalRig) -> None:
    rig.go_on()
    if rig.journal.is_compaction_due:
        rig.compact()


def walk(seed: int, starts: int, write_unit_bytes: int = 4) -> tuple[int, int]:
    """Starts, appends of anything, attempts counted, compactions, each power-on cut somewhere; (cuts, compactions)."""
    chance = random.Random(seed)
    board = load_board(BOARD.text.replace("write_unit_bytes = 4", f"write_unit_bytes = {write_unit_bytes}"))
    rig = JournalRig(SAMPLES["DEVICE"], SAMPLES["BOOT_CONFIRMED"], seed=seed, board=board)
    cuts = compactions = 0
    for _ in range(starts):
        assert_readable(rig)
        rig.flash.cut_power_at(chance.randrange(chance.choice((3, 10, 40, 200, 1000))), chance.choice(list(Tear)))
        try:
            rig.count_boot_attempt()
            rig.go_on()
            if rig.journal.is_compaction_due:
                rig.compact()
                compactions += 1
            while rig.journal.free_bytes > COMPACTION_DUE_BYTES - 1024:
                rig.append(random_record(chance, rig.journal.state))
        except PowerCut:
            cuts += 1
    return cuts, compactions


@pytest.mark.parametrize("seed", range(4))
def test_random_walk(seed: int) -> None:
    cuts, compactions = walk(seed, 150)
    assert cuts > 100
    assert compactions > 5


@pytest.mark.parametrize("write_unit_bytes", [1, 2, 8])
def test_random_walk_with_other_write_units(write_unit_bytes: int) -> None:
    cuts, compactions = walk(7, 100, write_unit_bytes)
    assert cuts > 50
    assert compactions > 0


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_random_walk_at_length(seed: int) -> None:
    walk(seed, 400)


def test_cuts_in_a_row_use_up_little() -> None:
    """Thirty cuts, each in the middle of settling: the journal still settles, and compaction still finds room."""
    rig = JournalRig(*FIRST)
    rig.start()
    while not rig.journal.is_compaction_due:
        rig.append(Floors(rig.journal.free_bytes, 0, 0))
    rig.start()
    assert cut_during(rig, 5, Tear.NEARLY_ALL, lambda: rig.append(SAMPLES["INSTALLED"]))
    for number in range(30):
        rig.flash.seed(number)
        rig.flash.power_on()
        assert cut_during(rig, 9, Tear.UNSTABLE, rig.go_on), "settling takes more operations than this"
    rig.start()
    rig.compact()
    rig.start()
    assert not rig.journal.is_compaction_due


def test_a_record_that_came_and_went_stays_away() -> None:
    """The hole that record numbers close: torn, read as absent, then alive again in front of newer records."""
    came_back = 0
    started = InstallStarted(InstallRegion.APPLICATION, hash_of("head 1"))
    fence_units, payload_units, header_units = 8, 9, 4
    last_unit = fence_units + payload_units + header_units - 1
    for seed in range(400):
        rig = JournalRig(*FIRST, seed=seed)
        rig.start()
        assert cut_during(rig, last_unit, Tear.NEARLY_ALL, partial(rig.append, started))
        rig.start()
        if rig.journal.state.installed is None:
            continue  # this start saw the record: it is settled the other way
        rig.append(Floors(1, 1, 1))
        for _ in range(8):
            rig.flash.power_on()
            data = rig.flash.read(BOARD.state_0.address, BOARD.state_half_size_bytes)
            came_back += started.payload() in data
            assert rig.peek().installed is not None, "an installed application vanished"
    assert came_back > 500, "the torn record was there to be read"


def append_for_ever(rig: JournalRig) -> None:
    while True:
        rig.append(Floors(rig.journal.free_bytes, 0, 0))


def test_without_room_nothing_is_appended_and_the_state_still_reads() -> None:
    rig = JournalRig(*FIRST)
    rig.start()
    with pytest.raises(Refused) as refused:
        append_for_ever(rig)
    assert refused.value.code is DeviceCode.STATE_FULL
    state = rig.journal.state
    assert 1024 <= rig.journal.free_bytes < 1024 + 128
    rig.start()
    assert rig.journal.state == state
    rig.compact()
    rig.append(SAMPLES["FLOORS"])


def test_what_a_start_has_settled_stays_settled_without_another_write() -> None:
    """A torn record that a start did not see, and the SEAL against it torn too: later starts agree, writing or not."""
    fence_units, payload_units, header_units = 8, 3, 4
    last_unit_of_seal = 1 + fence_units + header_units - 1  # the fence begins with the unit behind the payload
    for seed in range(300):
        rig = JournalRig(*FIRST, seed=seed)
        rig.start()
        last_unit = fence_units + payload_units + header_units - 1
        assert cut_during(rig, last_unit, Tear.NEARLY_ALL, partial(rig.append, Floors(1, 1, 1)))
        rig.flash.power_on()
        cut_during(rig, last_unit_of_seal, Tear.NEARLY_ALL, rig.go_on)
        for _ in range(12):
            rig.start()
