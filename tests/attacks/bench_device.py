"""One device on the bench that many attacks start from: put back to the same flash, in update mode, before each."""

from __future__ import annotations

from dataclasses import dataclass

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal_half import half_regions
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice
from bootloader.simulation.sim_flash import FlashSnapshot
from bootloader.simulation.sim_sector import SimSector
from tests.scenarios.world import World

SMALL_IMAGE_SIZE_BYTES = 300
SMALL = World(application_size_bytes=SMALL_IMAGE_SIZE_BYTES)


@dataclass
class BenchDevice:
    """A device in update mode, and the flash that it is put back to."""

    device: SimulatedDevice
    flash: FlashSnapshot

    @classmethod
    def with_application(cls, world: World, version: int = 1) -> BenchDevice:
        """Application `version` is installed and confirmed."""
        return cls.of(world.device_with(version))

    @classmethod
    def of(cls, device: SimulatedDevice) -> BenchDevice:
        device.entry_pin_is_active = True
        assert isinstance(device.power_on(), InUpdateMode)
        return cls(device, device.flash.snapshot())

    def put_back(self) -> SimulatedDevice:
        """The same flash again, and a fresh start into update mode."""
        self.device.flash.restore(self.flash)
        assert isinstance(self.device.power_on(), InUpdateMode)
        return self.device


def code_of(device: SimulatedDevice, package: bytes, block_size_bytes: int = 1024) -> DeviceCode:
    """OK, or the code with which the device refuses the package, sent whole."""
    try:
        device.install(package, block_size_bytes)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def runs_application(device: SimulatedDevice, version: int) -> bool:
    """After a plain start, application `version` runs."""
    device.entry_pin_is_active = False
    running = device.power_on()
    device.entry_pin_is_active = True
    return isinstance(running, ApplicationRuns) and running.version.major == version


def sectors_of(device: SimulatedDevice, *names: str) -> list[SimSector]:
    """The sectors of these regions, as they are."""
    places = [sector for name in names for sector in getattr(device.board, name).sectors]
    now = dict(zip(device.board.sectors, device.flash.snapshot().sectors, strict=True))
    return [now[place] for place in places]


def outside_the_journal(device: SimulatedDevice) -> list[SimSector]:
    """Every sector but the journal's; a sector that was not written is the same object as before."""
    journal = {sector for region in half_regions(device.board) for sector in region.sectors}
    pairs = zip(device.board.sectors, device.flash.snapshot().sectors, strict=True)
    return [sector for place, sector in pairs if place not in journal]


def same_sectors(before: list[SimSector], after: list[SimSector]) -> bool:
    return all(now is then for now, then in zip(after, before, strict=True))


def other_copy(device: SimulatedDevice) -> Copy:
    return device.bootloader.running.copy.other
