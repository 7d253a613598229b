"""The simulated flash is as unkind as docs/spec/device-state.md, section 1, allows, and notices every misuse."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from bootloader.reference.board import load_board
from bootloader.reference.flash import Sector, program_units
from bootloader.simulation.cuts import each_cut, single_operations
from bootloader.simulation.device import blank_flash
from bootloader.simulation.sim_flash import FlashModelViolation, Operation, PowerCut, SimFlash, Tear
from tests.scenarios.world import board_named
from tests.unit.reference.journal_rig import BOARD

SECTOR = Sector(0x1000, 4096)  # append-only rules do not apply here: it is the pre-bootloader's
JOURNAL = BOARD.state_0.sectors[0]
TORN = (Tear.NEARLY_NOTHING, Tear.RANDOM, Tear.UNSTABLE, Tear.NEARLY_ALL)


def erased_flash() -> SimFlash:
    """Powered on, with SECTOR erased in this power-on."""
    flash = blank_flash(BOARD)
    flash.power_on()
    flash.erase(SECTOR)
    return flash


def cut(flash: SimFlash, tear: Tear, operation: Callable[[], object], ahead: int = 0) -> None:
    flash.cut_power_at(ahead, tear)
    with pytest.raises(PowerCut):
        operation()


def test_programs_and_reads_across_sectors() -> None:
    flash = erased_flash()
    second = Sector(0x2000, 4096)
    flash.erase(second)
    data = bytes(range(256)) * 2
    flash.program(0x1F00, data)
    assert flash.read(0x1F00, 512) == data
    assert flash.read(0x1EFC, 8) == b"\xff\xff\xff\xff\x00\x01\x02\x03"
    assert flash.operation_count == 2 + 128


def test_erase_sets_every_bit_of_its_sector_and_of_no_other() -> None:
    flash = erased_flash()
    flash.erase(Sector(0x2000, 4096))
    flash.program(0x1FFC, b"\0" * 8)
    flash.erase(SECTOR)
    assert flash.read(0x1000, 4096) == b"\xff" * 4096
    assert flash.read(0x2000, 4) == b"\0" * 4


def twice(first: bytes, second: bytes) -> Callable[[SimFlash], None]:
    def program(flash: SimFlash) -> None:
        flash.program(0x1000, first)
        flash.program(0x1000, second)

    return program


MISUSES: dict[str, Callable[[SimFlash], object]] = {
    "unit twice": twice(b"abcd", b"abcd"),
    "unit twice to zero": twice(b"abcd", bytes(4)),
    "erased bytes, then data": twice(b"\xff" * 4, b"abcd"),
    "address not aligned": lambda flash: flash.program(0x1002, b"abcd"),
    "size not aligned": lambda flash: flash.program(0x1000, b"abcde"),
    "nothing": lambda flash: flash.program(0x1000, b""),
    "sector not erased": lambda flash: flash.program(0x2000, b"abcd"),
    "erase of half a sector": lambda flash: flash.erase(Sector(0x1000, 2048)),
    "erase in the middle": lambda flash: flash.erase(Sector(0x1800, 2048)),
    "before flash": lambda flash: flash.read(0x0FFC, 8),
    "behind flash": lambda flash: flash.read(0x11000, 1),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_misuse_is_a_violation(misuse: Callable[[SimFlash], object]) -> None:
    with pytest.raises(FlashModelViolation):
        misuse(erased_flash())


def test_an_erase_counts_in_its_power_on_only() -> None:
    flash = erased_flash()
    flash.power_on()
    with pytest.raises(FlashModelViolation, match="not erased in this power-on"):
        flash.program(0x1000, b"abcd")


def test_a_journal_region_takes_appends_without_an_erase() -> None:
    flash = blank_flash(BOARD)
    flash.power_on()
    flash.program(JOURNAL.address, b"abcd")
    flash.power_on()
    flash.program(JOURNAL.address + 4, b"efgh")
    assert flash.read(JOURNAL.address, 8) == b"abcdefgh"
    with pytest.raises(FlashModelViolation, match="a second time"):
        flash.program(JOURNAL.address, b"abcd")


def test_without_power_nothing_works() -> None:
    flash = erased_flash()
    cut(flash, Tear.BEFORE, lambda: flash.program(0x1000, b"abcd"))
    assert flash.is_power_lost
    uses: list[Callable[[], object]] = [
        partial(flash.read, 0x1000, 4),
        partial(flash.program, 0x1000, b"abcd"),
        partial(flash.erase, SECTOR),
    ]
    for use in uses:
        with pytest.raises(FlashModelViolation, match="without power"):
            use()


@pytest.mark.parametrize("ahead", range(4))
@pytest.mark.parametrize("tear", Tear)
def test_a_cut_falls_into_exactly_one_unit(tear: Tear, ahead: int) -> None:
    flash = erased_flash()
    before = flash.operation_count
    cut(flash, tear, lambda: flash.program(0x1000, b"\0" * 16), ahead)
    assert flash.operation_count == before + ahead + (tear is not Tear.BEFORE)
    flash.power_on()
    read = flash.read(0x1000, 16)
    assert read[: 4 * ahead] == b"\0" * 4 * ahead
    assert read[4 * ahead + 4 :] == b"\xff" * (12 - 4 * ahead)
    expected = {Tear.BEFORE: b"\xff" * 4, Tear.NO_BITS: b"\xff" * 4, Tear.ALL_BITS: b"\0" * 4, Tear.AFTER: b"\0" * 4}
    if tear in expected:
        assert read[4 * ahead : 4 * ahead + 4] == expected[tear]


@pytest.mark.parametrize("tear", TORN)
def test_torn_bits_read_differently_each_time_and_others_never(tear: Tear) -> None:
    flash = erased_flash()
    cut(flash, tear, lambda: flash.program(0x1000, b"\x0f\x0f\x0f\x0f"))
    flash.power_on()
    reads = {flash.read(0x1000, 4) for _ in range(64)}
    assert len(reads) > 1
    assert all(byte & 0x0F == 0x0F for read in reads for byte in read), "a bit that was not to change has changed"


@pytest.mark.parametrize("tear", [Tear.NO_BITS, *TORN, Tear.ALL_BITS])
def test_a_torn_unit_is_programmed_to_zero_or_not_at_all(tear: Tear) -> None:
    flash = erased_flash()
    cut(flash, tear, lambda: flash.program(0x1000, b"\x0f\x0f\x0f\x0f"))
    flash._erased_now.add(0)  # the sector's rule is tested elsewhere
    flash._has_power, flash._cut = True, None
    with pytest.raises(FlashModelViolation, match="the torn unit"):
        flash.program(0x1000, b"\x0f\x0f\x0f\x0f")
    flash.program(0x1000, bytes(4))
    assert {flash.read(0x1000, 4) for _ in range(64)} == {bytes(4)}


@pytest.mark.parametrize("tear", [Tear.NO_BITS, *TORN, Tear.ALL_BITS])
def test_a_torn_erase_must_be_done_again_even_for_the_journal(tear: Tear) -> None:
    flash = blank_flash(BOARD)
    flash.power_on()
    flash.program(JOURNAL.address, b"\0" * 64)
    cut(flash, tear, lambda: flash.erase(JOURNAL))
    flash.power_on()
    with pytest.raises(FlashModelViolation, match="the torn unit"):
        flash.program(JOURNAL.address + 1024, b"abcd")
    flash.erase(JOURNAL)
    assert {flash.read(JOURNAL.address, 64) for _ in range(16)} == {b"\xff" * 64}
    flash.program(JOURNAL.address, b"abcd")


def test_a_torn_erase_may_leave_one_part_and_take_another() -> None:
    """The header of a half may be whole while records behind it are gone, and the other way round."""
    seen = set()
    for seed in range(60):
        flash = blank_flash(BOARD, seed)
        flash.power_on()
        flash.program(JOURNAL.address, b"\0" * 4096)
        cut(flash, Tear.RANDOM, partial(flash.erase, JOURNAL))
        flash.power_on()
        read = flash.read(JOURNAL.address, 4096)
        seen.add((read[:256] == bytes(256), read[-256:] == bytes(256), b"\xff" * 64 in read))
    assert {(True, False, True), (False, True, True)} <= seen


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[bytes]:
        flash = blank_flash(BOARD, seed)
        flash.power_on()
        flash.erase(SECTOR)
        cut(flash, Tear.RANDOM, lambda: flash.program(0x1000, bytes(64)), 5)
        flash.power_on()
        return [flash.read(0x1000, 64) for _ in range(8)]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_a_snapshot_brings_everything_back() -> None:
    flash = erased_flash()
    flash.program(0x1000, b"abcd")
    saved = flash.snapshot()
    flash.program(0x1004, b"efgh")
    flash.erase(SECTOR)
    flash.restore(saved)
    assert flash.read(0x1000, 8) == b"abcd\xff\xff\xff\xff"
    flash.program(0x1004, b"ijkl")  # erased in this power-on, as it was
    with pytest.raises(FlashModelViolation, match="a second time"):
        flash.program(0x1000, b"abcd")
    flash.restore(saved)
    assert flash.read(0x1000, 8) == b"abcd\xff\xff\xff\xff"


def test_loading_is_production_and_respects_the_unit_rule() -> None:
    flash = blank_flash(BOARD)
    flash.load(0x1FFC, b"0123456789")
    flash.power_on()
    assert flash.operation_count == 0
    assert flash.read(0x1FFC, 12) == b"0123456789\xff\xff"
    with pytest.raises(FlashModelViolation, match="loading over"):
        flash.load(0x2000, b"x")


def test_units_of_erased_bytes_are_not_programmed() -> None:
    flash = erased_flash()
    flash.log = []
    program_units(flash, 0x1000, b"\xff" * 4 + b"abcd" + b"\xff" * 8 + b"ef")
    assert flash.log == [Operation(0x1004, b"abcd"), Operation(0x1010, b"ef\xff\xff")]
    assert flash.read(0x1000, 20) == b"\xff" * 4 + b"abcd" + b"\xff" * 8 + b"ef\xff\xff"
    program_units(flash, 0x1014, b"")
    program_units(flash, 0x1014, b"\xff\xff")
    assert len(flash.log) == 2


def test_units_are_split_as_naive_splitting_does() -> None:
    """Against a loop over single units."""
    chance = random.Random(1)
    for _ in range(300):
        data = bytes(chance.choice((0xFF, 0xFF, 7)) for _ in range(chance.randrange(40)))
        flash = erased_flash()
        program_units(flash, 0x1000, data)
        padded = data.ljust(-(-len(data) // 4) * 4, b"\xff")
        programmed = [i for i in range(0, len(padded), 4) if padded[i : i + 4] != b"\xff" * 4]
        assert flash.read(0x1000, len(padded)) == padded
        assert flash.operation_count == 1 + len(programmed)


def test_each_cut_leaves_what_a_cut_in_the_run_itself_leaves() -> None:
    """The short way over the log, against running up to each operation."""
    flash = blank_flash(BOARD)
    flash.power_on()
    start = flash.snapshot()
    flash.log = []

    def run() -> None:
        flash.erase(SECTOR)
        flash.program(0x1000, b"abcdefghijkl")
        flash.program(JOURNAL.address, b"mnop")

    run()
    log = flash.log
    assert [operation.count(4) for operation in log] == [1, 3, 1]
    assert len(list(single_operations(log, 4))) == 5

    left = []
    for happened in each_cut(flash, start, log):
        flash.power_on()
        left.append((happened.operation_number, happened.tear, flash.read(0x1000, 16) + flash.read(JOURNAL.address, 4)))
    again = []
    for number in range(5):
        for tear in Tear:
            flash.restore(start)
            flash.log = None
            flash.cut_power_at(number, tear)
            flash.seed(number)
            with pytest.raises(PowerCut):
                run()
            flash.power_on()
            again.append((number, tear, flash.read(0x1000, 16) + flash.read(JOURNAL.address, 4)))
    assert left == again
    assert len(left) == 5 * len(Tear)


def test_a_cut_in_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="past"):
        blank_flash(BOARD).cut_power_at(-1, Tear.AFTER)


@pytest.mark.parametrize("name", ["stm32f405-core", "synthetic-32mb"])
def test_a_whole_board_is_cheap_to_save_and_restore(name: str) -> None:
    """Not a measurement: a campaign does this ten thousands of times."""
    flash = blank_flash(load_board(board_named(name).text))
    flash.power_on()
    saved = flash.snapshot()
    for _ in range(200):
        flash.program(board_named(name).state_0.address, bytes(16))
        flash.restore(saved)
    assert flash.read(board_named(name).state_0.address, 16) == b"\xff" * 16
