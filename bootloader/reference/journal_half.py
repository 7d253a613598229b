"""One half of the state journal as bytes: header, frames, reading (docs/spec/device-state.md, section 2). Pure.

Integers are little-endian; offsets count from the start of the half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from bootloader.reference.board import Board
from bootloader.reference.crypto import context, sha256
from bootloader.reference.flash import ERASED_BYTE, Region, is_blank
from bootloader.reference.records import (
    RECORD_FORMAT,
    TRIAL_ATTEMPTS_MAX,
    BootTrial,
    Moved,
    Record,
    RecordType,
    Taken,
    decode_record,
)
from bootloader.reference.state import DeviceState, state_of

SLOT_SIZE_BYTES = 16
PAYLOAD_SIZE_BYTES_MAX = 2560
CHECK_SIZE_BYTES = 8
MARK_COUNT = TRIAL_ATTEMPTS_MAX
MARK_SIZE_BYTES = 8
MARKS_END_SIZE_BYTES = 24  # zeros behind the marks of a BOOT_TRIAL
TRIAL_TAIL_SIZE_BYTES = MARK_COUNT * MARK_SIZE_BYTES + MARKS_END_SIZE_BYTES

_CONTEXT = context("SR-journal-v1")
_HALF_MAGIC = b"SRJ1"
_HALF_HEADER = Struct("<4s I 8s")
_RECORD_HEADER = Struct("<B B H I 8s")
_RECORD_FIELDS = Struct("<B B H I")
_CHECKED_BEFORE = 8  # bytes of a record's header that its check covers


@dataclass(frozen=True, slots=True)
class Frame:
    """A valid record where it stands. `marks_used` counts those behind a BOOT_TRIAL up to the last one used."""

    offset: int
    record_type: int
    record_format: int
    number: int
    payload: bytes
    marks_used: int = 0

    @property
    def record(self) -> Record:
        """What the record says; for a BOOT_TRIAL, with the attempts counted by its marks."""
        record = decode_record(self.record_type, self.record_format, self.payload)
        if isinstance(record, BootTrial):
            return BootTrial(record.copy, record.attempts + self.marks_used, record.head_hash)
        return record

    @property
    def payload_end(self) -> int:
        return self.offset + framed_size_bytes(len(self.payload))

    @property
    def end(self) -> int:
        """The first offset behind the record, with what follows a BOOT_TRIAL."""
        return self.payload_end + (TRIAL_TAIL_SIZE_BYTES if self.is_boot_trial else 0)

    @property
    def is_seal(self) -> bool:
        return self.record_type == RecordType.SEAL and self.record_format == RECORD_FORMAT

    @property
    def is_boot_trial(self) -> bool:
        return self.record_type == RecordType.BOOT_TRIAL and self.record_format == RECORD_FORMAT

    def mark_offset(self, index: int) -> int:
        return self.payload_end + MARK_SIZE_BYTES * index


@dataclass(frozen=True, slots=True)
class HalfRead:
    """A readable half, as it read once.

    `frames` are the records that remain, SEALs left out; `state` is what they say. `end` is where the next record goes,
    `torn_slot` the slot before the end if it is behind the last valid record. `seal` is the number of the SEAL that is
    the last valid record, None if another one is. `is_settled`: it is a SEAL directly behind another valid record, and
    all behind it reads blank.
    """

    half_sequence: int
    frames: tuple[Frame, ...]
    state: DeviceState
    end: int
    torn_slot: bytes
    seal: int | None
    is_settled: bool

    @classmethod
    def empty(cls, half_sequence: int) -> HalfRead:
        """What a half that has just been erased will read as, once it has its header."""
        return cls(half_sequence, (), DeviceState(), SLOT_SIZE_BYTES, b"", None, is_settled=False)

    @property
    def last_number(self) -> int:
        return self.frames[-1].number if self.frames else 0

    @property
    def has_taken(self) -> bool:
        return any(isinstance(frame.record, Taken) for frame in self.frames if frame.record_type == RecordType.TAKEN)

    def has_moved_to(self, half_sequence: int) -> bool:
        return bool(self.frames) and self.frames[-1].record == Moved(half_sequence)


def half_header(half_sequence: int) -> bytes:
    """The 16 bytes of slot 0."""
    sequence = half_sequence.to_bytes(4, "little")
    return _HALF_HEADER.pack(_HALF_MAGIC, half_sequence, sha256(_CONTEXT, _HALF_MAGIC, sequence)[:CHECK_SIZE_BYTES])


def record_header(record_type: int, record_format: int, number: int, half: tuple[int, int], payload: bytes) -> bytes:
    """The 16 bytes before a payload. `half` is (half_sequence, offset of the record in the half)."""
    fields = _RECORD_FIELDS.pack(record_type, record_format, len(payload), number)
    return fields + _record_check(fields, half, payload)


def framed_size_bytes(payload_size_bytes: int) -> int:
    """Header and payload in whole slots; without the marks of a BOOT_TRIAL."""
    return SLOT_SIZE_BYTES + -(-payload_size_bytes // SLOT_SIZE_BYTES) * SLOT_SIZE_BYTES


@lru_cache(maxsize=8)  # pure, and asked by the pre-bootloader and by the bootloader of the same bytes
def read_half(data: bytes) -> HalfRead | None:
    """What one reading of a half says; None if its header is not valid."""
    magic, half_sequence, _ = _HALF_HEADER.unpack_from(data)
    if magic != _HALF_MAGIC or data[:SLOT_SIZE_BYTES] != half_header(half_sequence):
        return None

    programmed_end = _programmed_end(data)
    frames = list(_frames(data, half_sequence, programmed_end))
    valid_end = frames[-1].end if frames else SLOT_SIZE_BYTES
    end = max(programmed_end, valid_end)
    seal = frames[-1].number if frames and frames[-1].is_seal else None
    is_settled = seal is not None and valid_end == end and len(frames) > 1 and frames[-2].end == frames[-1].offset
    remaining = _remaining(frames)
    state = state_of(frame.record for frame in remaining)
    torn_slot = data[max(valid_end, end - SLOT_SIZE_BYTES) : end]
    return HalfRead(half_sequence, tuple(remaining), state, end, torn_slot, seal, is_settled)


def active_half(halves: tuple[HalfRead | None, HalfRead | None]) -> int | None:
    """The index of the active half, of what `read_half` says of both; None if neither is readable."""
    first, second = halves
    if first is None or second is None:
        return 0 if first is not None else 1 if second is not None else None
    low, high = (0, 1) if first.half_sequence < second.half_sequence else (1, 0)
    return high if _takes_over(halves[low], halves[high]) else low


def read_journal(data_0: bytes, data_1: bytes) -> tuple[tuple[HalfRead | None, HalfRead | None], int | None]:
    """Both halves, and which one is active."""
    halves = (read_half(data_0), read_half(data_1))
    return halves, active_half(halves)


def half_regions(board: Board) -> tuple[Region, Region]:
    """The regions of the two halves; each is used up to `board.state_half_size_bytes`."""
    return board.state_0, board.state_1


def _takes_over(low: HalfRead | None, high: HalfRead | None) -> bool:
    if low is None or high is None:
        return False
    return high.has_taken or low.has_moved_to(high.half_sequence)


def _remaining(frames: list[Frame]) -> list[Frame]:
    """The records that count. What is removed was torn, and a start that did not see it decided against it, or it has
    been repeated: either way by the number of what stands behind it.
    """
    remaining: list[Frame] = []
    for frame in frames:
        next_number = frame.number + 1 if frame.is_seal else frame.number
        if remaining and next_number <= remaining[-1].number:
            remaining.pop()
        if not frame.is_seal:
            remaining.append(frame)
    return remaining


def _frames(data: bytes, half_sequence: int, programmed_end: int) -> Iterator[Frame]:
    """Every valid record, in order; what is not one is passed over slot by slot."""
    offset = SLOT_SIZE_BYTES
    while offset < programmed_end:
        frame = _frame_at(data, half_sequence, offset)
        if frame is not None:
            yield frame
            offset = frame.payload_end
        else:
            offset += SLOT_SIZE_BYTES


def _frame_at(data: bytes, half_sequence: int, offset: int) -> Frame | None:
    record_type, record_format, payload_size_bytes, number, check = _RECORD_HEADER.unpack_from(data, offset)
    payload_offset = offset + SLOT_SIZE_BYTES
    if payload_size_bytes > PAYLOAD_SIZE_BYTES_MAX or payload_offset + payload_size_bytes > len(data):
        return None
    payload = data[payload_offset : payload_offset + payload_size_bytes]
    fields = data[offset : offset + _CHECKED_BEFORE]
    if check != _record_check(fields, (half_sequence, offset), payload):
        return None
    frame = Frame(offset, record_type, record_format, number, payload)
    if not frame.is_boot_trial:
        return frame
    return Frame(offset, record_type, record_format, number, payload, _marks_used(data, frame))


def _marks_used(data: bytes, trial: Frame) -> int:
    """The number of the last mark that does not read blank; one before it may be torn and read as it likes."""
    used = 0
    for index in range(MARK_COUNT):
        offset = trial.mark_offset(index)
        if not is_blank(data[offset : offset + MARK_SIZE_BYTES]):
            used = index + 1
    return used


def _record_check(fields: bytes, half: tuple[int, int], payload: bytes) -> bytes:
    half_sequence, offset = half
    place = half_sequence.to_bytes(4, "little") + offset.to_bytes(4, "little")
    return sha256(_CONTEXT, fields, place, payload)[:CHECK_SIZE_BYTES]


def _programmed_end(data: bytes) -> int:
    """The first offset behind the last slot that does not read blank."""
    size_bytes = len(data.rstrip(bytes([ERASED_BYTE])))
    return -(-size_bytes // SLOT_SIZE_BYTES) * SLOT_SIZE_BYTES
