"""What must be true of a device's flash at any moment, and of what it runs after any start: checked from outside.

A witness knows every image that was ever signed, and every secret that must not stand in flash.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256

from bootloader.reference.board import Copy
from bootloader.reference.flash import ERASED_BYTE, Region
from bootloader.reference.journal_half import half_regions, read_journal
from bootloader.reference.records import Floors
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, Running, SimulatedDevice
from bootloader.simulation.sim_flash import FlashSnapshot
from bootloader.simulation.sim_sector import UNIT_PROGRAMMED, UNIT_TORN, SimSector

HEAD_SIZE_BYTES = 1024
READINGS = 3


class Violation(AssertionError):
    """A third state: neither the old nor the new, or something in flash that must never be there."""


def demand(condition: bool, what: str) -> None:
    if not condition:
        raise Violation(what)


@dataclass(frozen=True)
class Secrets:
    """Content keys must stand nowhere, private keys in the journal only, `plaintext` anywhere but in the journal."""

    content_keys: tuple[bytes, ...]
    private_keys: tuple[bytes, ...]
    plaintext: tuple[bytes, ...]


@dataclass
class Witness:
    """Watches one device. `before` is its flash, and `floors_before` its floors, before anything was cut.

    `images` are all that were ever signed, by head; `may_change` the regions that the scenario may write; `bundles` the
    trust bundles that may be in force, in the order in which they follow each other.
    """

    device: SimulatedDevice
    before: FlashSnapshot
    floors_before: Floors
    images: dict[bytes, bytes]
    secrets: Secrets
    may_change: tuple[str, ...]
    bundles: tuple[bytes, ...]
    _bundle_seen: int = 0
    _clean: dict[int, SimSector] = field(default_factory=dict)
    _sectors: tuple[SimSector, ...] = ()

    def __post_init__(self) -> None:
        self._index = {place.address: index for index, place in enumerate(self.device.board.sectors)}

    # --- flash, at any moment ---

    def examine_flash(self) -> DeviceState:
        """Every invariant of the flash as it is; raises Violation. Returns the state on record."""
        self._sectors = self.device.flash.snapshot().sectors
        self._demand_untouched()
        self._demand_no_secret()
        state = self.read_state()
        demand(state is not None and state.device is not None, "the journal says nothing any more")
        assert state is not None
        for name in ("application", "bootloader_a", "bootloader_b"):
            self._demand_head_means_image(name)
        self._demand_recorded_is_complete(state)
        self._demand_snapshots_complete()
        self._demand_floors(state)
        self.bundle_in_force(state)
        return state

    def forget(self) -> None:
        """Another cut: what was seen before it counts no more."""
        self._bundle_seen = 0

    def bundle_in_force(self, state: DeviceState) -> int:
        """Which of the known trust bundles is in force, by its place in the chain: one always is, whole."""
        demand(state.trust_bundle is not None, "no trust bundle is in force")
        assert state.trust_bundle is not None
        demand(
            state.trust_bundle.bundle in self.bundles, "what is in force is neither the old nor the new trust bundle"
        )
        return self.bundles.index(state.trust_bundle.bundle)

    def read_state(self) -> DeviceState | None:
        """What the active half says, as it reads just now."""
        flash, board = self.device.flash, self.device.board
        data = [flash.read(region.address, board.state_half_size_bytes) for region in half_regions(board)]
        halves, active = read_journal(data[0], data[1])
        half = halves[active] if active is not None else None
        return half.state if half is not None else None

    def _demand_untouched(self) -> None:
        """Nothing was written but the journal and what the scenario names."""
        board = self.device.board
        regions = [*half_regions(board), *(getattr(board, name) for name in self.may_change)]
        for place, now, then in zip(board.sectors, self._sectors, self.before.sectors, strict=True):
            if now is then or (now.content == then.content and now.flags == then.flags and not now.unstable):
                continue
            demand(
                any(place in region.sectors for region in regions), f"a write in the sector at {place.address:#010x}"
            )

    def _demand_no_secret(self) -> None:
        board = self.device.board
        journal = [sector for region in half_regions(board) for sector in region.sectors]
        for place, sector in zip(board.sectors, self._sectors, strict=True):
            if self._clean.get(id(sector)) is sector:
                continue
            content = bytes(sector.content).rstrip(bytes([ERASED_BYTE]))
            forbidden = self.secrets.content_keys
            forbidden += self.secrets.plaintext if place in journal else self.secrets.private_keys
            for needle in forbidden:
                demand(needle not in content, f"a secret stands in the sector at {place.address:#010x}")
            self._clean[id(sector)] = sector
        if len(self._clean) > 64:
            self._clean.clear()

    def _demand_head_means_image(self, name: str) -> None:
        """The head is programmed last: where any unit of one stands, a whole and steady image stands behind it."""
        region: Region = getattr(self.device.board, name)
        first = self.sector_of(region.sectors[0].address)
        flags = first.flags[: HEAD_SIZE_BYTES // first.write_unit_bytes]
        if UNIT_PROGRAMMED not in flags:
            return
        behind = bytes(first.content[HEAD_SIZE_BYTES:])
        image = next((image for image in self.images.values() if behind.startswith(image)), None)
        demand(image is not None, f"a head in {name} without its image")
        assert image is not None
        self._demand_image(region, image)

    def _demand_image(self, region: Region, image: bytes) -> None:
        """The image is there, no bit of it torn, and the region behind it is erased."""
        first, *others = (self.sector_of(sector.address) for sector in region.sectors)
        end = HEAD_SIZE_BYTES + len(image)
        units = first.flags[HEAD_SIZE_BYTES // first.write_unit_bytes : -(-end // first.write_unit_bytes)]
        demand(UNIT_TORN not in units, f"the image in {region.name} was not written to the end")
        tail = first.content[end:]
        demand(tail.count(ERASED_BYTE) == len(tail), f"something stands behind the image in {region.name}")
        for sector in others:
            blank = sector is SimSector.blank(len(sector.content), sector.write_unit_bytes) or sector.is_blank
            demand(blank and not sector.unstable, f"something stands behind the image in {region.name}")

    def _demand_recorded_is_complete(self, state: DeviceState) -> None:
        """A record that says "installed", "on trial" or "confirmed" says it of a whole image."""
        board = self.device.board
        if state.installed is not None:
            self.demand_whole(board.application, state.installed.head_hash)
        for record in (state.boot_trial, state.boot_confirmed):
            if record is not None:
                self.demand_whole(board.copy_region(record.copy), record.head_hash)

    def demand_whole(self, region: Region, head_hash: bytes) -> None:
        """The region holds, byte for byte and every cell steady, the image whose head has this hash."""
        first = self.sector_of(region.address)
        head = bytes(first.content[:HEAD_SIZE_BYTES])
        demand(sha256(head).digest() == head_hash, f"the head in {region.name} is not the recorded one")
        image = self.images.get(head)
        demand(image is not None, f"what stands in {region.name} was never signed")
        assert image is not None
        demand(first.content[HEAD_SIZE_BYTES:].startswith(image), f"the image in {region.name} is not the signed one")
        steady = not any(self.sector_of(sector.address).unstable for sector in region.sectors)
        torn = UNIT_TORN in first.flags[: HEAD_SIZE_BYTES // first.write_unit_bytes]
        demand(steady and not torn, f"torn cells in {region.name}")
        self._demand_image(region, image)

    def _demand_snapshots_complete(self) -> None:
        """A half whose header was written whole has a whole snapshot behind it, whether it counts yet or not."""
        flash, board = self.device.flash, self.device.board
        data = [flash.read(region.address, board.state_half_size_bytes) for region in half_regions(board)]
        halves, _ = read_journal(data[0], data[1])
        for region, half in zip(half_regions(board), halves, strict=True):
            flags = self.sector_of(region.address).flags[:4]
            if half is None or flags.count(UNIT_PROGRAMMED) != len(flags):
                continue
            state = half.state
            demand(state.device is not None and state.trust_bundle is not None, "a half's header before its records")

    def _demand_floors(self, state: DeviceState) -> None:
        """Floors never fall, and rise to what is confirmed only."""
        floors, before = state.floors, self.floors_before
        demand(floors.application >= before.application, "the application's floor was lowered")
        demand(floors.bootloader >= before.bootloader, "the bootloader's floor was lowered")
        demand(floors.factory_test == before.factory_test, "the factory test's floor was moved")
        if floors.application > before.application:
            confirmed = state.installed is not None and state.application_is_confirmed
            demand(confirmed, "the application's floor was raised before its confirmation")
            assert state.installed is not None
            demand(floors.application <= state.installed.security_version, "the application's floor is too high")
        if floors.bootloader > before.bootloader:
            regions = (self.device.board.bootloader_a, self.device.board.bootloader_b)
            heads = [bytes(self.sector_of(region.address).content[:HEAD_SIZE_BYTES]) for region in regions]
            lesser = min(int.from_bytes(head[68:72], "little") for head in heads)
            demand(floors.bootloader <= lesser, "the bootloader's floor was raised above one of the copies")

    def sector_of(self, address: int) -> SimSector:
        """The sector that begins at this address, as it was when it was last looked at."""
        return self._sectors[self._index[address]]

    # --- what runs ---

    def power_on(self) -> Running:
        """Power on, cold, and examine everything."""
        return self.examine(self.device.power_on())

    def examine(self, running: Running) -> Running:
        """What runs is whole, flash is as it must be, and the journal reads the same again and again."""
        demand(not isinstance(running, Dead), "no bootloader copy starts")
        assert isinstance(running, ApplicationRuns | InUpdateMode)
        state = self.examine_flash()
        place = self.bundle_in_force(state)
        demand(place >= self._bundle_seen, "an older trust bundle is in force again")
        self._bundle_seen = place
        for _ in range(READINGS):
            again = self.read_state()
            demand(again is not None and settled(again) == settled(state), "the journal reads otherwise each time")
        self._demand_copy(running.copy)
        if isinstance(running, ApplicationRuns):
            self.demand_whole(self.device.board.application, running.head.hash)
        return running

    def _demand_copy(self, copy: Copy) -> None:
        """The bootloader that runs is one that was signed, with no torn cell."""
        self.demand_whole(self.device.board.copy_region(copy), self.device.bootloader.running.head.hash)


def settled(state: DeviceState) -> DeviceState:
    """A state without the count of a bootloader's attempts: a torn mark may count or not, each time it is read."""
    if state.boot_trial is None:
        return state
    return replace(state, boot_trial=replace(state.boot_trial, attempts=0))
