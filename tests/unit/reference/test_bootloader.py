"""Starts of the bootloader: mailbox, trial, confirmation, floors, events (device-state.md, sections 4 and 6)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bootloader.reference.board import Copy, load_address
from bootloader.reference.bootloader import Bootloader
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal_half import half_regions
from bootloader.reference.records import (
    AppTrial,
    BootConfirmed,
    BootTrial,
    Event,
    EventKind,
    Floors,
    Lifecycle,
)
from bootloader.reference.start import Mailbox, MailboxRequest, StartApplication, UpdateMode
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, PowerOn, SimulatedDevice
from bootloader.simulation.sim_flash import Operation
from tests.scenarios.world import World, state_on_record
from tests.unit.reference import builders

WORLD = World()
NO_APPLICATION = InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
UPDATE_REQUESTED = InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)
APPLICATION_1, APPLICATION_2 = WORLD.application(1), WORLD.application(2)
HEAD_1 = builders.sha256(APPLICATION_1[:1024])
BOOTLOADER_B = WORLD.bootloader(2, Copy.B)


def events(device: SimulatedDevice) -> list[tuple[int, int]]:
    return [(event.kind, event.code) for event in state_on_record(device).events]


def start_log(device: SimulatedDevice) -> list[Operation]:
    log: list[Operation] = []
    device.flash.log = log
    return log


def version_running(device: SimulatedDevice) -> int | None:
    return device.running.version.major if isinstance(device.running, ApplicationRuns) else None


def trial_device() -> SimulatedDevice:
    """Application 1 on its first start, not confirmed."""
    return WORLD.device_with(1, confirmed=False)


# --- application: trial and confirmation ---


def test_a_new_device_waits_for_an_application() -> None:
    assert WORLD.device().power_on() == NO_APPLICATION
    assert WORLD.locked_device().power_on() == NO_APPLICATION


def test_an_unconfirmed_application_is_started_three_times() -> None:
    device = trial_device()
    assert [device.power_on(kind).__class__ for kind in (PowerOn.COLD, PowerOn.WARM)] == [ApplicationRuns] * 2
    assert state_on_record(device).app_trial == AppTrial(3, HEAD_1)
    exhausted = InUpdateMode(DeviceCode.TRIAL_EXHAUSTED, Copy.A)
    assert [device.power_on() for _ in range(3)] == [exhausted] * 3
    assert events(device)[-1] == (EventKind.START, DeviceCode.TRIAL_EXHAUSTED)
    assert events(device).count((EventKind.START, DeviceCode.TRIAL_EXHAUSTED)) == 1
    device.install(APPLICATION_1)
    assert version_running(device) == 1


def test_a_confirmed_application_starts_for_ever_and_its_starts_write_nothing() -> None:
    device = WORLD.device_with(1)
    device.power_on()
    log = start_log(device)
    for _ in range(10):
        assert isinstance(device.power_on(), ApplicationRuns)
    assert log == []


def test_confirmation_is_for_the_image_that_asks() -> None:
    device = trial_device()
    device.mailbox = Mailbox(MailboxRequest.CONFIRM, builders.sha256(APPLICATION_2[:1024]))
    assert isinstance(device.power_on(PowerOn.WARM), ApplicationRuns)
    assert not state_on_record(device).application_is_confirmed
    assert state_on_record(device).floors.application == 0
    device.application_confirms()
    assert state_on_record(device).application_is_confirmed
    assert events(device)[-1] == (EventKind.CONFIRMATION, DeviceCode.OK)


def test_confirming_twice_changes_nothing() -> None:
    device = WORLD.device_with(1)
    log = start_log(device)
    device.application_confirms()
    assert log == []


def test_a_cold_start_loses_the_mailbox() -> None:
    device = trial_device()
    device.mailbox = Mailbox(MailboxRequest.CONFIRM, HEAD_1)
    device.power_on(PowerOn.COLD)
    assert not state_on_record(device).application_is_confirmed
    device.power_on(PowerOn.WARM)
    assert not state_on_record(device).application_is_confirmed, "it is cleared, not kept"


def test_confirmation_is_read_once() -> None:
    device = WORLD.device_with(1)
    assert device.mailbox is None
    device.application_requests_update()
    assert device.mailbox is None
    assert isinstance(device.power_on(PowerOn.WARM), ApplicationRuns)


def test_update_mode_on_request_or_by_pin() -> None:
    device = WORLD.device_with(1)
    assert device.application_requests_update() == UPDATE_REQUESTED
    assert isinstance(device.power_on(), ApplicationRuns)
    device.entry_pin_is_active = True
    assert device.power_on() == UPDATE_REQUESTED
    with pytest.raises(Refused):
        device.application_confirms()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda device: device.flash.corrupt(device.board.application.address + 500, b"\0\0"), DeviceCode.HEAD_CHANGED),
        (lambda device: device.flash.corrupt(load_address(device.board.application), b"\0\0"), DeviceCode.BOOT_DIGEST),
    ],
)
def test_a_damaged_application_never_starts(spoil: Callable[[SimulatedDevice], None], code: DeviceCode) -> None:
    device = WORLD.device_with(1)
    spoil(device)
    assert [device.power_on() for _ in range(4)] == [InUpdateMode(code, Copy.A)] * 4
    assert events(device).count((EventKind.START, code)) == 1, "resets do not wear out the flash"


# --- floors ---


def test_the_application_floor_rises_with_confirmation_only() -> None:
    device = WORLD.device_with(1)
    assert state_on_record(device).floors == Floors(application=1, bootloader=1)
    device.application_requests_update()
    device.install(APPLICATION_2)
    for _ in range(2):
        assert state_on_record(device).floors.application == 1
        device.power_on()
    device.application_confirms()
    assert state_on_record(device).floors.application == 2


def test_after_an_unconfirmed_update_the_older_one_installs_again() -> None:
    """Row: counter raised before confirmation."""
    device = WORLD.device_with(1)
    device.application_requests_update()
    device.install(APPLICATION_2)
    device.entry_pin_is_active = True
    device.power_on()
    device.entry_pin_is_active = False
    device.install(APPLICATION_1)
    assert version_running(device) == 1


def test_a_confirmed_application_with_a_lower_security_version_lowers_no_floor() -> None:
    device = WORLD.device_with(2)
    device.application_requests_update()
    device.install(WORLD.application(3, security_version=2))
    device.application_confirms()
    assert state_on_record(device).floors.application == 2


def test_the_bootloader_floor_is_the_lesser_of_both_copies() -> None:
    device = WORLD.device_with(1)
    device.application_requests_update()
    device.install(BOOTLOADER_B)
    device.receive_trust_bundle(WORLD.genesis)
    assert state_on_record(device).floors.bootloader == 1, "copy A is still the old one"
    device.install(WORLD.bootloader(2, Copy.A))
    device.receive_trust_bundle(WORLD.genesis)
    assert state_on_record(device).floors.bootloader == 2
    with pytest.raises(Refused) as refused:
        device.install(WORLD.bootloader(3, Copy.B, security_version=1))
    assert refused.value.code is DeviceCode.BELOW_FLOOR


def test_a_copy_that_does_not_verify_raises_no_floor() -> None:
    device = WORLD.device_with(1)
    device.application_requests_update()
    device.install(BOOTLOADER_B)
    device.flash.corrupt(load_address(device.board.bootloader_a), b"\0")
    device.receive_trust_bundle(WORLD.genesis)
    assert state_on_record(device).floors.bootloader == 1


# --- bootloader copies ---


def with_trial_of_b() -> SimulatedDevice:
    """Copy B installed, running for the first time, listening."""
    device = WORLD.device_with(1)
    device.application_requests_update()
    assert device.install(BOOTLOADER_B) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)
    return device


def test_a_copy_on_trial_starts_the_application_too() -> None:
    device = with_trial_of_b()
    running = device.power_on()
    assert isinstance(running, ApplicationRuns)
    assert running.copy is Copy.B


def test_a_copy_on_trial_confirms_itself_by_a_signed_head_even_one_that_it_refuses() -> None:
    device = with_trial_of_b()
    with pytest.raises(Refused) as refused:
        device.install(APPLICATION_1)
    assert refused.value.code is DeviceCode.VERSION_NOT_NEWER
    assert device.bootloader.running.is_confirmed
    boot_confirmed = state_on_record(device).boot_confirmed
    assert boot_confirmed is not None
    assert boot_confirmed.copy is Copy.B


def test_a_copy_on_trial_is_not_confirmed_by_anything_unsigned() -> None:
    device = with_trial_of_b()
    for package in (bytes(2000), BOOTLOADER_B[:500] + b"\0" + BOOTLOADER_B[501:], APPLICATION_2[:450] + bytes(1000)):
        with pytest.raises(Refused):
            device.install(package)
    with pytest.raises(Refused):
        device.receive_trust_bundle(WORLD.genesis[:1700] + b"\1" + WORLD.genesis[1701:])
    assert not device.bootloader.running.is_confirmed


def test_a_copy_on_trial_takes_the_other_copy_only_after_confirming_itself() -> None:
    """The head that confirms it may be that of the package for the other copy: it is confirmed by then."""
    device = with_trial_of_b()
    device.install(WORLD.bootloader(2, Copy.A))
    assert device.running == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)


def test_a_copy_on_trial_compacts_nothing_and_erases_no_half() -> None:
    device = with_trial_of_b()
    journal = device.bootloader.running.journal
    while not journal.is_compaction_due:
        journal.append(AppTrial(0, bytes(32)))
    sequence = journal.half_sequence
    device.power_on()
    assert device.bootloader.running.journal.half_sequence == sequence
    with pytest.raises(Refused) as refused:
        device.bootloader.running.journal.compact()
    assert refused.value.code is DeviceCode.REGION_LOCKED
    for _ in range(3):
        device.power_on()  # exhausted: back to copy A, which compacts
    assert device.bootloader.running.copy is Copy.A
    assert device.bootloader.running.journal.half_sequence == sequence + 1


def test_a_new_copy_with_a_dead_link_falls_back_after_three_attempts() -> None:
    """Row: a new bootloader copy with a dead link confirms itself."""
    device = with_trial_of_b()
    copies = [device.running.copy] if isinstance(device.running, InUpdateMode) else []
    for _ in range(4):
        running = device.power_on()
        assert isinstance(running, ApplicationRuns)
        copies.append(running.copy)
    assert copies == [Copy.B, Copy.B, Copy.B, Copy.A, Copy.A]
    state = state_on_record(device)
    assert state.boot_trial is None
    assert state.boot_confirmed is not None
    assert state.boot_confirmed.copy is Copy.A
    assert events(device).count((EventKind.FALL_BACK, DeviceCode.TRIAL_EXHAUSTED)) == 1
    device.application_requests_update()
    assert device.install(BOOTLOADER_B) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)


def test_if_the_confirmed_copy_is_broken_an_exhausted_one_runs_and_may_repair_it() -> None:
    device = with_trial_of_b()
    device.flash.corrupt(load_address(device.board.bootloader_a), b"\0")
    for _ in range(5):
        running = device.power_on()
        assert isinstance(running, ApplicationRuns)
        assert running.copy is Copy.B
    device.application_requests_update()
    device.install(WORLD.bootloader(2, Copy.A))
    assert device.running == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)


def test_without_a_copy_that_verifies_the_device_is_dead_and_says_so() -> None:
    device = WORLD.device_with(1)
    for copy in Copy:
        device.flash.corrupt(load_address(device.board.copy_region(copy)), b"\0")
    assert device.power_on() == Dead()
    with pytest.raises(Refused) as refused:
        device.install(APPLICATION_2)
    assert refused.value.code is DeviceCode.NO_BOOTLOADER


def test_confirmed_means_by_its_own_head() -> None:
    """BOOT_CONFIRMED names copy A, but another head: the copy that stands there now is on trial."""
    device = WORLD.device()
    device.power_on()
    device.bootloader.running.journal.append(BootConfirmed(Copy.A, bytes(32)))
    device.power_on()
    assert device.bootloader.running.copy is Copy.A
    assert not device.bootloader.running.is_confirmed


def test_a_pending_trial_of_a_copy_that_does_not_verify_stays_and_harms_nothing() -> None:
    device = with_trial_of_b()
    device.flash.corrupt(load_address(device.board.bootloader_b), b"\0")
    for _ in range(5):
        running = device.power_on()
        assert isinstance(running, ApplicationRuns)
        assert running.copy is Copy.A
    trial = state_on_record(device).boot_trial
    assert isinstance(trial, BootTrial)
    device.application_requests_update()
    device.install(BOOTLOADER_B)
    assert device.running == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)


# --- trust bundle ---


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        (WORLD.genesis[:-1], DeviceCode.BUNDLE_SIZE),
        (builders.build_bundle(builders.BundlePlan(product_id=b"\x77" * 16)), DeviceCode.BUNDLE_PRODUCT),
        (builders.build_bundle(builders.BundlePlan(limits=(0, 9, 0, 9, 0, 9))), DeviceCode.BUNDLE_SUCCESSION),
        (
            builders.build_bundle(builders.BundlePlan(version=2, previous_digest=b"\1" * 32)),
            DeviceCode.BUNDLE_SUCCESSION,
        ),
        (
            builders.build_bundle(builders.BundlePlan(signers=((1, 0, builders.root_keys()[0]),))),
            DeviceCode.BUNDLE_SIGNATURES,
        ),
    ],
)
def test_another_trust_bundle_is_refused(bundle: bytes, code: DeviceCode) -> None:
    device = with_trial_of_b()
    with pytest.raises(Refused) as refused:
        device.receive_trust_bundle(bundle)
    assert refused.value.code is code
    assert not device.bootloader.running.is_confirmed


def test_the_bundle_in_force_with_other_signatures_is_the_same_bundle() -> None:
    roots = builders.root_keys()
    signers = ((1, 1, roots[1]), (1, 2, roots[2]))
    device = with_trial_of_b()
    device.receive_trust_bundle(builders.build_bundle(builders.BundlePlan(signers=signers)))
    assert device.bootloader.running.is_confirmed
    bundle = state_on_record(device).trust_bundle
    assert bundle is not None
    assert bundle.bundle == WORLD.genesis, "nothing is changed"


# --- events ---


def test_refusals_are_recorded_each_code_once_and_eight_in_all() -> None:
    device = WORLD.device()
    device.power_on()
    for _ in range(3):
        for position in (0, 32, 36, 38, 39, 94, 56, 92, 93, 76, 176, 180, 384):
            head = bytearray(APPLICATION_1[:1024])
            head[position] ^= 0x40
            with pytest.raises(Refused):
                device.install(bytes(head) + bytes(932))
    refusals = [code for kind, code in events(device) if kind == EventKind.REFUSAL]
    assert len(refusals) == len(set(refusals)) == 8
    free = device.bootloader.running.journal.free_bytes
    with pytest.raises(Refused):
        device.install(bytes(2000))
    assert device.bootloader.running.journal.free_bytes == free


def test_a_life_in_events() -> None:
    device = WORLD.device_with(1)
    device.application_requests_update()
    with pytest.raises(Refused):
        device.install(APPLICATION_1)
    device.install(BOOTLOADER_B)
    device.receive_trust_bundle(WORLD.genesis)
    assert events(device) == [
        (EventKind.INSTALL, DeviceCode.OK),
        (EventKind.CONFIRMATION, DeviceCode.OK),
        (EventKind.REFUSAL, DeviceCode.VERSION_NOT_NEWER),
        (EventKind.INSTALL, DeviceCode.OK),
        (EventKind.CONFIRMATION, DeviceCode.OK),
    ]
    assert [event.count for event in state_on_record(device).events] == [1, 2, 3, 4, 5]


def test_a_full_journal_stops_no_confirmed_application() -> None:
    """Nothing can be appended any more, and compaction is not possible either: what is confirmed goes on."""
    device = WORLD.device_with(1)
    device.entry_pin_is_active = True
    device.power_on()
    device.entry_pin_is_active = False
    journal = device.bootloader.running.journal
    journal.append(BootConfirmed(Copy.B, bytes(32)))  # so that no copy is confirmed, and none compacts
    fill(device)
    running = device.power_on()
    assert isinstance(running, ApplicationRuns)
    device.application_requests_update()
    with pytest.raises(Refused) as refused:
        device.install(APPLICATION_2)
    assert refused.value.code is DeviceCode.STATE_FULL
    assert isinstance(device.power_on(), ApplicationRuns)


def fill(device: SimulatedDevice) -> None:
    count = 0
    with pytest.raises(Refused) as refused:  # noqa: PT012 (until it is full)
        while True:
            count += 1
            device.bootloader.running.journal.append(Floors(1, 1, count))
    assert refused.value.code is DeviceCode.STATE_FULL


def test_a_full_journal_of_a_confirmed_copy_is_compacted_at_its_next_start() -> None:
    device = WORLD.device_with(1)
    device.entry_pin_is_active = True
    device.power_on()
    device.entry_pin_is_active = False
    fill(device)
    before = state_on_record(device)
    device.power_on()
    assert state_on_record(device) == before
    assert device.bootloader.running.journal.free_bytes > 8000


# --- the value a start gives ---


def test_what_is_started_is_the_vector_table_behind_the_head() -> None:
    device = WORLD.device_with(1)
    device.flash.power_on()
    bootloader = Bootloader(device.flash, device.board, device.uid, Copy.A)
    started = bootloader.start()
    assert isinstance(started, StartApplication)
    assert started.vector_table_address == 0x08020400
    assert started.head.raw == APPLICATION_1[:1024]
    device.flash.power_on()
    bootloader = Bootloader(device.flash, device.board, device.uid, Copy.A)
    assert bootloader.start(Mailbox(MailboxRequest.UPDATE)) == UpdateMode(DeviceCode.UPDATE_REQUESTED)
    assert bootloader.upload is None
    assert bootloader.mailbox_after_install() is None


def test_no_state_is_reported_and_nothing_is_written() -> None:
    device = WORLD.device_with(1)
    for region in half_regions(device.board):
        device.flash.corrupt(region.address, bytes(16))
    log = start_log(device)
    assert device.power_on() == InUpdateMode(DeviceCode.NO_STATE, Copy.A)
    assert log == []
    with pytest.raises(Refused) as refused:
        _ = device.bootloader.running
    assert refused.value.code is DeviceCode.NO_STATE


def test_status_says_everything_but_secrets() -> None:
    device = WORLD.device_with(1)
    status = device.status()
    assert status.uid == WORLD.uid
    assert status.device.lifecycle == Lifecycle.OPERATIONAL
    assert status.device.is_simulation_only
    assert [copy.security_version for copy in status.copies] == [1, 1]
    assert [copy.is_confirmed for copy in status.copies] == [True, False]
    assert status.application_is_confirmed
    assert status.floors == Floors(1, 1, 0)
    assert status.trust_bundle_version == 1
    assert [event.count for event in status.events] == [1, 2]
    assert status.events[0] == Event(DeviceCode.OK, EventKind.INSTALL, 1)
    keys = device.bootloader.running.state.keys
    assert keys is not None
    for secret in (keys.identity_private, keys.agreement_private):
        assert repr(secret)[2:-1] not in repr(status)
    device.flash.corrupt(load_address(device.board.bootloader_b), b"\0")
    assert device.status().copies[Copy.B].version is None
