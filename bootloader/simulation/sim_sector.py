"""One sector of simulated flash: its bits, which units were programmed or torn, and which bits are unstable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from bootloader.reference.flash import ERASED_BYTE

UNIT_FREE = 0
UNIT_PROGRAMMED = 1
UNIT_TORN = 2

PAGE_SIZE_BYTES = 256


@dataclass(frozen=True, slots=True)
class TornBits:
    """Of the bits that were to change: how likely one has, how likely it is unstable; or exactly one is unstable."""

    changed_share: float
    unstable_share: float = 0.0
    one_unstable: bool = False


class SimSector:
    """Bits and their condition. `unstable` holds, by page of 256 bytes, a mask of the bits that read at random."""

    __slots__ = ("content", "flags", "unstable", "write_unit_bytes")

    def __init__(self, content: bytearray, flags: bytearray, unstable: dict[int, int], write_unit_bytes: int) -> None:
        self.content = content
        self.flags = flags
        self.unstable = unstable
        self.write_unit_bytes = write_unit_bytes

    @staticmethod
    @cache
    def blank(size_bytes: int, write_unit_bytes: int) -> SimSector:
        """A sector that was erased, whole. One for all: it is copied before it is written."""
        content = bytearray(bytes([ERASED_BYTE]) * size_bytes)
        return SimSector(content, bytearray(size_bytes // write_unit_bytes), {}, write_unit_bytes)

    def copy(self) -> SimSector:
        return SimSector(self.content[:], self.flags[:], dict(self.unstable), self.write_unit_bytes)

    @property
    def is_blank(self) -> bool:
        return self.content.count(ERASED_BYTE) == len(self.content)

    def units_are_free(self, offset: int, size_bytes: int) -> bool:
        """Whether no unit here has been programmed, or torn, since the erase."""
        first, last = offset // self.write_unit_bytes, (offset + size_bytes) // self.write_unit_bytes
        return self.flags.count(UNIT_FREE, first, last) == last - first

    def unit_flag(self, offset: int) -> int:
        return self.flags[offset // self.write_unit_bytes]

    def read(self, offset: int, size_bytes: int, random: Random) -> bytes:
        """What stands here, every unstable bit drawn anew."""
        data = bytes(self.content[offset : offset + size_bytes])
        if not self.unstable:
            return data
        first, last = offset // PAGE_SIZE_BYTES, (offset + size_bytes - 1) // PAGE_SIZE_BYTES
        noisy = [page for page in range(first, last + 1) if page in self.unstable]
        if not noisy:
            return data
        whole = bytearray(self.content[first * PAGE_SIZE_BYTES : (last + 1) * PAGE_SIZE_BYTES])
        for page in noisy:
            begin = (page - first) * PAGE_SIZE_BYTES
            noise = self.unstable[page] & random.getrandbits(PAGE_SIZE_BYTES * 8)
            value = int.from_bytes(whole[begin : begin + PAGE_SIZE_BYTES], "little") ^ noise
            whole[begin : begin + PAGE_SIZE_BYTES] = value.to_bytes(PAGE_SIZE_BYTES, "little")
        begin = offset - first * PAGE_SIZE_BYTES
        return bytes(whole[begin : begin + size_bytes])

    def program(self, offset: int, data: bytes) -> None:
        """Program whole units, complete: a bit that is programmed to 0 is stable again."""
        first, last = offset // self.write_unit_bytes, (offset + len(data)) // self.write_unit_bytes
        if self.flags.count(UNIT_FREE, first, last) == last - first:
            self.content[offset : offset + len(data)] = data  # free units are blank
        else:
            old = int.from_bytes(self.content[offset : offset + len(data)], "little")
            new = old & int.from_bytes(data, "little")
            self.content[offset : offset + len(data)] = new.to_bytes(len(data), "little")
            self._steady(offset, data)
        self.flags[first:last] = bytes([UNIT_PROGRAMMED]) * (last - first)

    def tear_program(self, offset: int, unit: bytes, bits: TornBits, random: Random) -> None:
        """Program one unit, torn."""
        size_bytes = len(unit)
        old = int.from_bytes(self.content[offset : offset + size_bytes], "little")
        zeros = ~int.from_bytes(unit, "little") & ((1 << (8 * size_bytes)) - 1)
        to_clear = zeros & (old | self._mask(offset, size_bytes))
        cleared, unstable = _draw(to_clear, size_bytes, bits, random)
        self.content[offset : offset + size_bytes] = (old & ~cleared).to_bytes(size_bytes, "little")
        self._set_mask(offset, size_bytes, (self._mask(offset, size_bytes) & ~cleared) | unstable)
        self.flags[offset // self.write_unit_bytes] = UNIT_TORN

    def tear_erase(self, bits: TornBits, random: Random) -> None:
        """Erase, torn: anywhere, or (half of the times, if anything is left to chance) only in one stretch of it."""
        size_bytes = len(self.content)
        begin, end = 0, size_bytes
        if 0.0 < bits.changed_share < 1.0 and random.random() < 0.5:
            begin, end = sorted(random.randrange(size_bytes + 1) for _ in range(2))
            self._replace(begin, end, int.from_bytes(bytes([ERASED_BYTE]) * (end - begin), "little"), 0)
        else:
            old = int.from_bytes(self.content, "little")
            to_set = ~old & ((1 << (8 * size_bytes)) - 1)
            changed, unstable = _draw(to_set, size_bytes, bits, random)
            self._replace(begin, end, old | changed, self._mask(0, size_bytes) | unstable)
        self.flags[:] = bytes([UNIT_TORN]) * len(self.flags)

    def _replace(self, begin: int, end: int, value: int, mask: int) -> None:
        if begin < end:
            self.content[begin:end] = value.to_bytes(end - begin, "little")
            self._set_mask(begin, end - begin, mask)

    def _steady(self, offset: int, data: bytes) -> None:
        """Bits programmed to 0 are unstable no longer."""
        if self.unstable:
            kept = self._mask(offset, len(data)) & int.from_bytes(data, "little")
            self._set_mask(offset, len(data), kept)

    def _mask(self, offset: int, size_bytes: int) -> int:
        """The unstable bits of some bytes, as one little-endian integer."""
        if not self.unstable:
            return 0
        first, last = offset // PAGE_SIZE_BYTES, (offset + size_bytes - 1) // PAGE_SIZE_BYTES
        pages = (self.unstable.get(page, 0).to_bytes(PAGE_SIZE_BYTES, "little") for page in range(first, last + 1))
        begin = offset - first * PAGE_SIZE_BYTES
        return int.from_bytes(b"".join(pages)[begin : begin + size_bytes], "little")

    def _set_mask(self, offset: int, size_bytes: int, mask: int) -> None:
        if not mask and not self.unstable:
            return
        first, last = offset // PAGE_SIZE_BYTES, (offset + size_bytes - 1) // PAGE_SIZE_BYTES
        begin = offset - first * PAGE_SIZE_BYTES
        whole = bytearray(
            self._mask(first * PAGE_SIZE_BYTES, (last + 1 - first) * PAGE_SIZE_BYTES).to_bytes(
                (last + 1 - first) * PAGE_SIZE_BYTES, "little"
            )
        )
        whole[begin : begin + size_bytes] = mask.to_bytes(size_bytes, "little")
        for page in range(first, last + 1):
            at = (page - first) * PAGE_SIZE_BYTES
            value = int.from_bytes(whole[at : at + PAGE_SIZE_BYTES], "little")
            if value:
                self.unstable[page] = value
            else:
                self.unstable.pop(page, None)


def _draw(candidates: int, size_bytes: int, bits: TornBits, random: Random) -> tuple[int, int]:
    """(changed, unstable): each candidate bit is one, the other, or neither, with the likelihoods given."""
    changed = candidates & _random_bits(bits.changed_share, size_bytes, random)
    if bits.one_unstable:
        unstable = _one_of(candidates, random)
        return changed & ~unstable, unstable
    rest_share = bits.unstable_share / (1.0 - bits.changed_share) if bits.changed_share < 1.0 else 0.0
    unstable = candidates & ~changed & _random_bits(rest_share, size_bytes, random)
    return changed, unstable


def _one_of(candidates: int, random: Random) -> int:
    """One set bit: the lowest from a random place on, or of all; 0 if there is none."""
    if not candidates:
        return 0
    place = random.randrange(candidates.bit_length())
    above = candidates >> place << place
    return above & -above


def _random_bits(share: float, size_bytes: int, random: Random) -> int:
    """Bits that are 1 with likelihood `share`, in steps of an eighth."""
    eighths = round(share * 8)
    if eighths in (0, 8):
        return 0 if eighths == 0 else (1 << (8 * size_bytes)) - 1
    result = 0
    for place in range(3):  # from the least significant binary place of the share to the greatest
        drawn = random.getrandbits(8 * size_bytes)
        result = (result | drawn) if eighths >> place & 1 else (result & drawn)
    return result
