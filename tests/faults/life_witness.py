"""What must be true of a device's flash at any moment of its life: keys, activation and destruction, from outside."""

from __future__ import annotations

from dataclasses import dataclass, field

from bootloader.reference.journal_half import half_regions
from bootloader.reference.records import Floors, Lifecycle
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, Running
from bootloader.simulation.sim_sector import SimSector
from tests.faults.life_scenarios import FLOORS_OF_ORDER, PATIENT_DATA, LifeScenario, RecordingPlatform, issued
from tests.faults.witness import READINGS, Witness, demand, settled
from tests.unit.reference.life_builders import RE_PROVISION

DESTROYED = (Lifecycle.RMA, Lifecycle.DECOMMISSIONED)


@dataclass
class LifeWitness(Witness):
    """Watches one device through its life. `known_keys` are private keys from before; what it draws is asked of it."""

    scenario: LifeScenario = field(kw_only=True)
    known_keys: tuple[bytes, ...] = field(kw_only=True)

    @property
    def private_keys(self) -> tuple[bytes, ...]:
        """Halves of every private key that may exist: half a key is a secret too."""
        platform = self.device.platform
        assert isinstance(platform, RecordingPlatform)
        keys = dict.fromkeys((*self.known_keys, *platform.drawn))
        return tuple(half for key in keys for half in (key[:16], key[16:]))

    # --- flash, at any moment ---

    def examine_flash(self) -> DeviceState:
        """Every invariant of the flash as it is; a device without a readable state has an empty one."""
        self._sectors = self.device.flash.snapshot().sectors
        self._demand_untouched()
        state = self.readable_state()
        self._demand_keys_in_journal_only()
        for name in ("bootloader_a", "bootloader_b"):
            self._demand_head_means_image(name)
        if state is None:
            demand(None in self.scenario.passes, "the journal says nothing any more")
            return DeviceState()
        assert state.device is not None
        self._demand_copies_complete(state)
        self._demand_floors(state)
        self.bundle_in_force(state)
        lifecycle = state.device.lifecycle
        demand(lifecycle in self.scenario.passes, f"a state of life of which nobody spoke: 0x{lifecycle:02x}")
        if lifecycle == Lifecycle.OPERATIONAL and state.service_started is None:
            self._demand_activated(state)
        if lifecycle in DESTROYED:
            self._demand_destroyed(state)
        if state.installed is not None and state.service_started is None:
            self.demand_whole(self.device.board.application, state.installed.head_hash)
        return state

    def readable_state(self) -> DeviceState | None:
        """What the active half says, if that is a state."""
        state = self.read_state()
        if state is None or state.device is None or state.trust_bundle is None:
            return None
        return state

    def _demand_keys_in_journal_only(self) -> None:
        board = self.device.board
        journal = [sector for region in half_regions(board) for sector in region.sectors]
        for place, sector in zip(board.sectors, self._sectors, strict=True):
            if place not in journal and not _is_blank(sector):
                self._demand_absent(self.private_keys, bytes(sector.content), f"sector at {place.address:#010x}")

    def _demand_absent(self, needles: tuple[bytes, ...], content: bytes, where: str) -> None:
        demand(not any(needle in content for needle in needles), f"a secret stands in the {where}")

    def _demand_copies_complete(self, state: DeviceState) -> None:
        for record in (state.boot_trial, state.boot_confirmed):
            if record is not None:
                self.demand_whole(self.device.board.copy_region(record.copy), record.head_hash)

    def _demand_floors(self, state: DeviceState) -> None:
        """Never lower than before; a re-provisioning raises them to what it says, and to what is confirmed."""
        floors, before = state.floors, self.floors_before
        raised = FLOORS_OF_ORDER if self.scenario.service and self.scenario.service.action == RE_PROVISION else Floors()
        for name in ("application", "bootloader", "factory_test"):
            now, then = getattr(floors, name), getattr(before, name)
            demand(now >= then or None in self.scenario.passes, f"the floor of {name} was lowered")
            demand(now <= max(then, getattr(raised, name), 1), f"the floor of {name} was raised to {now}")

    def _demand_activated(self, state: DeviceState) -> None:
        """OPERATIONAL is only what an activation made so: all of it is on record, and the keys that it brought."""
        demand(state.activated is not None, "OPERATIONAL without an activation on record")
        assert state.activated is not None
        known = issued(state.activated.activation_digest)
        demand(known is not None and known[0] == state.activated, "an activation on record that nobody signed")
        demand(state.keys is not None, "OPERATIONAL without keys")
        assert known is not None
        demand((state.group_key is not None) is known[1], "the group key is not as the activation on record has it")

    def _demand_destroyed(self, state: DeviceState) -> None:
        """RMA and DECOMMISSIONED say that it is over: no key, no application, no datum is in flash, by no reading."""
        gone = (state.keys, state.group_key, state.activated, state.pending_grant, state.service_started)
        demand(gone == (None,) * len(gone), "a record that was to be destroyed")
        board = self.device.board
        for place, sector in zip(board.sectors, self._sectors, strict=True):
            if not _is_blank(sector):
                content = bytes(sector.content)
                self._demand_absent((*self.private_keys, PATIENT_DATA), content, f"sector at {place.address:#010x}")
        for region in (board.application, board.application_data):
            for place in region.sectors if region is not None else ():
                sector = self.sector_of(place.address)
                demand(_is_blank(sector) and not sector.unstable, f"{region} was not erased")

    # --- what runs ---

    def examine(self, running: Running) -> Running:
        """As the witness of updates; a device without a readable state may be one at the next reading."""
        demand(not isinstance(running, Dead), "no bootloader copy starts")
        assert isinstance(running, ApplicationRuns | InUpdateMode)
        state = self.examine_flash()
        if state.device is None:
            return running
        for _ in range(READINGS):
            again = self.read_state()
            demand(again is not None and settled(again) == settled(state), "the journal reads otherwise each time")
        self._demand_nothing_forbidden(running, state)
        return running

    def _demand_nothing_forbidden(self, running: Running, state: DeviceState) -> None:
        """A factory test runs LOCKED, an application OPERATIONAL, nothing while something is destroyed."""
        assert state.device is not None
        if not isinstance(running, ApplicationRuns):
            return
        demand(state.service_started is None, "something was started while a service order is being carried out")
        demand(state.device.lifecycle not in DESTROYED, "something was started after its destruction")
        allowed = Lifecycle.OPERATIONAL if running.head.package_type == 1 else Lifecycle.LOCKED
        demand(state.device.lifecycle == allowed, f"a {running.head.package_type.name} runs in this state of life")
        self.demand_whole(self.device.board.application, running.head.hash)


def _is_blank(sector: SimSector) -> bool:
    """Whether it reads erased; most do because they are the one blank sector, which is quickly said."""
    return sector is SimSector.blank(len(sector.content), sector.write_unit_bytes) or sector.is_blank
