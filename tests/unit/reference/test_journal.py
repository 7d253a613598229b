"""The journal's bytes and rules, one at a time; the bytes by hand from docs/spec/device-state.md, section 2.

What power cuts do to it is in test_journal_cuts.py.
"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.flash import Sector
from bootloader.reference.journal import Journal
from bootloader.reference.journal_half import half_header, read_half, read_journal
from bootloader.reference.records import AppConfirmed, Event, EventKind, Floors, Unknown
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import blank_flash
from bootloader.simulation.sim_flash import SimFlash
from tests.unit.reference.journal_rig import BOARD, SAMPLES, JournalRig, hash_of

HALF_SIZE = 16384
CONTEXT = b"SR-journal-v1\0\0\0"


def by_hand_header(sequence: int) -> bytes:
    start = b"SRJ1" + sequence.to_bytes(4, "little")
    return start + hashlib.sha256(CONTEXT + start).digest()[:8]


def by_hand(kind: int, number: int, payload: bytes, offset: int, sequence: int = 1, record_format: int = 1) -> bytes:
    """A record and its padding, without what follows a BOOT_TRIAL."""
    fields = bytes([kind, record_format]) + len(payload).to_bytes(2, "little") + number.to_bytes(4, "little")
    place = sequence.to_bytes(4, "little") + offset.to_bytes(4, "little")
    check = hashlib.sha256(CONTEXT + fields + place + payload).digest()[:8]
    return fields + check + payload + b"\xff" * (-len(payload) % 16)


def half(rig: JournalRig, index: int = 0) -> bytes:
    region = (BOARD.state_0, BOARD.state_1)[index]
    return rig.flash.read(region.address, HALF_SIZE)


def log_offsets(rig: JournalRig) -> list[tuple[int, int]]:
    """(offset in half 0, size) of what was programmed since the log began."""
    assert rig.flash.log is not None
    return [(entry.address - BOARD.state_0.address, len(entry.data or b"")) for entry in rig.flash.log]


def test_the_half_header() -> None:
    assert half_header(0x01020304) == by_hand_header(0x01020304)


def test_the_first_append_of_a_power_on_sets_a_fence_and_every_append_a_seal() -> None:
    rig = JournalRig()
    floors = Floors(1, 2, 3)
    rig.append(floors)
    rig.append(AppConfirmed(hash_of("head")))
    expected = by_hand_header(1) + bytes(32)
    expected += by_hand(11, 1, floors.payload(), 48) + by_hand(13, 1, b"", 80)
    expected += by_hand(8, 2, hash_of("head"), 96) + by_hand(13, 2, b"", 144)
    assert half(rig) == expected.ljust(HALF_SIZE, b"\xff")
    rig.start()
    rig.append(Event(0, 1, 1))
    expected += bytes(32) + by_hand(12, 3, Event(0, 1, 1).payload(), 192) + by_hand(13, 3, b"", 224)
    assert half(rig) == expected.ljust(HALF_SIZE, b"\xff")


def test_a_payload_is_written_before_its_header_and_erased_units_not_at_all() -> None:
    rig = JournalRig()
    rig.append(Floors(1, 2, 3))
    rig.flash.log = []
    rig.append(Floors(0xFFFFFFFF, 5, 6))
    assert log_offsets(rig) == [(116, 8), (96, 16), (128, 16)]


def test_a_boot_trial_is_followed_by_blank_marks_and_zeros_written_before_its_header() -> None:
    rig = JournalRig()
    rig.append(Floors(1, 2, 3))
    rig.flash.log = []
    trial = SAMPLES["BOOT_TRIAL"]
    rig.append(trial)
    assert log_offsets(rig) == [(112, 36), (184, 24), (96, 16), (208, 16)]
    assert half(rig)[160:208] == b"\xff" * 24 + bytes(24)
    rig.start()
    assert rig.journal.state.boot_trial == trial


@pytest.mark.parametrize(
    ("marks", "attempts"),
    [
        (b"\xff" * 24, 0),
        (b"\0\0\0\0" + b"\xff" * 20, 1),
        (b"\xff" * 7 + b"\xfe" + b"\xff" * 16, 1),
        (b"\xff" * 8 + b"\0" + b"\xff" * 15, 2),
        (b"\xff" * 16 + b"\0" * 8, 3),
        (b"\0" * 24, 3),
    ],
)
def test_attempts_are_counted_by_the_last_mark_used(marks: bytes, attempts: int) -> None:
    payload = b"\x01\x00\x00\x00" + hash_of("head b")
    data = by_hand_header(1) + by_hand(9, 1, payload, 16) + marks + bytes(24)
    read = read_half(data.ljust(HALF_SIZE, b"\xff"))
    assert read is not None
    assert read.state.boot_trial is not None
    assert read.state.boot_trial.attempts == attempts
    assert read.end == 16 + 16 + 48 + 48


def test_reading_passes_over_what_is_no_record() -> None:
    first = by_hand_header(1) + by_hand(11, 1, Floors(1, 1, 1).payload(), 16)
    torn = b"\xff" * 16 + hash_of("a payload whose header was never written")
    last = by_hand(12, 2, Event(0, 1, 1).payload(), len(first) + len(torn))
    read = read_half((first + torn + last).ljust(HALF_SIZE, b"\xff"))
    assert read is not None
    assert [frame.record for frame in read.frames] == [Floors(1, 1, 1), Event(0, 1, 1)]
    assert read.end == len(first + torn + last)
    assert not read.is_settled


def numbered(*numbers: tuple[int, int]) -> list[tuple[int, int]]:
    """(type, number) of the records that remain of records with these types and numbers."""
    data = by_hand_header(1)
    for kind, number in numbers:
        data += by_hand(kind, number, b"", len(data))
    read = read_half(data.ljust(HALF_SIZE, b"\xff"))
    assert read is not None
    return [(frame.record_type, frame.number) for frame in read.frames]


@pytest.mark.parametrize(
    ("records", "remaining"),
    [
        ([(100, 1), (101, 2), (102, 3)], [(100, 1), (101, 2), (102, 3)]),
        ([(100, 1), (101, 2), (102, 2)], [(100, 1), (102, 2)]),  # decided against, then gone on
        ([(100, 1), (101, 2), (100, 1), (102, 2)], [(100, 1), (100, 1), (102, 2)]),  # repeated, then gone on
        ([(100, 1), (101, 2), (13, 1), (102, 2)], [(100, 1), (102, 2)]),  # sealed against
        ([(100, 1), (13, 1), (101, 2), (13, 1)], [(100, 1)]),
        ([(100, 1), (101, 2), (13, 2), (102, 3)], [(100, 1), (101, 2), (102, 3)]),
        ([(100, 1), (101, 2), (101, 2), (101, 2)], [(100, 1), (101, 2)]),
        ([(13, 0), (100, 1)], [(100, 1)]),
        ([(100, 5)], [(100, 5)]),
    ],
)
def test_numbers_decide_what_remains(records: list[tuple[int, int]], remaining: list[tuple[int, int]]) -> None:
    assert numbered(*records) == remaining


def whole(data: bytes) -> bytes:
    return data.ljust(HALF_SIZE, b"\xff")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "active"),
    [
        ([], [], "low"),
        ([(14, 1, 8)], [], "high"),
        ([(14, 1, 9)], [], "low"),  # about another half
        ([(14, 1, 8), (100, 2, 0)], [], "low"),  # not the last one
        ([(14, 1, 8), (100, 1, 0)], [], "low"),  # decided against
        ([], [(15, 1, 7)], "high"),
        ([(100, 1, 0)], [(100, 1, 0), (15, 2, 7), (100, 3, 0)], "high"),
        ([], [(15, 1, 7), (100, 1, 0)], "low"),  # TAKEN was decided against
    ],
)
def test_the_active_half(
    low: list[tuple[int, int, int]], high: list[tuple[int, int, int]], active: str, *, swapped: bool
) -> None:
    def data(records: list[tuple[int, int, int]], sequence: int) -> bytes:
        written = by_hand_header(sequence)
        for kind, number, value in records:
            written += by_hand(kind, number, value.to_bytes(4, "little"), len(written), sequence)
        return whole(written)

    halves = (data(low, 7), data(high, 8))
    expected = {"low": 0, "high": 1}[active]
    if swapped:
        halves, expected = halves[::-1], 1 - expected
    assert read_journal(*halves)[1] == expected


def test_one_readable_half_is_active_and_without_one_there_is_no_state() -> None:
    good, bad = whole(by_hand_header(3)), whole(b"")
    assert read_journal(good, bad)[1] == 0
    assert read_journal(bad, good)[1] == 1
    assert read_journal(bad, bad)[1] is None
    for data in (whole(b"SRJ0" + by_hand_header(3)[4:]), whole(by_hand_header(3)[:15] + b"\0"), bytes(HALF_SIZE)):
        assert read_half(data) is None
    flash = blank_flash(BOARD)
    flash.power_on()
    with pytest.raises(Refused) as refused:
        Journal(flash, BOARD)
    assert refused.value.code is DeviceCode.NO_STATE


@given(st.binary(max_size=400), st.integers(1, 3))
def test_any_bytes_behind_a_header_read_without_an_error(data: bytes, sequence: int) -> None:
    read = read_half(whole(by_hand_header(sequence) + data))
    assert read is not None
    assert read.half_sequence == sequence
    assert read.end % 16 == 0


@given(st.integers(0, 16 * 8 + 12 * 8 - 1))
def test_any_bit_flipped_in_a_record_makes_it_none(bit: int) -> None:
    record = bytearray(by_hand(11, 1, Floors(1, 2, 3).payload(), 16))
    record[bit // 8] ^= 1 << bit % 8
    read = read_half(whole(by_hand_header(1) + bytes(record)))
    assert read is not None
    assert read.frames == ()


def test_a_record_is_valid_in_its_place_only() -> None:
    """The check covers offset and sequence: a half left by a torn erase, or a copied record, says nothing."""
    record = by_hand(11, 1, Floors(1, 2, 3).payload(), 16)
    for data in (by_hand_header(1) + b"\xff" * 16 + record, by_hand_header(2) + record):
        read = read_half(whole(data))
        assert read is not None
        assert read.frames == ()


def test_compaction_hands_over_and_leaves_the_old_half_as_it_was() -> None:
    rig = JournalRig(*(SAMPLES[name] for name in sorted(SAMPLES) if name not in ("TRUST_BUNDLE", "INSTALLED")))
    state, old = rig.journal.state, half(rig)
    rig.compact()
    assert rig.journal.half_sequence == 2
    assert rig.journal.state == state
    new = half(rig, 1)
    assert new[:16] == by_hand_header(2)
    assert half(rig).startswith(old.rstrip(b"\xff"))
    read = read_half(half(rig))
    assert read is not None
    assert read.has_moved_to(2)
    read = read_half(new)
    assert read is not None
    assert read.has_taken
    assert [frame.number for frame in read.frames] == list(range(1, len(read.frames) + 1))
    rig.start()
    assert rig.journal.state == state
    assert rig.journal.half_sequence == 2


def test_compaction_to_and_fro_keeps_a_trust_bundle_and_what_it_does_not_know() -> None:
    rig = JournalRig(SAMPLES["DEVICE"], Unknown(130, 9, b"of a later version"))
    rig.journal.state = DeviceState(
        device=rig.journal.state.device,
        trust_bundle=SAMPLES["TRUST_BUNDLE"],  # type: ignore[arg-type]
        unknown=rig.journal.state.unknown,
    )
    state = rig.journal.state
    rig.allowed = (state,)
    for sequence in range(2, 9):
        rig.compact()
        rig.start()
        assert rig.journal.half_sequence == sequence
        assert rig.journal.state == state


def test_a_large_record_is_never_appended() -> None:
    rig = JournalRig(SAMPLES["DEVICE"])
    for record in (SAMPLES["TRUST_BUNDLE"], Unknown(130, 1, bytes(257))):
        with pytest.raises(ValueError, match="large"):
            rig.journal.append(record)
    rig.journal.append(Unknown(130, 1, bytes(256)))


def test_a_state_too_large_is_not_compacted_and_nothing_is_erased() -> None:
    records = [Unknown(20 + number, 1, bytes(256)) for number in range(38)]
    rig = JournalRig(*records)
    assert rig.journal.is_compaction_due
    rig.flash.log = []
    with pytest.raises(Refused) as refused:
        rig.compact()
    assert refused.value.code is DeviceCode.STATE_FULL
    assert rig.flash.log == []


def test_events_leave_more_room_than_others() -> None:
    rig = JournalRig(SAMPLES["DEVICE"])
    count = 0
    while rig.journal.has_room_for_event():
        count += 1
        rig.append(Event(0, EventKind.START, count))
    assert 4096 <= rig.journal.free_bytes < 4096 + 48
    with pytest.raises(Refused) as refused:
        rig.append(Event(0, EventKind.START, count + 1))
    assert refused.value.code is DeviceCode.STATE_FULL
    rig.append(Floors(1, 1, 1))


def test_nothing_is_appended_or_compacted_before_settling() -> None:
    rig = JournalRig(SAMPLES["DEVICE"])
    journal = Journal(rig.flash, BOARD)
    with pytest.raises(Refused) as refused:
        journal.append(Floors(1, 1, 1))
    assert refused.value.code is DeviceCode.STATE_FULL
    with pytest.raises(Refused) as refused:
        journal.compact()
    assert refused.value.code is DeviceCode.STATE_FULL
    assert not journal.has_room_for_event()


def test_a_start_after_no_cut_writes_nothing() -> None:
    rig = JournalRig(SAMPLES["DEVICE"], SAMPLES["BOOT_TRIAL"], SAMPLES["FLOORS"])
    rig.compact()
    rig.start()
    rig.flash.log = []
    for _ in range(5):
        rig.start()
    assert rig.flash.log == []


class WornFlash:
    """Flash with cells that do not take a 0 any more: bytes at some addresses read back with a bit set."""

    def __init__(self, flash: SimFlash, worn: range, times: int) -> None:
        self.flash, self.worn, self.times = flash, worn, times
        self.write_unit_bytes = flash.write_unit_bytes

    def read(self, address: int, size_bytes: int) -> bytes:
        data = bytearray(self.flash.read(address, size_bytes))
        for position in range(len(data)):
            if address + position in self.worn:
                data[position] |= 1
        return bytes(data)

    def program(self, address: int, data: bytes) -> None:
        self.flash.program(address, data)

    def erase(self, sector: Sector) -> None:
        self.flash.erase(sector)


def worn_journal(size_bytes: int) -> Journal:
    """Settled and fenced, then a stretch that is worn out."""
    rig = JournalRig(SAMPLES["DEVICE"])
    end = BOARD.state_0.address + HALF_SIZE - rig.journal.free_bytes
    rig.flash.power_on()
    journal = Journal(WornFlash(rig.flash, range(end + 32, end + 32 + size_bytes), 3), BOARD)
    journal.settle()
    return journal


def test_a_record_that_does_not_read_back_is_written_again_further_on() -> None:
    journal = worn_journal(24)
    journal.append(Floors(2, 4, 6))
    assert journal.state.floors == Floors(2, 4, 6)


def test_three_attempts_then_flash_write() -> None:
    journal = worn_journal(1000)
    before = journal.free_bytes
    with pytest.raises(Refused) as refused:
        journal.append(Floors(2, 4, 6))
    assert refused.value.code is DeviceCode.FLASH_WRITE
    assert before - journal.free_bytes == 32 + 3 * 32
    assert journal.state.floors == Floors()
