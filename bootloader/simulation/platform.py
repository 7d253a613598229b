"""Random generator and option bytes of a simulated device. Simulation only: whoever knows the seed knows its keys."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.platform import Protection

READOUT_LEVEL_MAX = 2


@dataclass(frozen=True, slots=True)
class OptionBytes:
    """What a station sets and reads back. `readout_level` 0 to 2, as on STM32."""

    readout_level: int = 0
    write_protect: bool = False
    brown_out: bool = False
    debug_closed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.readout_level <= READOUT_LEVEL_MAX:
            raise ValueError("a readout protection level is 0, 1 or 2")

    @property
    def protection(self) -> Protection:
        """The flags that a bootloader reads from them."""
        flags = Protection.NONE
        for is_set, flag in (
            (self.readout_level >= 1, Protection.READOUT),
            (self.readout_level == READOUT_LEVEL_MAX, Protection.READOUT_2),
            (self.write_protect, Protection.WRITE_PROTECT),
            (self.brown_out, Protection.BROWN_OUT),
            (self.debug_closed, Protection.DEBUG_CLOSED),
        ):
            flags |= flag if is_set else Protection.NONE
        return flags


class SimulatedPlatform:
    """A Platform; randomness follows from the seed."""

    def __init__(self, seed: int = 0, option_bytes: OptionBytes | None = None) -> None:
        self.option_bytes = option_bytes if option_bytes is not None else OptionBytes()
        self.random_fails = False
        self._random = Random(seed)  # noqa: S311 (simulation: the same seed gives the same device)

    @property
    def protection(self) -> Protection:
        return self.option_bytes.protection

    def random_bytes(self, size_bytes: int) -> bytes:
        if self.random_fails:
            raise Refused(DeviceCode.RANDOM_FAILED, "the random generator reports an error")
        return self._random.randbytes(size_bytes)

    def seed(self, seed: int) -> None:
        """Begin the randomness anew."""
        self._random.seed(seed)

    def draw_seed(self) -> int:
        """64 bits drawn from the randomness, to go on with elsewhere."""
        return self._random.getrandbits(64)
