"""The state journal: opening, settling, appending, compaction (docs/spec/device-state.md, section 2).

Each half is read once; what was read is judged, and settled before anything else is appended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

from bootloader.reference.board import Board
from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.flash import FlashDevice, Region, is_blank, program_and_compare
from bootloader.reference.journal_half import (
    MARKS_END_SIZE_BYTES,
    SLOT_SIZE_BYTES,
    TRIAL_TAIL_SIZE_BYTES,
    HalfRead,
    framed_size_bytes,
    half_header,
    half_regions,
    read_journal,
    record_header,
)
from bootloader.reference.records import BootTrial, Event, Moved, Record, Seal, ServiceStarted, Taken, encode_record
from bootloader.reference.state import DeviceState, apply, snapshot

COMPACTION_DUE_BYTES = 6144
EVENT_RESERVE_BYTES = 4096
RESERVE_BYTES = 1024
APPENDED_PAYLOAD_SIZE_BYTES_MAX = 256
FENCE_SIZE_BYTES = 2 * SLOT_SIZE_BYTES
WRITE_ATTEMPTS_MAX = 3
FIRST_HALF_SEQUENCE = 1


class HalfWriter:
    """Appends to one half, and knows where it ends."""

    def __init__(
        self, flash: FlashDevice, address: int, size_bytes: int, read: HalfRead, *, is_erased: bool = False
    ) -> None:
        """`is_erased`: the half was erased in this power-on, so nothing torn can stand behind its end."""
        self.read = read
        self.half_sequence = read.half_sequence
        self.last_number = read.last_number
        self._flash = flash
        self._address = address
        self._size_bytes = size_bytes
        self._end = read.end
        self._torn_slot = read.torn_slot
        self._fence_needed = not is_erased

    @property
    def free_bytes(self) -> int:
        return self._size_bytes - self._end

    def append(self, record: Record, number: int, reserve_bytes: int) -> None:
        """Write a record behind the end; raises Refused(STATE_FULL), or Refused(FLASH_WRITE) after three attempts."""
        for attempts_left in reversed(range(WRITE_ATTEMPTS_MAX)):
            needed_bytes = self.needed_bytes(record) + reserve_bytes
            require(self.free_bytes >= needed_bytes, DeviceCode.STATE_FULL, f"{self.free_bytes} bytes left in the half")
            try:
                self._fence()
                self._write(record, number)
            except Refused as refusal:
                if refusal.code is not DeviceCode.FLASH_WRITE or attempts_left == 0:
                    raise
            else:
                self.last_number = number
                return

    def needed_bytes(self, record: Record) -> int:
        """What the record takes, with its marks, and with the fence if that is still to be written."""
        return record_size_bytes(record) + (FENCE_SIZE_BYTES if self._fence_needed else 0)

    def append_sealed(self, record: Record, number: int, reserve_bytes: int) -> None:
        """As `append`, and a SEAL behind it: it was complete, and whoever reads it need not wonder."""
        self.append(record, number, reserve_bytes + record_size_bytes(Seal()))
        self.append(Seal(), number, 0)

    def settle(self) -> None:
        """Say again what was read last, so that it depends on nothing torn; raises Refused(STATE_FULL)."""
        if self.read.is_settled or not self.read.frames:
            return
        if self.read.seal is not None:
            self.append(Seal(), self.read.seal, record_size_bytes(Seal()))
            self.append(Seal(), self.read.seal, 0)
        else:
            last = self.read.frames[-1]
            self.append_sealed(last.record, last.number, 0)

    def _write(self, record: Record, number: int) -> None:
        """Payload first, header last: the record exists when its last unit does."""
        record_type, record_format, payload = encode_record(record)
        offset = self._end
        header = record_header(record_type, record_format, number, (self.half_sequence, offset), payload)
        self._end += record_size_bytes(record)
        program_and_compare(self._flash, self._address + offset + SLOT_SIZE_BYTES, payload)
        if isinstance(record, BootTrial):
            zeros_address = self._address + self._end - MARKS_END_SIZE_BYTES
            program_and_compare(self._flash, zeros_address, bytes(MARKS_END_SIZE_BYTES))
        program_and_compare(self._flash, self._address + offset, header)

    def _fence(self) -> None:
        """Zero what a cut may have torn and what yet reads blank: only then is the end known, at later starts too."""
        if not self._fence_needed:
            return
        unit, torn_slot, self._torn_slot = self._flash.write_unit_bytes, self._torn_slot, b""
        for offset in range(0, len(torn_slot), unit):
            if is_blank(torn_slot[offset : offset + unit]):
                program_and_compare(self._flash, self._address + self.read.end - len(torn_slot) + offset, bytes(unit))
        fence_address = self._address + self._end
        self._end += FENCE_SIZE_BYTES
        program_and_compare(self._flash, fence_address, bytes(FENCE_SIZE_BYTES))
        self._fence_needed = False


class Journal:
    """The journal of a running bootloader. Nothing is appended before `settle`."""

    def __init__(self, flash: FlashDevice, board: Board) -> None:
        """Read both halves; raises Refused(NO_STATE)."""
        self._flash = flash
        self._regions = half_regions(board)
        self._half_size_bytes = board.state_half_size_bytes
        data = [flash.read(region.address, self._half_size_bytes) for region in self._regions]
        halves, active = read_journal(data[0], data[1])
        if active is None:
            raise Refused(DeviceCode.NO_STATE, "neither half of the journal is readable")
        self._halves = [
            HalfWriter(flash, region.address, self._half_size_bytes, half) if half is not None else None
            for region, half in zip(self._regions, halves, strict=True)
        ]
        self._active = active
        self._settled = False
        self.state = self._active_half.read.state

    @property
    def free_bytes(self) -> int:
        return self._active_half.free_bytes

    @property
    def half_sequence(self) -> int:
        return self._active_half.half_sequence

    @property
    def active_region(self) -> Region:
        return self._regions[self._active]

    @property
    def is_compaction_due(self) -> bool:
        return self.free_bytes < COMPACTION_DUE_BYTES

    def settle(self) -> None:
        """Make what was read definite; raises Refused(STATE_FULL), and then nothing can be appended."""
        old = self._halves[1 - self._active]
        active = self._active_half
        if old is None or old.half_sequence > active.half_sequence or active.read.has_taken:
            active.settle()
        else:
            old.settle()
            active.settle()
            active.append_sealed(Taken(old.half_sequence), active.last_number + 1, 0)
        self._settled = True

    def append(self, record: Record) -> None:
        """Append a record and apply it; raises Refused(STATE_FULL) or Refused(FLASH_WRITE).

        A record with a payload of more than 256 bytes belongs into a snapshot (ValueError).
        """
        if record_size_bytes(record) > framed_size_bytes(APPENDED_PAYLOAD_SIZE_BYTES_MAX):
            raise ValueError("a large record is not appended")
        require(self._settled, DeviceCode.STATE_FULL, "the journal could not be settled at this start")
        half = self._active_half
        reserve_bytes = EVENT_RESERVE_BYTES if isinstance(record, Event) else RESERVE_BYTES
        half.append_sealed(record, half.last_number + 1, reserve_bytes)
        self.state = apply(self.state, record)

    def has_room_for_event(self) -> bool:
        """Whether an EVENT may be appended; if not, it is dropped."""
        needed_bytes = self._active_half.needed_bytes(Event(0, 0, 0)) + record_size_bytes(Seal()) + EVENT_RESERVE_BYTES
        return self._settled and self.free_bytes >= needed_bytes

    def compact(self, *changes: Record, forget: Callable[[DeviceState], DeviceState] = lambda state: state) -> None:
        """Go on in the other half; raises Refused(STATE_FULL) or Refused(FLASH_WRITE). For a confirmed copy only.

        `changes` are applied on the way, however large: they take effect together, with the half, or not at all. What
        `forget` leaves out does not come into the other half.
        """
        require(self._settled, DeviceCode.STATE_FULL, "the journal could not be settled at this start")
        state = reduce(apply, changes, forget(self.state))
        records = snapshot(state)
        size_bytes = SLOT_SIZE_BYTES + sum(record_size_bytes(record) for record in (*records, Seal()))
        room = self._half_size_bytes - size_bytes >= COMPACTION_DUE_BYTES
        require(room, DeviceCode.STATE_FULL, f"the state itself takes {size_bytes:,} bytes")

        old = self._active_half
        new = self._write_snapshot(records, old.half_sequence + 1)
        try:
            old.append(Moved(new.half_sequence), old.last_number + 1, 0)
        except Refused as refusal:
            # What could not be written may read either way, until the next start has settled it.
            self._settled = refusal.code is not DeviceCode.FLASH_WRITE
            raise
        self._halves[1 - self._active] = new
        self._active = 1 - self._active
        self.state = state
        new.append_sealed(Taken(old.half_sequence), new.last_number + 1, 0)

    @property
    def was_compacted_for_service(self) -> bool:
        """Whether the active half was written with SERVICE_STARTED in its snapshot: without what that destroys."""
        known = (ServiceStarted, Taken)
        records = (frame.record for frame in self._active_half.read.frames)
        order = [type(record) for record in records if isinstance(record, known)]
        return order[:1] == [ServiceStarted] and Taken in order

    def erase_other_half(self) -> None:
        """Erase every sector of the half that is not active; raises Refused(STATE_FULL) if nothing was settled."""
        require(self._settled, DeviceCode.STATE_FULL, "the journal could not be settled at this start")
        self._halves[1 - self._active] = None
        for sector in self._regions[1 - self._active].sectors:
            self._flash.erase(sector)

    @property
    def _active_half(self) -> HalfWriter:
        half = self._halves[self._active]
        if half is None:
            raise AssertionError("the active half is readable")
        return half

    def _write_snapshot(self, records: list[Record], half_sequence: int) -> HalfWriter:
        """The other half, erased and written anew; it counts for nothing yet."""
        index = 1 - self._active
        region = self._regions[index]
        for sector in region.sectors:
            if sector.address < region.address + self._half_size_bytes:
                self._flash.erase(sector)
        empty = HalfRead.empty(half_sequence)
        half = HalfWriter(self._flash, region.address, self._half_size_bytes, empty, is_erased=True)
        for number, record in enumerate(records, start=1):
            half.append(record, number, 0)
        half.append(Seal(), half.last_number, 0)
        program_and_compare(self._flash, region.address, half_header(half_sequence))
        return half


def write_first_half(flash: FlashDevice, board: Board, records: Sequence[Record], device: Record) -> None:
    """Begin a journal where none is readable; raises Refused(FLASH_WRITE).

    The half counts for nothing without DEVICE, and that comes last, behind the header: so a header that a cut has torn
    stands on no half that says what the device is.
    """
    regions = half_regions(board)
    for region in regions:
        for sector in region.sectors:
            flash.erase(sector)
    address, size_bytes = regions[0].address, board.state_half_size_bytes
    half = HalfWriter(flash, address, size_bytes, HalfRead.empty(FIRST_HALF_SEQUENCE), is_erased=True)
    for number, record in enumerate(records, start=1):
        half.append(record, number, 0)
    half.append(Seal(), half.last_number, 0)
    program_and_compare(flash, address, half_header(FIRST_HALF_SEQUENCE))
    half.append_sealed(device, half.last_number + 1, 0)


def record_size_bytes(record: Record) -> int:
    """What a record takes in a half, with what follows a BOOT_TRIAL."""
    _, _, payload = encode_record(record)
    return framed_size_bytes(len(payload)) + (TRIAL_TAIL_SIZE_BYTES if isinstance(record, BootTrial) else 0)
