"""Installing: any block size, lost links, the rules in their order, and what is erased and written when."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest

from bootloader.reference.board import Copy, load_address
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal_half import half_regions
from bootloader.reference.records import AppConfirmed, Device, Floors, Installed, InstallRegion, InstallStarted
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice
from bootloader.simulation.sending import send_bytes
from bootloader.simulation.sim_flash import Operation
from tests.scenarios.world import World, image_of, state_on_record
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key

WORLD = World()
EMPTY = WORLD.device()
EMPTY_SAVED = EMPTY.flash.snapshot()
CONFIRMED = WORLD.device_with(2)
CONFIRMED.application_requests_update()
CONFIRMED_SAVED = CONFIRMED.flash.snapshot()
TWO_CHUNKS = image_of("two chunks", 4100)


def empty() -> SimulatedDevice:
    """Operational, without an application, in update mode."""
    EMPTY.flash.restore(EMPTY_SAVED)
    assert EMPTY.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
    return EMPTY


def confirmed() -> SimulatedDevice:
    """With application 2 confirmed, in update mode."""
    CONFIRMED.flash.restore(CONFIRMED_SAVED)
    CONFIRMED.entry_pin_is_active = True
    CONFIRMED.power_on()
    CONFIRMED.entry_pin_is_active = False
    return CONFIRMED


def code(device: SimulatedDevice, package: bytes) -> DeviceCode:
    try:
        device.install(package)
    except Refused as refused:
        return refused.code
    return DeviceCode.OK


def outside_journal(device: SimulatedDevice, log: list[Operation]) -> list[Operation]:
    halves = half_regions(device.board)
    return [entry for entry in log if not any(region.contains(entry.address, 1) for region in halves)]


def start_log(device: SimulatedDevice) -> list[Operation]:
    log: list[Operation] = []
    device.flash.log = log
    return log


# --- transport ---


@pytest.mark.parametrize("block_size_bytes", [1, 7, 31, 256, 1023, 1024, 1025, 4096, 4128, 5152, 100_000])
def test_any_block_size(block_size_bytes: int) -> None:
    device = empty()
    running = device.install(WORLD.application(1, image=TWO_CHUNKS) + bytes(300), block_size_bytes)
    assert isinstance(running, ApplicationRuns)


def test_a_package_may_come_as_a_stream() -> None:
    assert isinstance(empty().install(BytesIO(WORLD.application(1))), ApplicationRuns)


def test_bytes_for_another_offset_are_not_taken() -> None:
    """After a lost link the host learns where to go on; repeats and leaps change nothing."""
    device = empty()
    package = WORLD.application(1, image=TWO_CHUNKS)
    device.bootloader.begin_upload(len(package))
    assert device.bootloader.write(0, package[:2000]) == 2000
    for offset in (0, 1999, 2001, 5000, -1):
        assert device.bootloader.write(offset, b"anything") == 2000
    assert send_bytes(device.bootloader, package, 2000) == len(package)
    assert device.bootloader.upload is not None
    assert device.bootloader.upload.is_finished
    assert isinstance(device.reset_after_install(), ApplicationRuns)


def test_a_reset_begins_again_at_the_head() -> None:
    device = empty()
    package = WORLD.application(1, image=TWO_CHUNKS)
    device.bootloader.begin_upload(len(package))
    device.bootloader.write(0, package[:3000])
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
    with pytest.raises(Refused) as refused:
        device.bootloader.write(3000, package[3000:])
    assert refused.value.code is DeviceCode.UPLOAD_STATE
    assert code(device, package) is DeviceCode.OK


def test_beginning_anew_gives_up_what_was_under_way() -> None:
    device = empty()
    package = WORLD.application(1, image=TWO_CHUNKS)
    device.bootloader.begin_upload(len(package))
    device.bootloader.write(0, package[:3000])
    device.bootloader.begin_upload(len(package))
    assert device.bootloader.write(3000, package[3000:]) == 0
    assert code(device, package) is DeviceCode.OK


@pytest.mark.parametrize("size_bytes", [-1, 0, 1, 1023])
def test_less_than_a_head_announced(size_bytes: int) -> None:
    with pytest.raises(Refused) as refused:
        empty().bootloader.begin_upload(size_bytes)
    assert refused.value.code is DeviceCode.HEAD_TRUNCATED


def test_more_than_announced() -> None:
    device = empty()
    package = WORLD.application(1)
    device.bootloader.begin_upload(len(package))
    with pytest.raises(Refused) as refused:
        device.bootloader.write(0, package + b"x")
    assert refused.value.code is DeviceCode.UPLOAD_STATE


@pytest.mark.parametrize(("trailer", "expected"), [(0, "OK"), (512, "OK"), (513, "PACKAGE_SIZE"), (-1, "PACKAGE_SIZE")])
def test_the_trailer_is_counted_and_means_nothing(trailer: int, expected: str) -> None:
    package = WORLD.application(1)
    package = package + b"\xa5" * trailer if trailer >= 0 else package[:trailer]
    device = empty()
    assert code(device, package).name == expected


def test_outside_update_mode_nothing_is_taken() -> None:
    device = confirmed()
    device.power_on()
    assert isinstance(device.running, ApplicationRuns)
    for action in (
        lambda: device.bootloader.begin_upload(2000),
        lambda: device.bootloader.write(0, b""),
        lambda: device.bootloader.receive_trust_bundle(WORLD.genesis),
    ):
        with pytest.raises(Refused) as refused:
            action()
        assert refused.value.code is DeviceCode.NOT_IN_UPDATE_MODE


# --- the rules, in their order ---

STRANGER = fake_key("stranger agreement")
LARGE_SIZE_BYTES = 0xC0000 - 1023  # one byte more than the region holds behind a head


def application(*, is_large: bool = False, **other: Any) -> bytes:
    """Application 3. A large one only says that it is: its head is refused before its payload matters."""
    plan = WORLD.application_plan(3, **other)
    if not is_large:
        return builders.build_package(plan)
    payload_size_bytes = LARGE_SIZE_BYTES + 32 * (-(-LARGE_SIZE_BYTES // 4096))
    sizes = {
        "mcuboot_header": builders.unsigned_fields(plan)["mcuboot_header"][:12]
        + builders.u32(payload_size_bytes)
        + builders.unsigned_fields(plan)["mcuboot_header"][16:],
        "image_size_bytes": builders.u32(LARGE_SIZE_BYTES),
        "payload_size_bytes": builders.u32(payload_size_bytes),
    }
    return builders.build_head(plan, sizes)


# In the order of the specification: each package breaks its own rule and every one after it that it can.
LATE: dict[str, Any] = {"recipient": STRANGER}
OLD: dict[str, Any] = {**LATE, "image_version": (2, 0, 0, 0)}
ABOVE: dict[str, Any] = {**OLD, "security_version": 1001}
FLOOR: dict[str, Any] = {**OLD, "security_version": 1}
BUNDLE: dict[str, Any] = {**FLOOR, "trust_bundle_version_min": 2}
BOOTLOADER: dict[str, Any] = {**BUNDLE, "bootloader_version_min": (1, 0, 0, 1)}
TOO_LARGE: dict[str, Any] = {**BOOTLOADER, "is_large": True}
ADDRESS: dict[str, Any] = {**TOO_LARGE, "load_address": 0x08000400}
HARDWARE: dict[str, Any] = {**ADDRESS, "hardware_revision_min": 3}
PRODUCT: dict[str, Any] = {**HARDWARE, "product_id": b"\x77" * 16}
RULES = {
    "WRONG_PRODUCT": PRODUCT,
    "WRONG_HARDWARE_REVISION": HARDWARE,
    "WRONG_LOAD_ADDRESS": ADDRESS,
    "IMAGE_TOO_LARGE": TOO_LARGE,
    "BOOTLOADER_TOO_OLD": BOOTLOADER,
    "TRUST_BUNDLE_TOO_OLD": BUNDLE,
    "BELOW_FLOOR": FLOOR,
    "ABOVE_MAXIMUM": ABOVE,
    "VERSION_NOT_NEWER": OLD,
    "RECIPIENT_UNKNOWN": LATE,
    "OK": {},
}


@pytest.mark.parametrize(("expected", "other"), RULES.items(), ids=RULES.keys())
def test_rules_in_order(expected: str, other: dict[str, Any]) -> None:
    """Floor and installed version are 2; every package but the last breaks all the rules that follow its own."""
    device = confirmed()
    log = start_log(device)
    assert code(device, application(**other)).name == expected
    device.flash.log = None
    assert (outside_journal(device, log) == []) is (expected != "OK"), "a refused head changes nothing but events"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"hardware_revision_min": 2, "hardware_revision_max": 2}, "OK"),
        ({"hardware_revision_min": 1, "hardware_revision_max": 1}, "WRONG_HARDWARE_REVISION"),
        ({"security_version": 2}, "OK"),
        ({"security_version": 1000}, "OK"),
        ({"security_version": 0xFFFFFFFF}, "ABOVE_MAXIMUM"),
        ({"security_version": 0x80000000}, "ABOVE_MAXIMUM"),
        ({"security_version": 0x7FFFFFFF}, "ABOVE_MAXIMUM"),
        ({"image_version": (2, 0, 0, 1)}, "OK"),
        ({"image_version": (2, 0, 0, 0)}, "VERSION_NOT_NEWER"),
        ({"image_version": (1, 255, 65535, 0xFFFFFFFF)}, "VERSION_NOT_NEWER"),
        ({"bootloader_version_min": (1, 0, 0, 0)}, "OK"),
        ({"trust_bundle_version_min": 1}, "OK"),
        ({"recipient_mode": builders.MODE_GROUP, "recipient": fake_key("group agreement")}, "OK"),
        (
            {
                "recipient_mode": builders.MODE_GROUP,
                "recipient": fake_key("group agreement"),
                "target": builders.ANY_DEVICE,
            },
            "OK",
        ),
        ({"recipient_mode": builders.MODE_GRANT, "target": builders.GRANT_REQUIRED}, "GRANT_REQUIRED"),
        ({"package_type": builders.FACTORY_TEST, "signers": (fake_key("production"),)}, "LIFECYCLE"),
    ],
)
def test_boundaries(other: dict[str, Any], expected: str) -> None:
    assert code(confirmed(), application(**other)).name == expected


def test_below_the_minimum_of_the_bundle() -> None:
    limits = (50, 1000, 0, 500, 0, 100)
    world = World(bundle_plan=builders.BundlePlan(limits=limits))
    device = world.device()
    device.power_on()
    assert code(device, world.application(49)) is DeviceCode.BELOW_MINIMUM
    assert code(device, world.application(50)) is DeviceCode.OK


def test_a_wrong_commitment_and_a_point_off_the_curve() -> None:
    commitment = {"cek_commitment": b"\x01" * 32}
    off_curve = {"ephemeral_public_key": b"\x01" * 64}
    for fields, expected in ((commitment, DeviceCode.CEK_COMMITMENT), (off_curve, DeviceCode.EPHEMERAL_KEY)):
        plan = WORLD.application_plan(3)
        package = builders.build_package(plan, fields)
        device = confirmed()
        log = start_log(device)
        assert code(device, package) is expected
        device.flash.log = None
        assert outside_journal(device, log) == []


def test_the_same_version_while_the_installed_one_is_not_confirmed() -> None:
    device = empty()
    device.install(WORLD.application(2))
    device.entry_pin_is_active = True
    device.power_on()
    device.entry_pin_is_active = False
    assert code(device, WORLD.application(2)) is DeviceCode.OK


def test_the_same_version_while_the_installed_one_is_damaged() -> None:
    device = confirmed()
    device.flash.corrupt(load_address(device.board.application), b"\0")
    assert device.power_on() == InUpdateMode(DeviceCode.BOOT_DIGEST, Copy.A)
    assert code(device, WORLD.application(2)) is DeviceCode.OK


def test_a_factory_test_runs_in_locked_only() -> None:
    device = WORLD.locked_device()
    device.power_on()
    test = builders.factory_test_plan(
        load_address=load_address(WORLD.board.application), image=image_of("factory test", 800), security_version=1
    )
    assert code(device, WORLD.application(1)) is DeviceCode.LIFECYCLE
    assert code(device, builders.build_package(test)) is DeviceCode.OK
    assert isinstance(device.running, ApplicationRuns)


@pytest.mark.parametrize(
    ("version", "copy", "expected"),
    [(1, Copy.B, "OK"), (2, Copy.B, "OK"), (2, Copy.A, "WRONG_LOAD_ADDRESS"), (0, Copy.B, "VERSION_NOT_NEWER")],
)
def test_a_bootloader_is_not_older_than_the_running_one(version: int, copy: Copy, expected: str) -> None:
    package = WORLD.bootloader(version, copy, security_version=1)
    assert code(confirmed(), package).name == expected


# --- the payload ---


def begin(device: SimulatedDevice, package: bytes, size_bytes: int) -> None:
    device.bootloader.begin_upload(len(package))
    send_bytes(device.bootloader, package[:size_bytes])


def test_nothing_is_erased_before_chunk_0_is_authentic() -> None:
    device = confirmed()
    package = WORLD.application(3, image=TWO_CHUNKS)
    log = start_log(device)
    begin(device, package, 1024 + 4096 + 31)
    assert log == [], "a head and all but one byte of a chunk"
    send_bytes(device.bootloader, package[: 1024 + 4096 + 32], 1024 + 4096 + 31)
    written = outside_journal(device, log)
    assert written[0] == Operation(device.board.application.address, None)
    assert log.index(written[0]) > 0, "INSTALL_STARTED comes first"
    device.flash.log = None
    assert state_on_record(device).installed is None


@pytest.mark.parametrize("position", [0, 1, 900, 931, 1024, 4095, 4096, 4127, 4128, 4163])
def test_a_changed_payload_byte_ends_the_upload(position: int) -> None:
    device = confirmed()
    package = bytearray(WORLD.application(3, image=TWO_CHUNKS))
    package[1024 + position] ^= 1
    assert code(device, bytes(package)) is DeviceCode.CHUNK_HASH
    assert device.bootloader.upload is None
    with pytest.raises(Refused) as refused:
        device.bootloader.write(0, b"")
    assert refused.value.code is DeviceCode.UPLOAD_STATE
    first_chunk = position < 4128
    assert (state_on_record(device).installed is not None) is first_chunk
    assert code(device, WORLD.application(3, image=TWO_CHUNKS)) is DeviceCode.OK


def test_chunks_swapped_doubled_left_out() -> None:
    image = image_of("three chunks", 3 * 4096)
    package = WORLD.application(3, image=image)
    head, chunks = package[:1024], [package[1024 + 4128 * i : 1024 + 4128 * (i + 1)] for i in range(3)]
    for order in ((1, 0, 2), (0, 2, 1), (0, 0, 1), (0, 1, 1), (2, 1, 0)):
        assert code(confirmed(), head + b"".join(chunks[i] for i in order)) is DeviceCode.CHUNK_HASH


def test_the_last_chunk_ends_the_chain() -> None:
    assert code(confirmed(), WORLD.application(3, last_link=b"\x01" * 32)) is DeviceCode.CHUNK_HASH


def test_what_stands_in_flash_is_compared_before_the_head_is_programmed() -> None:
    """The signed digest is of another image than the chunks carry: the head is never there to be believed."""
    device = confirmed()
    package = builders.build_package(WORLD.application_plan(3), {"image_digest": b"\x01" * 32})
    assert code(device, package) is DeviceCode.IMAGE_DIGEST
    assert device.flash.read(device.board.application.address, 1024) == b"\xff" * 1024
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)


def test_flash_holds_head_image_and_nothing_else() -> None:
    device = confirmed()
    region = device.board.application
    for sector in region.sectors:
        device.flash.corrupt(sector.address + 2000, b"left by the application before")
    package = WORLD.application(3, image=TWO_CHUNKS)
    device.install(package)
    content = device.flash.read(region.address, region.size_bytes)
    assert content == (package[:1024] + TWO_CHUNKS).ljust(region.size_bytes, b"\xff")
    data = device.board.application_data
    assert data is not None
    assert device.flash.read(data.address, data.size_bytes) == b"\xff" * data.size_bytes


def test_the_application_data_is_never_touched() -> None:
    device = confirmed()
    data = device.board.application_data
    assert data is not None
    device.flash.load(data.address, b"calibration of this device")
    device.install(WORLD.application(3))
    assert device.flash.read(data.address, 26) == b"calibration of this device"


def test_order_of_writing() -> None:
    """Image ascending, every sector erased once and before it is programmed, head last, then the record."""
    device = confirmed()
    region = device.board.application
    log = start_log(device)
    device.install(WORLD.application(3, image=TWO_CHUNKS))
    device.flash.log = None
    written = outside_journal(device, log)
    erased = [entry.address for entry in written if entry.data is None]
    assert erased == [sector.address for sector in region.sectors]
    programmed = [entry.address for entry in written if entry.data is not None]
    assert programmed[-1] == region.address, "the head is the last that is written to the region"
    assert all(before < after for before, after in pairwise(programmed[:-1]))
    assert min(programmed[:-1]) == load_address(region)
    last_of_region = max(position for position, entry in enumerate(log) if entry in written)
    assert last_of_region < len(log) - 1, "INSTALLED comes after"


def test_what_is_recorded() -> None:
    device = confirmed()
    package = WORLD.application(3)
    device.install(package + bytes(100))
    state = state_on_record(device)
    assert (
        state.installed
        == Installed(
            package_type=device.status().installed.package_type,  # type: ignore[union-attr]
            security_version=3,
            image_version=state.installed.image_version,  # type: ignore[union-attr]
            head_hash=builders.sha256(package[:1024]),
            upload_hash=builders.sha256(package),
            signer=fake_key("application release").public,
        )
    )
    assert state.floors == Floors(application=2, bootloader=1)
    assert not state.application_is_confirmed


def test_the_same_start_is_recorded_once() -> None:
    """A valid head and chunk, then silence, over and over: the journal does not grow."""
    device = empty()
    package = WORLD.application(1, image=TWO_CHUNKS)
    begin(device, package, 1024 + 4128)
    left = device.bootloader.running.journal.free_bytes
    for _ in range(50):
        begin(device, package, 1024 + 4128)
    assert device.bootloader.running.journal.free_bytes == left
    started = InstallStarted(InstallRegion.APPLICATION, builders.sha256(package[:1024]))
    assert state_on_record(device).installs_started == (started,)


def test_installing_compacts_when_little_room_is_left() -> None:
    device = empty()
    journal = device.bootloader.running.journal
    while not journal.is_compaction_due:
        journal.append(AppConfirmed(bytes(32)))
    sequence = journal.half_sequence
    assert code(device, WORLD.application(1)) is DeviceCode.OK
    assert device.bootloader.running.journal.half_sequence == sequence + 1


def test_an_upload_holds_one_chunk_at_most() -> None:
    device = empty()
    package = WORLD.application(1, image=image_of("five chunks", 5 * 4096))
    device.bootloader.begin_upload(len(package))
    upload = device.bootloader.upload
    assert upload is not None
    largest = 0
    offset = 0
    while offset < len(package):
        offset = device.bootloader.write(offset, package[offset : offset + 100])
        largest = max(largest, len(upload._buffer))
    assert 4000 < largest < 4128


# --- guard ---


@pytest.mark.parametrize("region_name", ["pre_bootloader", "bootloader_a", "bootloader_b", "application_data"])
def test_no_stage_writes_where_it_must_not(region_name: str) -> None:
    """In update mode with an application being written: the driver refuses everything else."""
    device = confirmed()
    begin(device, WORLD.application(3, image=TWO_CHUNKS), 1024 + 4128)
    flash = device.bootloader.running.flash
    region = getattr(device.board, region_name)
    with pytest.raises(Refused) as refused:
        flash.program(region.address, b"\0\0\0\0")
    assert refused.value.code is DeviceCode.REGION_LOCKED
    with pytest.raises(Refused) as refused:
        flash.erase(region.sectors[0])
    assert refused.value.code is DeviceCode.REGION_LOCKED


def test_when_the_application_runs_nothing_can_be_written() -> None:
    device = confirmed()
    device.power_on()
    flash = device.bootloader.running.flash
    regions = [device.board.application, *half_regions(device.board)]
    flash.permit(program=regions, erase=regions)
    for region in regions:
        with pytest.raises(Refused) as refused:
            flash.program(region.end_address - 4, b"\0\0\0\0")
        assert refused.value.code is DeviceCode.REGION_LOCKED


def test_without_a_state_nothing_is_taken_in_update_mode() -> None:
    device = empty()
    for region in half_regions(device.board):
        device.flash.corrupt(region.address, bytes(16))
    assert device.power_on() == InUpdateMode(DeviceCode.NO_STATE, Copy.A)
    for action in (
        lambda: device.bootloader.begin_upload(2000),
        lambda: device.bootloader.receive_trust_bundle(WORLD.genesis),
        device.status,
    ):
        with pytest.raises(Refused) as refused:
            action()
        assert refused.value.code is DeviceCode.NO_STATE


@pytest.mark.parametrize("missing", ["device", "trust_bundle"])
def test_a_journal_that_does_not_say_enough_is_no_state(missing: str) -> None:
    device = WORLD.locked_device()
    device.flash.power_on()
    half = bytearray(device.flash.read(device.board.state_0.address, 4096))
    offset = {"device": 16, "trust_bundle": 16 + 16 + 48}[missing]
    half[offset] ^= 0xFF
    device.flash.corrupt(device.board.state_0.address, bytes(half))
    assert device.power_on() == InUpdateMode(DeviceCode.NO_STATE, Copy.A)


def test_another_lifecycle_than_any_known_allows_nothing() -> None:
    device = confirmed()
    known = state_on_record(device).device
    assert isinstance(known, Device)
    device.bootloader.running.journal.append(replace(known, lifecycle=0x42))
    assert device.power_on() == InUpdateMode(DeviceCode.LIFECYCLE, Copy.A)
    assert code(device, WORLD.application(3)) is DeviceCode.LIFECYCLE
