"""Records: their bytes, by hand from the table of docs/spec/device-state.md; what is unknown; what state they make."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.reference.board import Copy
from bootloader.reference.head import PackageType, Version
from bootloader.reference.records import (
    SERVICE_LIFECYCLES,
    Activated,
    AppConfirmed,
    AppTrial,
    BootConfirmed,
    BootTrial,
    Device,
    DeviceKeys,
    Event,
    Floors,
    GroupKey,
    Installed,
    InstallRegion,
    InstallStarted,
    Lifecycle,
    Moved,
    PendingGrant,
    Record,
    Seal,
    ServiceAction,
    ServiceStarted,
    Taken,
    TrustBundleInForce,
    Unknown,
    decode_record,
    encode_record,
)
from bootloader.reference.state import DeviceState, apply, snapshot, state_of
from tests.unit.reference.journal_rig import SAMPLES, hash_of

H = bytes(range(32))
# (record, type, payload written out from the table)
BYTES: list[tuple[Record, int, str]] = [
    (
        Device(b"\x11" * 16, 0x0203, Lifecycle.LOCKED, 0, b"\x22" * 16),
        1,
        "11" * 16 + "0302" + "3c" + "00" + "22" * 16,
    ),
    (
        Device(b"\x11" * 16, 1, Lifecycle.OPERATIONAL, 1, b"\x22" * 16),
        1,
        "11" * 16 + "0100" + "a5" + "01" + "22" * 16,
    ),
    (DeviceKeys(b"\x01" * 32, b"\x02" * 32), 2, "01" * 32 + "02" * 32),
    (GroupKey(b"\x03" * 32), 3, "03" * 32),
    (TrustBundleInForce(b"\x04" * 2304), 4, "04" * 2304),
    (InstallStarted(InstallRegion.BOOTLOADER_B, H), 5, "03" + "000000" + H.hex()),
    (
        Installed(PackageType.FACTORY_TEST, 0x01020304, Version(1, 2, 0x0304, 0x05060708), H, H[::-1], b"\x09" * 64),
        6,
        "03" + "000000" + "04030201" + "0102" + "0403" + "08070605" + H.hex() + H[::-1].hex() + "09" * 64,
    ),
    (AppTrial(2, H), 7, "02000000" + H.hex()),
    (AppConfirmed(H), 8, H.hex()),
    (BootTrial(Copy.B, 1, H), 9, "01" + "01" + "0000" + H.hex()),
    (BootConfirmed(Copy.A, H), 10, "00" + "000000" + H.hex()),
    (Floors(1, 2, 0xFFFFFFFF), 11, "01000000" + "02000000" + "ffffffff"),
    (Event(0x0192, 2, 5), 12, "9201" + "02" + "00" + "05000000"),
    (Seal(), 13, ""),
    (Moved(7), 14, "07000000"),
    (Taken(6), 15, "06000000"),
    (
        Activated(b"\x11" * 16, H, H[::-1], b"\x22" * 32, b"SN-1".ljust(32, b"\0")),
        16,
        "11" * 16 + H.hex() + H[::-1].hex() + "22" * 32 + "534e2d31" + "00" * 28,
    ),
    (PendingGrant(b"\x11" * 16, H, b"\x22" * 64, b"\x33" * 32), 17, "11" * 16 + H.hex() + "22" * 64 + "33" * 32),
    (ServiceStarted(ServiceAction.DECOMMISSION, H), 18, "02" + "000000" + H.hex()),
    (Unknown(77, 3, b"xyz"), 77, "78797a"),
]


@pytest.mark.parametrize(("record", "record_type", "payload"), BYTES, ids=lambda value: type(value).__name__)
def test_bytes(record: Record, record_type: int, payload: str) -> None:
    record_format = 3 if isinstance(record, Unknown) else 1
    assert encode_record(record) == (record_type, record_format, bytes.fromhex(payload))
    assert decode_record(record_type, record_format, bytes.fromhex(payload)) == record


@pytest.mark.parametrize(("record", "record_type", "payload"), BYTES, ids=lambda value: type(value).__name__)
def test_another_length_or_format_is_unknown(record: Record, record_type: int, payload: str) -> None:
    data = bytes.fromhex(payload)
    assert decode_record(record_type, 1, data + b"\0") == Unknown(record_type, 1, data + b"\0")
    assert decode_record(record_type, 2, data) == Unknown(record_type, 2, data)


@pytest.mark.parametrize(
    ("record_type", "payload"),
    [
        (5, "00000000" + "11" * 32),
        (5, "04000000" + "11" * 32),
        (6, "04" + "00" * 143),
        (9, "0200" + "0000" + "11" * 32),
        (18, "03000000" + "11" * 32),
        (18, "05000000" + "11" * 32),
    ],
)
def test_a_region_type_copy_or_action_of_a_later_version_is_unknown(record_type: int, payload: str) -> None:
    data = bytes.fromhex(payload)
    assert decode_record(record_type, 1, data) == Unknown(record_type, 1, data)


def test_an_unknown_lifecycle_is_kept_as_it_is() -> None:
    data = bytes.fromhex("11" * 16 + "0100" + "77" + "00" + "22" * 16)
    record = decode_record(1, 1, data)
    assert isinstance(record, Device)
    assert record.lifecycle == 0x77
    assert encode_record(record)[2] == data


def test_unknown_flags_survive_rewriting() -> None:
    data = bytes.fromhex("11" * 16 + "0100" + "a5" + "81" + "22" * 16)
    record = decode_record(1, 1, data)
    assert isinstance(record, Device)
    assert record.is_simulation_only
    assert encode_record(record)[2] == data


@pytest.mark.parametrize(
    "record",
    [AppConfirmed(b"short"), GroupKey(b"\x01" * 33), TrustBundleInForce(b""), Device(b"", 1, 0xA5, 0, b"\x01" * 16)],
    ids=lambda record: type(record).__name__,
)
def test_a_field_of_the_wrong_size_is_a_defect_and_never_cut_or_padded(record: Record) -> None:
    with pytest.raises(ValueError, match="wrong size"):
        encode_record(record)


def test_lifecycle_values_are_far_apart() -> None:
    """No single bit, and no bits that are only cleared or only set, turn one state into a more permissive one."""
    values = list(Lifecycle)
    for one in values:
        for other in values:
            if one is not other:
                assert (one ^ other).bit_count() >= 4


def test_private_keys_are_not_shown() -> None:
    shown = repr((SAMPLES["DEVICE_KEYS"], SAMPLES["GROUP_KEY"]))
    for name in ("identity", "agreement", "group"):
        assert repr(hash_of(name))[2:-1] not in shown


# --- state ---

A_HEAD, B_HEAD = hash_of("head a"), hash_of("head b")
INSTALLED = SAMPLES["INSTALLED"]
APP_HEAD = hash_of("head 1")
APP_STARTED = InstallStarted(InstallRegion.APPLICATION, APP_HEAD)


def test_install_started_for_the_application_removes_what_was_installed() -> None:
    state = state_of([INSTALLED, AppTrial(1, APP_HEAD), AppConfirmed(APP_HEAD), APP_STARTED])
    assert state == DeviceState(installs_started=(APP_STARTED,))


def test_installed_removes_the_start_and_an_older_confirmation() -> None:
    state = state_of([AppTrial(3, A_HEAD), AppConfirmed(A_HEAD), APP_STARTED, INSTALLED])
    assert state == DeviceState(installed=INSTALLED)  # type: ignore[arg-type]


def test_install_started_for_a_copy_removes_the_trial_of_that_copy_only() -> None:
    trial = BootTrial(Copy.B, 1, B_HEAD)
    started_a = InstallStarted(InstallRegion.BOOTLOADER_A, A_HEAD)
    started_b = InstallStarted(InstallRegion.BOOTLOADER_B, B_HEAD)
    assert state_of([trial, started_a]).boot_trial == trial
    assert state_of([trial, started_b]).boot_trial is None
    assert state_of([started_b, started_a]).installs_started == (started_a, started_b)


def test_boot_confirmed_ends_the_trial_and_the_start_of_that_copy() -> None:
    started_a = InstallStarted(InstallRegion.BOOTLOADER_A, A_HEAD)
    started_b = InstallStarted(InstallRegion.BOOTLOADER_B, B_HEAD)
    state = state_of([started_a, started_b, BootTrial(Copy.B, 1, B_HEAD), BootConfirmed(Copy.B, B_HEAD)])
    assert state == DeviceState(boot_confirmed=BootConfirmed(Copy.B, B_HEAD), installs_started=(started_a,))


def test_confirmation_and_attempts_are_of_the_installed_image_only() -> None:
    state = state_of([INSTALLED, AppTrial(2, B_HEAD), AppConfirmed(A_HEAD)])
    assert not state.application_is_confirmed
    assert state.application_attempts == 0
    state = state_of([INSTALLED, AppTrial(2, APP_HEAD)])
    assert state.application_attempts == 2
    assert state_of([INSTALLED, AppConfirmed(APP_HEAD)]).application_is_confirmed
    assert not state_of([AppConfirmed(APP_HEAD)]).application_is_confirmed


def test_the_last_16_events_are_kept_and_a_repeat_counts_once() -> None:
    events = [Event(0, 1, count) for count in range(1, 21)]
    state = state_of([*events, events[-1], events[-2]])
    assert [event.count for event in state.events] == list(range(5, 21))


def test_the_last_unknown_record_of_each_type_and_format_is_kept() -> None:
    records = [Unknown(90, 1, b"old"), Unknown(80, 1, b"x"), Unknown(90, 2, b"y"), Unknown(90, 1, b"new")]
    assert state_of(records).unknown == (Unknown(80, 1, b"x"), Unknown(90, 1, b"new"), Unknown(90, 2, b"y"))


def test_installed_uses_up_the_grant_of_its_head_only() -> None:
    grant = PendingGrant(b"\x11" * 16, APP_HEAD, b"\x22" * 64, b"\x33" * 32)
    assert state_of([grant, INSTALLED]).pending_grant is None
    assert state_of([replace(grant, head_hash=A_HEAD), INSTALLED]).pending_grant is not None
    assert state_of([grant, APP_STARTED]).pending_grant == grant


@pytest.mark.parametrize("lifecycle", Lifecycle)
def test_a_destruction_is_over_when_the_device_says_rma_or_decommissioned(lifecycle: Lifecycle) -> None:
    started = ServiceStarted(ServiceAction.RETURN_FOR_REPAIR, H)
    device = Device(b"\x11" * 16, 1, lifecycle, 0, b"\x22" * 16)
    over = lifecycle in (Lifecycle.RMA, Lifecycle.DECOMMISSIONED)
    assert state_of([started, device]).service_started == (None if over else started)
    assert state_of([device, started]).service_started == started


hashes = st.sampled_from([hash_of(f"head {number}") for number in range(3)])
any_record = st.one_of(
    st.sampled_from(list(SAMPLES.values())),
    st.builds(InstallStarted, st.sampled_from(InstallRegion), hashes),
    st.builds(lambda head: replace(INSTALLED, head_hash=head), hashes),
    st.builds(AppTrial, st.integers(0, 4), hashes),
    st.builds(AppConfirmed, hashes),
    st.builds(BootTrial, st.sampled_from(Copy), st.integers(0, 3), hashes),
    st.builds(BootConfirmed, st.sampled_from(Copy), hashes),
    st.builds(Floors, st.integers(0, 0xFFFFFFFF), st.integers(0, 3), st.integers(0, 3)),
    st.builds(Event, st.integers(0, 708), st.integers(1, 5), st.integers(1, 60)),
    st.builds(lambda life: replace(SAMPLES["DEVICE"], lifecycle=life), st.sampled_from(Lifecycle)),
    st.builds(lambda head: replace(SAMPLES["PENDING_GRANT"], head_hash=head), hashes),
    st.builds(ServiceStarted, st.sampled_from([*SERVICE_LIFECYCLES]), hashes),
    st.builds(Unknown, st.integers(19, 23), st.integers(1, 2), st.binary(max_size=8)),
    st.sampled_from([Seal(), Moved(4), Taken(3)]),
)


@given(st.lists(any_record, max_size=40))
def test_a_snapshot_makes_the_same_state(records: list[Record]) -> None:
    state = state_of(records)
    assert state_of(snapshot(state)) == state


@given(st.lists(any_record, max_size=20), any_record)
def test_a_record_twice_is_a_record_once(records: list[Record], record: Record) -> None:
    once = apply(state_of(records), record)
    assert apply(once, record) == once
