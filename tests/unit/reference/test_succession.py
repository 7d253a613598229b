"""A device that is sent trust bundles: what it follows, when that counts, and what stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bootloader.reference import journal as journal_module
from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.flash import FlashDevice
from bootloader.reference.journal import HalfWriter
from bootloader.reference.journal_half import half_regions
from bootloader.reference.records import EventKind, Moved, Record, Unknown
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, PowerOn, SimulatedDevice
from bootloader.simulation.sending import send_bytes
from bootloader.simulation.sim_flash import Operation
from tests.scenarios.world import World, state_on_record
from tests.unit.reference import builders
from tests.unit.reference.bundle_chains import Link, first_link, next_link, other_roots, signed, without
from tests.unit.reference.fake.keys import fake_key

WORLD = World()
GENESIS = first_link()
RELEASE, SPARE = fake_key("application release"), fake_key("application release spare")
SECOND = next_link(GENESIS, limits=(0, 999, 0, 500, 0, 100))
THIRD = next_link(SECOND, roots=other_roots("third"))
REVOKING = next_link(GENESIS, role_keys=without(GENESIS.plan, RELEASE), revoked=[(RELEASE.key_id, 0)])
STOPPING = next_link(GENESIS, role_keys=without(GENESIS.plan, RELEASE), revoked=[(RELEASE.key_id, 1)])
FOREIGN = next_link(GENESIS, role_keys=sorted([*GENESIS.plan.role_keys, (5, fake_key("not built in").public)]))


def listening(device: SimulatedDevice | None = None) -> SimulatedDevice:
    """Application 1 is confirmed, and the device in update mode."""
    device = WORLD.device_with(1) if device is None else device
    device.power_on()
    device.application_requests_update()
    return device


def code_of(device: SimulatedDevice, bundle: bytes) -> DeviceCode:
    try:
        device.receive_trust_bundle(bundle)
    except Refused as refusal:
        return refusal.code
    return DeviceCode.OK


def logged(device: SimulatedDevice, act: Callable[[], Any]) -> list[Operation]:
    device.flash.log = []
    act()
    log, device.flash.log = device.flash.log, None
    return log


def outside_the_journal(device: SimulatedDevice, log: Sequence[Operation]) -> list[Operation]:
    halves = half_regions(device.board)
    return [entry for entry in log if not any(region.contains(entry.address, 1) for region in halves)]


def in_force(device: SimulatedDevice) -> bytes:
    bundle = state_on_record(device).trust_bundle
    assert bundle is not None
    assert device.bootloader.running.bundle.raw == bundle.bundle
    return bundle.bundle


def apart_from_bundle_and_events(state: DeviceState) -> DeviceState:
    return replace(state, trust_bundle=None, events=())


# --- what is followed ---


def test_the_next_version_is_in_force_at_once_and_after_every_start() -> None:
    device = listening()
    device.receive_trust_bundle(SECOND.file)
    assert in_force(device) == SECOND.file
    for kind in (PowerOn.WARM, PowerOn.COLD):
        assert isinstance(device.power_on(kind), ApplicationRuns)
        assert in_force(device) == SECOND.file
    status = device.status()
    assert (status.trust_bundle_version, status.trust_bundle_digest) == (2, SECOND.digest)


def test_a_chain_is_followed_link_by_link_with_all_roots_replaced_on_the_way() -> None:
    device = listening()
    assert code_of(device, THIRD.file) is DeviceCode.BUNDLE_SUCCESSION
    for link in (SECOND, THIRD, next_link(THIRD), next_link(next_link(THIRD), roots=other_roots("fifth"))):
        assert code_of(device, link.file) is DeviceCode.OK
        assert in_force(device) == link.file
    assert code_of(device, SECOND.file) is DeviceCode.BUNDLE_SUCCESSION
    assert isinstance(device.power_on(), ApplicationRuns)


def test_nothing_else_changes() -> None:
    device = listening()
    before = state_on_record(device)
    log = logged(device, lambda: device.receive_trust_bundle(SECOND.file))
    assert outside_the_journal(device, log) == []
    assert apart_from_bundle_and_events(state_on_record(device)) == apart_from_bundle_and_events(before)
    assert len([entry for entry in log if entry.data is None]) == 1, "one half is erased"


def test_one_event_says_so_and_comes_with_the_bundle() -> None:
    device = listening()
    count = state_on_record(device).events[-1].count
    device.receive_trust_bundle(SECOND.file)
    event = state_on_record(device).events[-1]
    assert (event.kind, event.code, event.count) == (EventKind.TRUST_BUNDLE, DeviceCode.OK, count + 1)


def test_the_same_bundle_again_costs_no_flash_operation() -> None:
    device = listening()
    device.receive_trust_bundle(SECOND.file)
    own_only = replace(SECOND.plan, signers=signed(1, SECOND.roots, 2))
    for bundle in (SECOND.file, builders.build_bundle(own_only)):
        assert logged(device, partial(device.receive_trust_bundle, bundle)) == []
        assert in_force(device) == SECOND.file


@pytest.mark.parametrize("name", ["locked", "no application"])
def test_trust_follows_the_roots_in_every_state_of_life(name: str) -> None:
    device = WORLD.locked_device() if name == "locked" else WORLD.device()
    assert isinstance(device.power_on(), InUpdateMode)
    assert code_of(device, SECOND.file) is DeviceCode.OK
    device.power_on()
    assert in_force(device) == SECOND.file


def test_outside_update_mode_nothing_is_taken() -> None:
    device = WORLD.device_with(1)
    assert code_of(device, SECOND.file) is DeviceCode.NOT_IN_UPDATE_MODE


# --- what is not ---

REFUSED: dict[str, tuple[Link, DeviceCode]] = {
    "another product": (next_link(GENESIS, product_id=b"\x77" * 16), DeviceCode.BUNDLE_PRODUCT),
    "a gap": (next_link(GENESIS, version=3), DeviceCode.BUNDLE_SUCCESSION),
    "another previous": (next_link(GENESIS, previous_digest=b"\1" * 32), DeviceCode.BUNDLE_SUCCESSION),
    "one old root": (
        next_link(GENESIS, signers=signed(0, GENESIS.roots, 1) + signed(1, GENESIS.roots, 2)),
        DeviceCode.BUNDLE_SIGNATURES,
    ),
    "one new root": (
        next_link(GENESIS, signers=signed(0, GENESIS.roots, 2) + signed(1, GENESIS.roots, 1)),
        DeviceCode.BUNDLE_SIGNATURES,
    ),
    "a key not built in": (FOREIGN, DeviceCode.BUNDLE_BUILT_IN),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_changes_nothing_but_the_event_log_and_the_right_one_is_taken_afterwards(name: str) -> None:
    link, code = REFUSED[name]
    device = listening()
    before = state_on_record(device)
    log = logged(device, lambda: code_of(device, link.file))
    assert outside_the_journal(device, log) == []
    assert all(entry.data is not None for entry in log), "nothing is erased"
    assert replace(state_on_record(device), events=()) == replace(before, events=())
    event = state_on_record(device).events[-1]
    assert (event.kind, event.code) == (EventKind.REFUSAL, code)
    assert logged(device, lambda: code_of(device, link.file)) == [], "each code is recorded once"
    assert code_of(device, SECOND.file) is DeviceCode.OK


def test_a_fork_is_refused_and_the_first_one_stays() -> None:
    device = listening()
    device.receive_trust_bundle(SECOND.file)
    for other in (REVOKING, next_link(REVOKING)):
        assert code_of(device, other.file) is DeviceCode.BUNDLE_SUCCESSION
    assert in_force(device) == SECOND.file


@pytest.mark.parametrize("signer_set", [0, 1])
def test_every_signature_of_a_successor_that_is_changed_is_noticed(signer_set: int) -> None:
    device = listening()
    for byte in range(64):
        position = 1600 + 68 * 2 * signer_set + 4 + byte
        changed = bytearray(SECOND.file)
        changed[position] ^= 0x10
        assert code_of(device, bytes(changed)) is DeviceCode.BUNDLE_SIGNATURES
    assert in_force(device) == GENESIS.file


def test_a_journal_without_room_refuses_before_it_erases_anything() -> None:
    device = listening()
    journal = device.bootloader.running.journal
    for number in range(30):
        journal.append(Unknown(100 + number, 1, bytes([number]) * 256))
    log = logged(device, lambda: code_of(device, SECOND.file))
    assert all(entry.data is not None for entry in log)
    assert state_on_record(device).events[-1].code == DeviceCode.STATE_FULL
    assert in_force(device) == GENESIS.file
    assert isinstance(device.power_on(), ApplicationRuns)


# --- copies on trial ---


def with_trial_of_b() -> SimulatedDevice:
    device = listening()
    assert device.install(WORLD.bootloader(2, Copy.B)) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)
    assert not device.bootloader.running.is_confirmed
    return device


def test_a_copy_on_trial_is_confirmed_by_a_successor_and_follows_it() -> None:
    """It verified two quorums over its link: so link and verification work, and it may compact."""
    device = with_trial_of_b()
    device.receive_trust_bundle(SECOND.file)
    assert device.bootloader.running.is_confirmed
    assert in_force(device) == SECOND.file
    running = device.power_on()
    assert isinstance(running, ApplicationRuns)
    assert running.copy is Copy.B


def test_a_copy_on_trial_is_confirmed_by_a_successor_that_it_then_refuses() -> None:
    device = with_trial_of_b()
    assert code_of(device, FOREIGN.file) is DeviceCode.BUNDLE_BUILT_IN
    assert device.bootloader.running.is_confirmed
    assert in_force(device) == GENESIS.file


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "a key not built in"])
def test_a_copy_on_trial_is_not_confirmed_by_what_does_not_follow(name: str) -> None:
    device = with_trial_of_b()
    assert code_of(device, REFUSED[name][0].file) is REFUSED[name][1]
    assert not device.bootloader.running.is_confirmed


def test_the_trial_of_the_other_copy_goes_on_after_a_succession() -> None:
    device = listening()
    package = WORLD.bootloader(2, Copy.B)
    device.bootloader.begin_upload(len(package))
    send_bytes(device.bootloader, package)
    device.receive_trust_bundle(SECOND.file)
    running = device.power_on()
    assert isinstance(running, ApplicationRuns)
    assert running.copy is Copy.B
    trial = state_on_record(device).boot_trial
    assert trial is not None
    assert trial.attempts == 1
    assert in_force(device) == SECOND.file


# --- what revocations and limits do ---


def test_a_revoked_key_signs_nothing_new_from_the_moment_the_bundle_is_taken() -> None:
    device = listening()
    device.receive_trust_bundle(REVOKING.file)
    with pytest.raises(Refused) as refused:
        device.install(WORLD.application(2))
    assert refused.value.code is DeviceCode.SIGNER_REVOKED
    running = device.power_on()
    assert isinstance(running, ApplicationRuns), "what is installed keeps starting"
    device.application_requests_update()
    device.install(WORLD.application(2, signers=(SPARE,)))
    assert device.application_confirms() == device.running


def test_an_upload_that_the_old_bundle_admitted_ends_with_it() -> None:
    """Time of check, time of use: a package whose signer is revoked meanwhile is not installed to its end."""
    device = listening()
    package = WORLD.application(2, image=bytes(range(256)) * 40)
    device.bootloader.begin_upload(len(package))
    send_bytes(device.bootloader, package[:6000])
    device.receive_trust_bundle(REVOKING.file)
    assert device.bootloader.upload is None
    with pytest.raises(Refused) as refused:
        device.bootloader.write(6000, package[6000:])
    assert refused.value.code is DeviceCode.UPLOAD_STATE
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
    device.install(WORLD.application(2, signers=(SPARE,)))
    assert isinstance(device.running, ApplicationRuns)


def test_a_refused_bundle_and_the_same_bundle_leave_an_upload_alone() -> None:
    device = listening()
    package = WORLD.application(2, image=bytes(range(256)) * 40)
    device.bootloader.begin_upload(len(package))
    send_bytes(device.bootloader, package[:6000])
    assert code_of(device, THIRD.file) is DeviceCode.BUNDLE_SUCCESSION
    assert code_of(device, GENESIS.file) is DeviceCode.OK
    assert send_bytes(device.bootloader, package, 6000) == len(package)
    running = device.reset_after_install()
    assert isinstance(running, ApplicationRuns)
    assert running.version.major == 2


def test_stop_stops_at_the_next_start_and_the_next_package_is_taken() -> None:
    device = listening()
    device.receive_trust_bundle(STOPPING.file)
    assert device.power_on() == InUpdateMode(DeviceCode.STOPPED, Copy.A)
    device.install(WORLD.application(1, signers=(SPARE,)))
    assert isinstance(device.running, ApplicationRuns), (
        "the same version by a good key: what it replaces does not start"
    )


def test_limits_count_when_something_is_installed_and_move_no_floor() -> None:
    device = listening()
    floors = state_on_record(device).floors
    device.receive_trust_bundle(next_link(GENESIS, limits=(3, 4, 0, 500, 0, 100)).file)
    for version, code in ((2, DeviceCode.BELOW_MINIMUM), (5, DeviceCode.ABOVE_MAXIMUM)):
        with pytest.raises(Refused) as refused:
            device.install(WORLD.application(version))
        assert refused.value.code is code
    assert state_on_record(device).floors == floors
    assert isinstance(device.power_on(), ApplicationRuns), "security version 1 is below the minimum now, and starts"
    device.application_requests_update()
    device.install(WORLD.application(3))
    assert isinstance(device.running, ApplicationRuns)


def test_a_bundle_that_leaves_no_key_at_all_stops_nobody() -> None:
    device = listening()
    bare = next_link(GENESIS, role_keys=[])
    device.receive_trust_bundle(bare.file)
    assert isinstance(device.power_on(), ApplicationRuns)
    device.application_requests_update()
    for package in (WORLD.application(2), WORLD.bootloader(2, Copy.B)):
        with pytest.raises(Refused) as refused:
            device.install(package)
        assert refused.value.code is DeviceCode.SIGNER_UNKNOWN
    device.receive_trust_bundle(next_link(bare, role_keys=GENESIS.plan.role_keys).file)
    device.install(WORLD.application(2))
    assert isinstance(device.running, ApplicationRuns)


# --- flash that does not take what is written ---


def test_after_a_failed_handover_nothing_is_appended_or_erased_until_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MOVED may read either way then: erasing the half that it names could leave none."""
    device = listening()
    original = HalfWriter.append

    def worn_out(self: HalfWriter, record: Record, number: int, reserve_bytes: int) -> None:
        if isinstance(record, Moved):
            raise Refused(DeviceCode.FLASH_WRITE, "does not read back")
        original(self, record, number, reserve_bytes)

    monkeypatch.setattr(HalfWriter, "append", worn_out)
    assert code_of(device, SECOND.file) is DeviceCode.FLASH_WRITE
    assert in_force(device) == GENESIS.file
    monkeypatch.undo()
    assert logged(device, lambda: code_of(device, SECOND.file)) == []
    assert isinstance(device.power_on(), ApplicationRuns)
    device.application_requests_update()
    assert code_of(device, SECOND.file) is DeviceCode.OK


def test_a_failure_before_the_handover_leaves_the_old_bundle_and_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = listening()

    def fails(flash: FlashDevice, address: int, data: bytes) -> None:
        raise Refused(DeviceCode.FLASH_WRITE, "does not read back")

    monkeypatch.setattr(journal_module, "program_and_compare", fails)
    assert code_of(device, SECOND.file) is DeviceCode.FLASH_WRITE
    monkeypatch.undo()
    assert in_force(device) == GENESIS.file
    assert code_of(device, SECOND.file) is DeviceCode.OK
