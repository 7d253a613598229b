"""A device in a rough world: installs good and bad, power cuts, resets, confirmations, in any order.

Whatever happens: what runs was authorised, floors only rise, the newest trust bundle is in force, events stay bounded,
and a host can always go on.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bootloader.reference import install_rules, succession
from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal_half import half_regions, read_journal
from bootloader.reference.records import Floors
from bootloader.reference.state import EVENTS_KEPT_MAX, DeviceState
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, PowerOn, Running, SimulatedDevice
from bootloader.simulation.sim_flash import PowerCut, Tear
from tests.property.model import (
    HEAD_SIZE_BYTES,
    VERSIONS,
    WORLD,
    application,
    authorised_heads,
    bootloader,
    refused_packages,
)
from tests.unit.reference.bundle_chains import Link, first_link, next_link, other_roots

NEWEST = max(VERSIONS)
OPERATIONS = st.integers(0, 900)  # longer than any installation here


class DeviceMachine(RuleBasedStateMachine):
    """One device, one host, one unreliable supply."""

    device: SimulatedDevice

    @initialize(seed=st.integers(0, 2**32))
    def new_device(self, seed: int) -> None:
        self.device = WORLD.device()
        self.device.flash.seed(seed)
        self.floors = Floors()
        self.links = [first_link()]  # the trust bundles that the device has followed
        self.running: Running = self.device.power_on()

    # --- what the supply does ---

    @rule(operation=OPERATIONS, tear=st.sampled_from(Tear))
    def cut_power_in_an_installation(self, operation: int, tear: Tear) -> None:
        if self._enter_update_mode():
            self.device.flash.cut_power_at(operation, tear)
            self._try_to_install(self._next_application())
            self.power_on_cold(1)

    @rule(operation=OPERATIONS, tear=st.sampled_from(Tear), version=st.sampled_from(VERSIONS))
    def cut_power_in_a_bootloader_update(self, operation: int, tear: Tear, version: int) -> None:
        if self._enter_update_mode():
            copy = self.device.bootloader.running.copy.other
            self.device.flash.cut_power_at(operation, tear)
            self._try_to_install(bootloader(version, copy))
            self.power_on_cold(1)

    @rule(operation=st.integers(0, 60), tear=st.sampled_from(Tear))
    def cut_power_in_a_confirmation_of_a_copy(self, operation: int, tear: Tear) -> None:
        if isinstance(self.running, InUpdateMode):
            self.device.flash.cut_power_at(operation, tear)
            with suppress(PowerCut):
                self.device.receive_trust_bundle(self.links[-1].file)
            self.power_on_cold(1)

    @rule(times=st.integers(1, 4))
    def power_on_cold(self, times: int) -> None:
        for _ in range(times):
            self.running = self.device.power_on(PowerOn.COLD)

    @rule()
    def reset_warm(self) -> None:
        self.running = self.device.power_on(PowerOn.WARM)

    # --- what the application does ---

    @precondition(lambda self: isinstance(self.running, ApplicationRuns))
    @rule()
    def application_confirms(self) -> None:
        self.running = self.device.application_confirms()

    @precondition(lambda self: isinstance(self.running, ApplicationRuns))
    @rule()
    def application_requests_update(self) -> None:
        self.running = self.device.application_requests_update()

    # --- what the host, and others, send ---

    @rule(version=st.sampled_from(VERSIONS), security_version=st.sampled_from(VERSIONS))
    def install_application(self, version: int, security_version: int) -> None:
        """Any version: taken, or refused by a rule about versions."""
        if self._enter_update_mode():
            code = self._try_to_install(application(version, security_version))
            assert code in (DeviceCode.OK, DeviceCode.VERSION_NOT_NEWER, DeviceCode.BELOW_FLOOR), code
            assert code is not DeviceCode.OK or security_version >= self.floors.application

    @rule(version=st.sampled_from(VERSIONS), right_copy=st.booleans(), confirms=st.booleans())
    def install_bootloader(self, version: int, right_copy: bool, confirms: bool) -> None:
        if not self._enter_update_mode():
            return
        mine = self.device.bootloader.running.copy
        code = self._try_to_install(bootloader(version, mine.other if right_copy else mine))
        allowed = {DeviceCode.OK, DeviceCode.VERSION_NOT_NEWER, DeviceCode.BELOW_FLOOR}
        assert code in (allowed if right_copy else {DeviceCode.WRONG_LOAD_ADDRESS}), code
        if code is DeviceCode.OK and confirms:
            self.device.receive_trust_bundle(self.links[-1].file)

    @rule(name=st.sampled_from(sorted(refused_packages())))
    def send_what_is_never_taken(self, name: str) -> None:
        package, codes = refused_packages()[name]
        entered = self._enter_update_mode()
        code = self._try_to_install(package)
        assert code in (codes if entered else {DeviceCode.NOT_IN_UPDATE_MODE}), f"{name}: {code!r}"

    @rule(size_bytes=st.integers(0, 1400))
    def begin_an_upload_and_go_away(self, size_bytes: int) -> None:
        if self._enter_update_mode():
            package = self._next_application()
            self.device.bootloader.begin_upload(len(package))
            with suppress(Refused):  # a whole head may be refused at once
                self.device.bootloader.write(0, package[:size_bytes])

    # --- what must be true, always ---

    @invariant()
    def what_runs_was_authorised(self) -> None:
        running = self.running
        assert not isinstance(running, Dead)
        copy_region = self.device.board.copy_region(running.copy)
        assert self.device.flash.read(copy_region.address, HEAD_SIZE_BYTES) in authorised_heads()
        if isinstance(running, ApplicationRuns):
            assert running.head.raw in authorised_heads()
            region = self.device.board.application
            image = WORLD.application_plan(running.version.major).image
            assert self.device.flash.read(region.address + HEAD_SIZE_BYTES, len(image)) == image
            assert running.head.security_version >= self.floors.application

    @invariant()
    def floors_only_rise(self) -> None:
        floors = self._state().floors
        assert floors.application >= self.floors.application
        assert floors.bootloader >= self.floors.bootloader
        assert floors.factory_test == 0
        self.floors = floors

    @invariant()
    def events_are_bounded_and_numbered(self) -> None:
        counts = [event.count for event in self._state().events]
        assert len(counts) <= EVENTS_KEPT_MAX
        assert counts == sorted(set(counts))

    def teardown(self) -> None:
        """Usable to the end: the newest application installs and runs, confirmed, and survives a cold start."""
        self.running = self.device.power_on()
        for _ in range(6):
            if self._runs_newest():
                break
            if isinstance(self.running, ApplicationRuns) and self.running.version.major == NEWEST:
                self.running = self.device.application_confirms()
            elif self._enter_update_mode():
                assert self._try_to_install(application(NEWEST, NEWEST)) is DeviceCode.OK
        self.running = self.device.power_on()
        assert self._runs_newest()
        self.what_runs_was_authorised()

    # --- helpers ---

    def _runs_newest(self) -> bool:
        newest = isinstance(self.running, ApplicationRuns) and self.running.version.major == NEWEST
        return newest and self._state().application_is_confirmed

    def _next_application(self) -> bytes:
        installed = self._state().installed
        version = min(NEWEST, installed.image_version.major + 1 if installed is not None else 1)
        return application(version, version)

    def _enter_update_mode(self) -> bool:
        """Ask the application for it, if one runs."""
        if isinstance(self.running, ApplicationRuns):
            self.running = self.device.application_requests_update()
        return isinstance(self.running, InUpdateMode)

    def _try_to_install(self, package: bytes) -> DeviceCode | None:
        """OK, the code of the refusal, or None if the power failed."""
        try:
            self.running = self.device.install(package)
        except Refused as refusal:
            return refusal.code
        except PowerCut:
            return None
        return DeviceCode.OK

    def _bundle_in_force(self) -> bytes:
        bundle = self._state().trust_bundle
        assert bundle is not None
        return bundle.bundle

    def _state(self) -> DeviceState:
        flash, board = self.device.flash, self.device.board
        data = [flash.read(region.address, board.state_half_size_bytes) for region in half_regions(board)]
        halves, active = read_journal(data[0], data[1])
        assert active is not None, "no readable journal"
        half = halves[active]
        assert half is not None
        return half.state


class RotatingDeviceMachine(DeviceMachine):
    """The same, while its trust bundles are succeeded."""

    @rule(operation=OPERATIONS, tear=st.sampled_from(Tear), new_roots=st.booleans())
    def cut_power_in_a_succession(self, operation: int, tear: Tear, new_roots: bool) -> None:
        """Old or new, which the invariant holds it to from then on."""
        if self._enter_update_mode():
            link = self._next_link(new_roots)
            self.device.flash.cut_power_at(operation, tear)
            with suppress(PowerCut):
                self.device.receive_trust_bundle(link.file)
            self.power_on_cold(1)
            if self._bundle_in_force() == link.file:
                self.links.append(link)

    @rule(new_roots=st.booleans())
    def follow_the_next_trust_bundle(self, new_roots: bool) -> None:
        if self._enter_update_mode():
            self.links.append(self._next_link(new_roots))
            self.device.receive_trust_bundle(self.links[-1].file)

    @rule(kind=st.sampled_from(["older", "skipping", "fork"]), at=st.integers(0, 40))
    def send_a_trust_bundle_that_does_not_follow(self, kind: str, at: int) -> None:
        """Each of them properly signed by the quorums of its own chain."""
        if not self._enter_update_mode():
            return
        older = self.links[at % len(self.links)]
        offered = older if kind == "older" else next_link(older, limits=(0, 1 + at, 0, 500, 0, 100))
        offered = next_link(next_link(self.links[-1])) if kind == "skipping" else offered
        if offered.plan.previous_digest == self.links[-1].digest or offered.digest == self.links[-1].digest:
            return
        with pytest.raises(Refused) as refused:
            self.device.receive_trust_bundle(offered.file)
        assert refused.value.code is DeviceCode.BUNDLE_SUCCESSION

    @invariant()
    def the_newest_trust_bundle_is_in_force(self) -> None:
        assert self._bundle_in_force() == self.links[-1].file

    def _next_link(self, new_roots: bool) -> Link:
        """Signed by both quorums; the release keys stay."""
        return next_link(self.links[-1], roots=other_roots(f"roots {len(self.links)}") if new_roots else None)


def test_a_rough_life() -> None:
    """A bounded run for every `make test`."""
    run_state_machine_as_test(RotatingDeviceMachine, settings=settings(max_examples=40, stateful_step_count=20))


@pytest.mark.campaign
def test_many_long_rough_lives() -> None:
    """More of the same."""
    run_state_machine_as_test(RotatingDeviceMachine, settings=settings(max_examples=400, stateful_step_count=40))


def test_both_copies_and_every_version_are_authorised() -> None:
    assert len(authorised_heads()) == len(VERSIONS) * (len(VERSIONS) + len(Copy))


@pytest.mark.parametrize("rule_left_out", ["_floor", "_maximum", "_product"])
def test_the_machine_notices_a_device_without_one_rule(rule_left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: it reaches the states in which these rules matter."""
    kept = tuple(rule for rule in install_rules._RULES if rule.__name__ != rule_left_out)
    assert len(kept) == len(install_rules._RULES) - 1
    monkeypatch.setattr(install_rules, "_RULES", kept)
    only_generate = settings(max_examples=400, stateful_step_count=20, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(DeviceMachine, settings=only_generate)


def test_the_machine_notices_a_device_that_does_not_ask_what_a_bundle_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: any bundle that enough of the roots in force have signed is taken."""
    monkeypatch.setattr(succession, "_require_next", lambda bundle, current: None)
    only_generate = settings(max_examples=400, stateful_step_count=20, phases=[Phase.generate])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(RotatingDeviceMachine, settings=only_generate)
