"""What else is done to bootloaders: bytes that change between readings, dead links, stolen keys, wear, read-back."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.reference.board import Copy, load_address
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.events import REFUSALS_MAX
from bootloader.reference.flash import Region
from bootloader.reference.head import PackageType, Version
from bootloader.reference.records import AppConfirmed, Installed
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, PowerOn, SimulatedDevice
from bootloader.simulation.sim_flash import SimFlash
from tests.attacks.bench_device import SMALL, BenchDevice, code_of, outside_the_journal, runs_application, same_sectors
from tests.scenarios.world import World
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import FakeKey, fake_key

HEAD_SIZE_BYTES = 1024


# --- parsing before authentication ---

BENCH = BenchDevice.with_application(SMALL)


@settings(max_examples=300)
@given(data=st.binary(min_size=0, max_size=1400), announced=st.integers(0, 2**33))
def test_no_bytes_before_authentication_write_to_flash(data: bytes, announced: int) -> None:
    """Row: parsing before authentication (CVE-2022-22819, CVE-2022-24936). Any bytes: a code, no crash, no write."""
    device = BENCH.put_back()
    before = outside_the_journal(device)
    try:
        device.bootloader.begin_upload(announced)
        taken = device.bootloader.write(0, data)
    except Refused:
        assert device.bootloader.upload is None
    else:
        assert taken == len(data) < HEAD_SIZE_BYTES, "a head of noise was taken"
    assert same_sectors(before, outside_the_journal(device))


@settings(max_examples=300)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(builders.HEAD_FIELDS)), st.binary(min_size=448, max_size=448)),
)
def test_no_forged_head_writes_to_flash(changes: dict[str, bytes]) -> None:
    """Row: parsing before authentication; whole fields of a genuine head replaced."""
    package = SMALL.application(2)
    fields = {name: value[: builders.HEAD_FIELDS[name][1]] for name, value in changes.items()}
    head = builders.with_fields(package[:HEAD_SIZE_BYTES], fields)
    device = BENCH.put_back()
    before = outside_the_journal(device)
    code = code_of(device, head + package[HEAD_SIZE_BYTES:])
    assert (code is DeviceCode.OK) is (head == package[:HEAD_SIZE_BYTES])
    if code is not DeviceCode.OK:
        assert same_sectors(before, outside_the_journal(device))


# --- time of check, time of use ---


class ChangingFlash(SimFlash):
    """From the n-th reading of a region on, its beginning reads as `other`."""

    region: Region | None = None
    other = b""
    genuine_readings = 0

    def read(self, address: int, size_bytes: int) -> bytes:
        data = super().read(address, size_bytes)
        if self.region is None or not self.region.contains(address, size_bytes):
            return data
        if self.genuine_readings > 0:
            self.genuine_readings -= 1
            return data
        offset = address - self.region.address
        changed = self.other[offset : offset + size_bytes]
        return changed + data[len(changed) :]


def on_changing_flash(device: SimulatedDevice) -> tuple[SimulatedDevice, ChangingFlash]:
    board = device.board
    flash = ChangingFlash(board.sectors, board.write_unit_bytes, (board.state_0, board.state_1))
    flash.restore(device.flash.snapshot())
    return SimulatedDevice(board, device.uid, flash), flash


@pytest.mark.parametrize("genuine_readings", range(12))
def test_an_application_that_changes_between_two_readings_does_not_start(genuine_readings: int) -> None:
    """Row: time of check, time of use. Forged head and image from the n-th reading on: the genuine head, or nothing."""
    device, flash = on_changing_flash(SMALL.device_with(1))
    forged = builders.build_head(SMALL.application_plan(9, signers=(fake_key("a stranger"),)))
    flash.region, flash.other, flash.genuine_readings = device.board.application, forged, genuine_readings
    running = device.power_on()
    if isinstance(running, ApplicationRuns):
        assert running.head.raw == SMALL.application(1)[:HEAD_SIZE_BYTES]
    else:
        assert isinstance(running, InUpdateMode)
    assert genuine_readings > 0 or running == InUpdateMode(DeviceCode.HEAD_CHANGED, Copy.A)


@pytest.mark.parametrize("genuine_readings", range(12))
@pytest.mark.parametrize("name", ["bootloader_a", "bootloader_b"])
def test_a_bootloader_that_changes_between_two_readings_is_judged_by_one(name: str, genuine_readings: int) -> None:
    """Row: time of check, time of use. A forged head of a copy from the n-th reading on is never what is believed."""
    device, flash = on_changing_flash(SMALL.device_with(1))
    copy = Copy.A if name == "bootloader_a" else Copy.B
    strangers = (fake_key("a stranger"), fake_key("another stranger"))
    signers = tuple(sorted(strangers, key=lambda key: key.key_id))
    forged = builders.build_head(SMALL.bootloader_plan(9, copy, signers=signers))
    flash.region, flash.other, flash.genuine_readings = getattr(device.board, name), forged, genuine_readings
    running = device.power_on()
    assert not isinstance(running, Dead)
    assert running is not None
    if genuine_readings == 0:
        assert running.copy is copy.other
    floors = device.status().floors
    assert floors.bootloader == 1


@pytest.mark.parametrize("genuine_readings", range(6))
def test_a_journal_that_changes_between_two_readings_is_read_once(genuine_readings: int) -> None:
    """Row: time of check, time of use. A journal that reads as another device's from the n-th reading on."""
    rich = SMALL.device_with(1)
    device, flash = on_changing_flash(SMALL.device())
    flash.region, flash.genuine_readings = device.board.state_0, genuine_readings
    flash.other = rich.flash.read(device.board.state_0.address, device.board.state_half_size_bytes)
    running = device.power_on()
    assert isinstance(running, InUpdateMode), "a record of an image that is not there started it"
    assert running.code in (DeviceCode.NO_APPLICATION, DeviceCode.HEAD_CHANGED)


# --- what is left in flash, and what can be read back ---


def test_nothing_unsigned_stays_behind_a_smaller_image() -> None:
    """Row: unsigned tail left in the region (MCUboot #1894). A small image over a large one: erased, byte for byte."""
    large = World(application_size_bytes=20_000)
    device = large.device_with(1)
    region = device.board.application
    end = load_address(region) + 20_000
    device.flash.corrupt(region.sectors[-1].address + 77, b"left here by somebody")
    device.application_requests_update()
    device.install(large.application(2, image=b"\x5a" * 50))
    after = load_address(region) + 50
    assert device.flash.read(after, end - after) == b"\xff" * (end - after)
    rest = region.end_address - after
    assert device.flash.read(after, rest).count(0xFF) == rest


def test_no_answer_contains_plaintext_or_a_key() -> None:
    """Row: read-back of decrypted data (CVE-2022-0553). What a device answers holds no image byte, no private key."""
    device = SMALL.device_with(1)
    device.application_requests_update()
    device.bootloader.begin_upload(5000)
    answers = [repr(device.status()), repr(device.running), repr(device.bootloader.running.state)]
    plan = SMALL.application_plan(1)
    secrets = [plan.image, plan.content_key]
    secrets += [fake_key(name).private for name in ("device identity", "device agreement", "group agreement")]
    for secret in secrets:
        for shown in (secret[:16], secret[-16:]):
            for answer in answers:
                assert shown.hex() not in answer
                assert repr(shown)[2:-1] not in answer


def test_the_whole_flash_holds_no_content_key_and_private_keys_in_the_journal_only() -> None:
    """Row: keys or plaintext left in flash. The campaign asks this after every power cut; here after every step."""
    device = SMALL.device_with(1)
    device.application_requests_update()
    device.install(SMALL.application(2))
    board = device.board
    content = {sector: device.flash.read(sector.address, sector.size_bytes) for sector in board.sectors}
    whole = b"".join(content.values())
    outside = b"".join(data for s, data in content.items() if s not in (*board.state_0.sectors, *board.state_1.sectors))
    for version in (1, 2):
        assert SMALL.application_plan(version).content_key[:16] not in whole
    private = fake_key("device agreement").private
    assert private in whole
    assert private[:16] not in outside
    assert private[16:] not in outside


# --- links, wear, locks ---


def test_a_new_copy_with_a_dead_link_falls_back_after_three_attempts() -> None:
    """Row: a new bootloader copy with a dead link confirms itself. It does not: three starts, then the old one."""
    device = BenchDevice.with_application(SMALL).put_back()
    device.entry_pin_is_active = False
    running = device.install(SMALL.bootloader(2, Copy.B))
    copies = [running.copy]  # type: ignore[union-attr]
    copies += [device.power_on().copy for _ in range(4)]  # type: ignore[union-attr]
    assert copies == [Copy.B, Copy.B, Copy.B, Copy.A, Copy.A]
    assert device.bootloader.running.is_confirmed
    assert device.bootloader.running.state.boot_trial is None


def test_a_new_copy_that_has_verified_something_stays() -> None:
    """Row: a new bootloader copy with a dead link; the accept side: a signed head over the link confirms it."""
    for confirm in (lambda d: d.receive_trust_bundle(SMALL.genesis), lambda d: code_of(d, SMALL.application(1))):
        device = BenchDevice.with_application(SMALL).put_back()
        device.entry_pin_is_active = False
        device.install(SMALL.bootloader(2, Copy.B))
        confirm(device)
        assert [device.power_on().copy for _ in range(5)] == [Copy.B] * 5  # type: ignore[union-attr]


def test_an_unsigned_object_over_the_link_confirms_nothing() -> None:
    """Row: a new bootloader copy with a dead link; noise and forgeries over the link are no sign of life."""
    device = BenchDevice.with_application(SMALL).put_back()
    device.entry_pin_is_active = False
    device.install(SMALL.bootloader(2, Copy.B))
    code_of(device, b"\0" * 2000)
    code_of(device, SMALL.application(2, signers=(fake_key("a stranger"),)))
    with pytest.raises(Refused):
        device.receive_trust_bundle(SMALL.genesis[:-1])
    assert not device.bootloader.running.is_confirmed
    assert code_of(device, SMALL.bootloader(2, Copy.A)) is not DeviceCode.COPY_ON_TRIAL, "a signed head confirms first"


def test_a_valid_head_and_chunk_then_silence_wears_nothing_out() -> None:
    """Row: a valid head and chunk, then silence, over and over. Outside update mode nothing is taken or written."""
    package = SMALL.application(2)
    device = SMALL.device_with(1)
    device.power_on()
    begin = device.flash.operation_count
    for _ in range(50):
        with pytest.raises(Refused) as refusal:
            device.bootloader.begin_upload(len(package))
        assert refusal.value.code is DeviceCode.NOT_IN_UPDATE_MODE
    assert device.flash.operation_count == begin
    device.application_requests_update()
    before = outside_the_journal(device)
    same = SMALL.application(1)
    for _ in range(50):
        assert code_of(device, same) is DeviceCode.VERSION_NOT_NEWER
    assert same_sectors(before, outside_the_journal(device))
    assert device.flash.operation_count - begin < 100


def test_refusals_write_at_most_eight_events_in_one_power_on() -> None:
    """Row: the event log does not wear the flash. Twenty codes, a thousand refusals: eight events."""
    device = BENCH.put_back()
    package, free = SMALL.application(2), device.status().journal_free_bytes
    heads = [
        builders.with_fields(package[:1024], {name: b"\xee" * size}) for name, (_, size) in builders.HEAD_FIELDS.items()
    ]
    for _ in range(30):
        for head in heads:
            assert code_of(device, head + package[1024:]) is not DeviceCode.OK
    refusals = [event for event in device.bootloader.running.state.events if event.kind == 2]
    assert len(refusals) <= REFUSALS_MAX
    assert free - device.status().journal_free_bytes < 1024


def test_resets_that_end_alike_write_one_event() -> None:
    """Row: the event log does not wear the flash. A broken application and a hundred resets: one event, no growth."""
    device = SMALL.device_with(1)
    device.flash.corrupt(load_address(device.board.application), b"\0")
    assert device.power_on() == InUpdateMode(DeviceCode.BOOT_DIGEST, Copy.A)
    begin, free = device.flash.operation_count, device.status().journal_free_bytes
    for _ in range(100):
        assert device.power_on() == InUpdateMode(DeviceCode.BOOT_DIGEST, Copy.A)
    assert device.status().journal_free_bytes >= free
    assert device.flash.operation_count == begin


def test_the_application_cannot_write_flash() -> None:
    """Row: the application rewrites the bootloader. Locked until the next reset, whoever asks, whatever region."""
    device = SMALL.device_with(1)
    device.power_on()
    flash = device.bootloader.running.flash
    device.bootloader.running.permit_writing(device.board.bootloader_b)
    for name in ("pre_bootloader", "bootloader_a", "bootloader_b", "state_0", "state_1", "application"):
        region = getattr(device.board, name)
        for write in (partial(flash.program, region.address, bytes(4)), partial(flash.erase, region.sectors[0])):
            with pytest.raises(Refused) as refusal:
                write()
            assert refusal.value.code is DeviceCode.REGION_LOCKED
    device.application_requests_update()
    assert code_of(device, SMALL.application(2)) is DeviceCode.OK


# --- stolen keys, and keys that were revoked ---

KEYS = builders.bootloader_release_keys()


@pytest.mark.parametrize(
    ("signers", "changed", "code"),
    [
        (KEYS[:1], {}, "SIGNER_IDS"),
        (KEYS[:1], {"signer_key_id_1": KEYS[1].key_id}, "SIGNATURE_INVALID"),
        ((KEYS[0], KEYS[0]), {}, "SIGNER_IDS"),
        ((KEYS[0], KEYS[0]), {"signer_key_id_1": KEYS[1].key_id}, "SIGNATURE_INVALID"),
        ((KEYS[1], KEYS[0]), {}, "SIGNER_IDS"),
        ((KEYS[0], fake_key("a stranger")), {"signer_key_id_1": b"\xff" * 8}, "SIGNER_UNKNOWN"),
    ],
    ids=["one", "one, two named", "twice", "twice, two named", "wrong order", "one and a stranger"],
)
def test_one_stolen_bootloader_release_key_signs_nothing(
    signers: tuple[FakeKey, ...], changed: dict[str, bytes], code: str
) -> None:
    """Row: one bootloader-release key is stolen. One signature, or two by one key: refused, by both stages."""
    plan = SMALL.bootloader_plan(2, Copy.B, signers=signers)
    forged = builders.build_head(plan, changed)
    device = BENCH.put_back()
    before = outside_the_journal(device)
    assert code_of(device, forged + b"".join(builders.build_chunks(plan))).name == code
    assert same_sectors(before, outside_the_journal(device))

    region = device.board.bootloader_b  # and if it stood in flash all the same, the pre-bootloader would not start it
    device.flash.corrupt(region.address, forged + plan.image)
    device.flash.corrupt(device.board.bootloader_a.address, b"\0" * 64)
    assert device.power_on() == Dead()


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_any_two_of_the_three_keys_sign_a_bootloader(pair: tuple[int, int]) -> None:
    """Row: one bootloader-release key is stolen; the accept side."""
    package = SMALL.bootloader(2, Copy.B, signers=tuple(KEYS[i] for i in pair))
    assert code_of(BENCH.put_back(), package) is DeviceCode.OK


@pytest.mark.parametrize("stop", [False, True])
def test_a_revocation_stops_a_running_application_only_if_it_says_so(stop: bool) -> None:
    """Row: rotation or revocation bricks running devices. Revoked: it starts; *stop*: it waits."""
    signer = fake_key("application release")
    role_keys = [(role, key) for role, key in builders.default_role_keys() if key != signer.public]
    plan = builders.BundlePlan(role_keys=role_keys, revoked=[(signer.key_id, int(stop))])
    world = replace(SMALL, bundle_plan=plan)
    device = world.device()
    old, new = SMALL.application_plan(1), SMALL.application_plan(2)
    device.power_on()
    device.flash.load(device.board.application.address, builders.build_head(old) + old.image)
    head_hash = hashlib.sha256(builders.build_head(old)).digest()
    installed = Installed(PackageType.APPLICATION, 1, Version(1, 0, 0, 0), head_hash, bytes(32), signer.public)
    journal = device.bootloader.running.journal
    journal.append(installed)
    journal.append(AppConfirmed(head_hash))
    running = device.power_on()
    assert isinstance(running, ApplicationRuns) is not stop
    assert not stop or running == InUpdateMode(DeviceCode.STOPPED, Copy.A)
    device.entry_pin_is_active = True
    device.power_on()
    assert code_of(device, builders.build_package(new)) is DeviceCode.SIGNER_REVOKED
    spare = replace(new, signers=(fake_key("application release spare"),))
    assert code_of(device, builders.build_package(spare)) is DeviceCode.OK
    assert runs_application(device, 2)


def test_power_off_forgets_what_the_mailbox_said() -> None:
    """Row: replay of a confirmation: the mailbox is RAM, and a cold start confirms nothing."""
    device = SMALL.device_with(1, confirmed=False)
    assert isinstance(device.running, ApplicationRuns)
    device.power_on(PowerOn.COLD)
    assert not device.bootloader.running.state.application_is_confirmed
    device.application_confirms()
    assert device.bootloader.running.state.application_is_confirmed
