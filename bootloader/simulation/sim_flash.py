"""Flash in memory that is as unkind as docs/spec/device-state.md, section 1, allows, and forgives no misuse.

Power is cut at any operation (one write unit programmed, or one sector erased), and the operation torn in several ways.
A misuse raises FlashModelViolation: a defect of the code under test, never an answer of a device.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

from bootloader.reference.flash import ERASED_BYTE, Region, Sector
from bootloader.simulation.sim_sector import UNIT_PROGRAMMED, UNIT_TORN, SimSector, TornBits


class FlashModelViolation(AssertionError):
    """The code under test used flash in a way that the flash model forbids."""


class PowerCut(Exception):
    """The power failed in the middle of a flash operation. Only the next power-on goes on from here."""


class Tear(Enum):
    """What a power cut leaves of the operation that was running."""

    BEFORE = "before"  # not begun
    NO_BITS = "no bits"  # begun, but no bit has changed
    NEARLY_NOTHING = "nearly nothing"  # one bit that was to change is unstable, the others have not changed
    RANDOM = "random"  # of the bits that were to change some have, some have not, and some are unstable
    UNSTABLE = "unstable"  # every bit that was to change reads differently each time
    NEARLY_ALL = "nearly all"  # one bit that was to change is unstable, the others have changed
    ALL_BITS = "all bits"  # every bit reads as it should, but the operation was not complete
    AFTER = "after"  # complete


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of `program` (as many operations as it has write units), or one erase (`data` is None)."""

    address: int
    data: bytes | None

    def count(self, write_unit_bytes: int) -> int:
        """How many operations this is."""
        return 1 if self.data is None else len(self.data) // write_unit_bytes


@dataclass(frozen=True, slots=True)
class FlashSnapshot:
    """A SimFlash at one moment; it shares what has not changed since, and is never changed itself."""

    sectors: tuple[SimSector, ...]
    erased_now: frozenset[int]


class SimFlash:
    """A FlashDevice. `append_regions` (the journal) may be programmed without an erase in the same power-on."""

    def __init__(
        self,
        sectors: Sequence[Sector],
        write_unit_bytes: int,
        append_regions: Sequence[Region] = (),
        seed: int = 0,
    ) -> None:
        self.write_unit_bytes = write_unit_bytes
        self.operation_count = 0
        self.log: list[Operation] | None = None
        self._places = tuple(sectors)
        self._addresses = [sector.address for sector in sectors]
        self._end_address = sectors[-1].address + sectors[-1].size_bytes
        appendable = {sector for region in append_regions for sector in region.sectors}
        self._appendable = [sector in appendable for sector in sectors]
        self._erased_unit = bytes([ERASED_BYTE]) * write_unit_bytes
        self._random = Random(seed)  # noqa: S311 (chance, not secrets)
        self._sectors = [SimSector.blank(sector.size_bytes, write_unit_bytes) for sector in sectors]
        self._own: set[int] = set()  # sectors that no snapshot shares
        self._erased_now: set[int] = set()  # sectors erased in this power-on
        self._cut: tuple[int, Tear] | None = None
        self._cut_outlives_resets = False
        self._has_power = True

    # --- power ---

    def power_on(self) -> None:
        """Power again, or a reset: what was erased before counts no more."""
        self._erased_now.clear()
        if not self._has_power or not self._cut_outlives_resets:
            self._cut = None
        self._has_power = True

    @property
    def is_power_lost(self) -> bool:
        """Whether a cut has happened since the last power-on."""
        return not self._has_power

    def cut_power_at(self, operation: int, tear: Tear, *, outlives_resets: bool = False) -> None:
        """Cut the power during the operation that is `operation` operations ahead (0: the next one).

        It is forgotten at the next reset, unless it is to outlive those.
        """
        if operation < 0:
            raise ValueError("an operation that is past cannot be cut")
        self._cut = (self.operation_count + operation, tear)
        self._cut_outlives_resets = outlives_resets

    def seed(self, seed: int) -> None:
        """Begin the randomness of tears and of unstable bits anew: the same seed gives the same run."""
        self._random.seed(seed)

    def draw_seed(self) -> int:
        """64 bits drawn from the randomness, to go on with elsewhere."""
        return self._random.getrandbits(64)

    # --- what a FlashDevice does ---

    def read(self, address: int, size_bytes: int) -> bytes:
        """What these bytes read as at this moment; unstable bits are drawn anew."""
        self._demand_power()
        index, offset = self._locate(address, size_bytes)
        parts = []
        while size_bytes > 0:
            sector = self._sectors[index]
            part = sector.read(offset, min(size_bytes, len(sector.content) - offset), self._random)
            parts.append(part)
            size_bytes -= len(part)
            index, offset = index + 1, 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def program(self, address: int, data: bytes) -> None:
        """Program whole units in ascending order; each is one operation."""
        self._demand_power()
        self._demand(len(data) > 0, f"programming nothing at {address:#010x}")
        aligned = address % self.write_unit_bytes == 0 and len(data) % self.write_unit_bytes == 0
        self._demand(aligned, f"programming {len(data)} bytes at {address:#010x} is not aligned")
        if self.log is not None:
            self.log.append(Operation(address, bytes(data)))
        index, offset = self._locate(address, len(data))
        begin = 0
        while begin < len(data):
            part = data[begin : begin + len(self._sectors[index].content) - offset]
            self._program_in_sector(index, offset, part)
            begin += len(part)
            index, offset = index + 1, 0

    def erase(self, sector: Sector) -> None:
        """Erase one sector: one operation."""
        self._demand_power()
        index, offset = self._locate(sector.address, sector.size_bytes)
        self._demand(offset == 0 and self._places[index] == sector, f"no sector begins at {sector.address:#010x}")
        if self.log is not None:
            self.log.append(Operation(sector.address, None))
        tear = self._tear_within(1)
        if tear is None or tear[1] is Tear.AFTER:
            self._sectors[index] = SimSector.blank(sector.size_bytes, self.write_unit_bytes)
            self._own.discard(index)
            self._erased_now.add(index)
        elif tear[1] is not Tear.BEFORE:
            self._erased_now.discard(index)
            self._writable(index).tear_erase(_BITS[tear[1]], self._random)
        self._after_operations(1, tear)

    # --- beside the bootloader's back ---

    def load(self, address: int, data: bytes) -> None:
        """Write as a programming station does in production: whole units into blank flash; no operation is counted."""
        size_bytes = -(-len(data) // self.write_unit_bytes) * self.write_unit_bytes
        data = data.ljust(size_bytes, bytes([ERASED_BYTE]))
        for begin in range(0, size_bytes, self.write_unit_bytes):
            unit = data[begin : begin + self.write_unit_bytes]
            if unit != self._erased_unit:
                index, offset = self._locate(address + begin, self.write_unit_bytes)
                sector = self._writable(index)
                self._demand(sector.units_are_free(offset, self.write_unit_bytes), "loading over what is programmed")
                sector.program(offset, unit)

    def replay(self, operations: Sequence[Operation]) -> None:
        """Do again what was logged, for instance up to where the power is to be cut."""
        for operation in operations:
            if operation.data is not None:
                self.program(operation.address, operation.data)
            else:
                self.erase(self._places[self._locate(operation.address, 1)[0]])

    def corrupt(self, address: int, data: bytes) -> None:
        """Overwrite bytes against all rules: what an attacker with a probe, or a defect of the flash, would do."""
        for position, value in enumerate(data):
            index, offset = self._locate(address + position, 1)
            self._writable(index).content[offset] = value

    def snapshot(self) -> FlashSnapshot:
        """The content as it is, unstable bits included; costs next to nothing."""
        self._own.clear()
        return FlashSnapshot(tuple(self._sectors), frozenset(self._erased_now))

    def restore(self, snapshot: FlashSnapshot) -> None:
        """Back to a snapshot of this flash, or of one with the same sectors: with power, in the same power-on."""
        self._sectors = list(snapshot.sectors)
        self._own.clear()
        self._erased_now = set(snapshot.erased_now)
        self._cut = None
        self._has_power = True

    # --- inside ---

    def _program_in_sector(self, index: int, offset: int, data: bytes) -> None:
        unit = self.write_unit_bytes
        self._demand_programmable(index, offset, data)
        count = len(data) // unit
        tear = self._tear_within(count)
        if tear is None:
            self._writable(index).program(offset, data)
        else:
            position, kind = tear
            complete = position + 1 if kind is Tear.AFTER else position
            if complete:
                self._writable(index).program(offset, data[: complete * unit])
            if kind in _BITS:
                torn = data[position * unit : (position + 1) * unit]
                self._writable(index).tear_program(offset + position * unit, torn, _BITS[kind], self._random)
        self._after_operations(count, tear)

    def _demand_programmable(self, index: int, offset: int, data: bytes) -> None:
        """Section 1: a unit once between erases (to zero, also if torn); a sector only if erased in this power-on."""
        address = self._places[index].address + offset
        sector = self._sectors[index]
        erased = index in self._erased_now or self._appendable[index]
        self._demand(erased, f"programming at {address:#010x}: the sector was not erased in this power-on")
        if sector.units_are_free(offset, len(data)):
            return
        for begin in range(0, len(data), self.write_unit_bytes):
            flag = sector.unit_flag(offset + begin)
            self._demand(flag != UNIT_PROGRAMMED, f"programming {address + begin:#010x} a second time")
            is_zero = not any(data[begin : begin + self.write_unit_bytes])
            self._demand(flag != UNIT_TORN or is_zero, f"programming the torn unit at {address + begin:#010x}")

    def _tear_within(self, count: int) -> tuple[int, Tear] | None:
        """(position, tear) if the power fails within the next `count` operations."""
        if self._cut is None or self._cut[0] >= self.operation_count + count:
            return None
        return self._cut[0] - self.operation_count, self._cut[1]

    def _after_operations(self, count: int, tear: tuple[int, Tear] | None) -> None:
        if tear is None:
            self.operation_count += count
            return
        position, kind = tear
        self.operation_count += position + (kind is not Tear.BEFORE)
        self._has_power = False
        raise PowerCut(f"power cut at operation {self.operation_count} ({kind.value})")

    def _writable(self, index: int) -> SimSector:
        """The sector, as a copy of its own if a snapshot shares it."""
        if index not in self._own:
            self._sectors[index] = self._sectors[index].copy()
            self._own.add(index)
        return self._sectors[index]

    def _locate(self, address: int, size_bytes: int) -> tuple[int, int]:
        """(index of the sector, offset in it) of an address."""
        inside = self._addresses[0] <= address and size_bytes >= 0 and address + size_bytes <= self._end_address
        self._demand(inside, f"{size_bytes} bytes at {address:#010x} are not in flash")
        index = bisect_right(self._addresses, address) - 1
        return index, address - self._addresses[index]

    def _demand_power(self) -> None:
        self._demand(self._has_power, "using flash without power")

    @staticmethod
    def _demand(condition: bool, detail: str) -> None:
        if not condition:
            raise FlashModelViolation(detail)


_BITS = {
    Tear.NO_BITS: TornBits(changed_share=0.0),
    Tear.NEARLY_NOTHING: TornBits(changed_share=0.0, one_unstable=True),
    Tear.RANDOM: TornBits(changed_share=0.4, unstable_share=0.2),
    Tear.UNSTABLE: TornBits(changed_share=0.0, unstable_share=1.0),
    Tear.NEARLY_ALL: TornBits(changed_share=1.0, one_unstable=True),
    Tear.ALL_BITS: TornBits(changed_share=1.0),
}
