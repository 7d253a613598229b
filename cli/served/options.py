"""How served devices and their links behave."""

from __future__ import annotations

from dataclasses import dataclass, field

from bootloader.simulation.sim_flash import Tear


@dataclass(frozen=True, slots=True)
class FaultOptions:
    """Likelihoods (0 to 1) of what a bad link does to a frame; the same seed does the same."""

    lose: float = 0.0
    corrupt: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int = 0

    @property
    def is_perfect(self) -> bool:
        return not (self.lose or self.corrupt or self.duplicate or self.reorder)


@dataclass(frozen=True, slots=True)
class CutAt:
    """One power cut: during this flash operation, counted from 0 from when the device is first powered on."""

    operation: int
    tear: Tear
    seed: int


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What is common to all served devices. Times in seconds."""

    confirms: bool = True
    unsafe_for_seconds: float = 0.0
    erase_seconds: float = 0.0
    detailed_codes: bool = False
    faults: FaultOptions = field(default_factory=FaultOptions)
    cut: CutAt | None = None
    power_back_after_seconds: float = 0.3
    reset_after_seconds: float = 0.05
