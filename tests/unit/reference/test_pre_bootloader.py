"""The pre-bootloader's choice as a table: what the journal says, which copies verify, what is started."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.copies import read_built_in_keys, read_head, verify_copy
from bootloader.reference.factory_image import Block
from bootloader.reference.journal import Journal
from bootloader.reference.pre_bootloader import PreBootloader, read_boot_records
from bootloader.reference.records import BootConfirmed, BootTrial, InstallRegion, InstallStarted
from bootloader.simulation.device import SimulatedDevice
from tests.scenarios.world import World
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.journal_rig import hash_of

WORLD = World()
HASHES = {copy: builders.sha256(WORLD.copy_image(1, copy).head) for copy in Copy}
OTHER_HASH = hash_of("another head")


def device(blocks: tuple[Block, ...] = WORLD.factory_blocks) -> SimulatedDevice:
    made = SimulatedDevice.from_factory_image(WORLD.board, WORLD.uid, blocks)
    made.flash.power_on()
    return made


def append(made: SimulatedDevice, *records: BootTrial | BootConfirmed | InstallStarted) -> None:
    made.flash.power_on()
    journal = Journal(made.flash, made.board)
    journal.settle()
    for record in records:
        journal.append(record)


def choose(made: SimulatedDevice) -> Copy | None:
    made.flash.power_on()
    return PreBootloader(made.flash, made.board, made.uid).choose()


def break_copy(made: SimulatedDevice, copy: Copy) -> None:
    made.flash.corrupt(made.board.copy_region(copy).address + 1024, b"\0")


def attempts(made: SimulatedDevice) -> int | None:
    trial = read_boot_records(made.flash, made.board).trial
    return trial.attempts if trial is not None else None


@dataclass(frozen=True)
class Row:
    """`trial` is (copy, attempts, head hash matches); `broken` copies do not verify."""

    chosen: str
    confirmed: str = "A"
    trial: tuple[str, int, bool] | None = None
    broken: str = ""
    attempts_after: int | None = None


TABLE = {
    "confirmed A": Row("A"),
    "confirmed B": Row("B", confirmed="B"),
    "confirmed A is broken": Row("B", broken="A"),
    "confirmed B is broken": Row("A", confirmed="B", broken="B"),
    "both broken": Row("none", broken="AB"),
    "trial of B, first attempt": Row("B", trial=("B", 0, True), attempts_after=1),
    "trial of B, second": Row("B", trial=("B", 1, True), attempts_after=2),
    "trial of B, third": Row("B", trial=("B", 2, True), attempts_after=3),
    "trial of B, exhausted": Row("A", trial=("B", 3, True), attempts_after=3),
    "trial of B, more than exhausted": Row("A", trial=("B", 255, True), attempts_after=255),
    "trial of A": Row("A", confirmed="B", trial=("A", 0, True), attempts_after=1),
    "trial of B, another head": Row("A", trial=("B", 0, False), attempts_after=0),
    "trial of B, which is broken": Row("A", trial=("B", 0, True), broken="B", attempts_after=0),
    "trial of B, A is broken": Row("B", trial=("B", 0, True), broken="A", attempts_after=1),
    "trial exhausted, A is broken": Row("B", trial=("B", 3, True), broken="A", attempts_after=3),
    "trial exhausted, both broken": Row("none", trial=("B", 3, True), broken="AB", attempts_after=3),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_choice(row: Row) -> None:
    made = device()
    append(made, BootConfirmed(Copy[row.confirmed], HASHES[Copy[row.confirmed]]))
    if row.trial is not None:
        name, count, matches = row.trial
        append(made, BootTrial(Copy[name], count, HASHES[Copy[name]] if matches else OTHER_HASH))
    for name in row.broken:
        break_copy(made, Copy[name])
    before = made.flash.operation_count
    chosen = choose(made)
    assert (chosen.name if chosen is not None else "none") == row.chosen
    assert attempts(made) == row.attempts_after
    counted = row.trial is not None and row.attempts_after == row.trial[1] + 1
    assert made.flash.operation_count - before == (1 if counted else 0), "one unit for an attempt, and no other write"


def test_three_attempts_one_mark_each_then_back() -> None:
    made = device()
    append(made, BootTrial(Copy.B, 0, HASHES[Copy.B]))
    assert [choose(made) for _ in range(5)] == [Copy.B, Copy.B, Copy.B, Copy.A, Copy.A]


def test_attempts_counted_before_a_copy_of_the_record_count_on() -> None:
    made = device()
    append(made, BootTrial(Copy.B, 2, HASHES[Copy.B]))
    assert [choose(made) for _ in range(3)] == [Copy.B, Copy.A, Copy.A]


def test_a_mark_that_cannot_be_programmed_is_no_attempt() -> None:
    made = device()
    append(made, BootTrial(Copy.B, 0, HASHES[Copy.B]))
    mark_address = read_boot_records(made.flash, made.board).mark_address
    assert mark_address is not None

    class Stuck:
        write_unit_bytes = 4
        erase = made.flash.erase
        read = staticmethod(made.flash.read)

        @staticmethod
        def program(address: int, data: bytes) -> None:
            assert address == mark_address
            assert data == bytes(4)

    assert PreBootloader(Stuck(), made.board, made.uid).choose() is Copy.A


@pytest.mark.parametrize(("broken", "chosen"), [("", Copy.A), ("A", Copy.B), ("B", Copy.A), ("AB", None)])
def test_without_a_readable_journal_a_then_b(broken: str, chosen: Copy | None) -> None:
    state = WORLD.board.state_0.address
    made = device(tuple(block for block in WORLD.factory_blocks if block[0] != state))
    for name in broken:
        break_copy(made, Copy[name])
    assert choose(made) is chosen


def test_a_trial_ended_by_an_installation_is_not_tried() -> None:
    made = device()
    append(made, BootTrial(Copy.B, 0, HASHES[Copy.B]), InstallStarted(InstallRegion.BOOTLOADER_B, OTHER_HASH))
    assert choose(made) is Copy.A


# --- what "verifies" means ---


def with_copy_b(head: bytes, image: bytes) -> SimulatedDevice:
    region = WORLD.board.bootloader_b
    blocks = [block for block in WORLD.factory_blocks if block[0] != region.address]
    return device((*blocks, (region.address, head + image)))


def code_of_copy_b(head: bytes, image: bytes) -> DeviceCode:
    made = with_copy_b(head, image)
    keys = read_built_in_keys(made.flash, made.board)
    raw_head = read_head(made.flash, made.board.bootloader_b)
    try:
        verify_copy(made.flash, made.board, Copy.B, raw_head, WORLD.padded_uid, keys)
    except Refused as refused:
        return refused.code
    return DeviceCode.OK


KEYS = builders.bootloader_release_keys()
PLAN = WORLD.bootloader_plan(1, Copy.B)
STRANGERS = tuple(sorted((fake_key("stranger 1"), fake_key("stranger 2")), key=lambda key: key.key_id))
ONE_STRANGER = tuple(sorted((KEYS[0], fake_key("stranger 1")), key=lambda key: key.key_id))
HEAD = builders.build_head(PLAN)

NOT_VERIFIED = {
    "as built": (HEAD, PLAN.image, DeviceCode.OK),
    "by the first and the third key": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, signers=(KEYS[0], KEYS[2]))),
        PLAN.image,
        DeviceCode.OK,
    ),
    "bound to this device": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, target=builders.ONE_UID)),
        PLAN.image,
        DeviceCode.OK,
    ),
    "bound to another device": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, target=builders.ONE_UID, device_uid=b"\x07" * 16)),
        PLAN.image,
        DeviceCode.SIGNATURE_INVALID,
    ),
    "an image byte": (HEAD, b"\0" + PLAN.image[1:], DeviceCode.BOOT_DIGEST),
    "the last image byte": (HEAD, PLAN.image[:-1] + b"\1", DeviceCode.BOOT_DIGEST),
    "linked for A": (builders.build_head(WORLD.bootloader_plan(1, Copy.A)), PLAN.image, DeviceCode.WRONG_LOAD_ADDRESS),
    "an application": (
        builders.build_head(WORLD.application_plan(1, load_address=PLAN.load_address)),
        WORLD.application_plan(1).image,
        DeviceCode.PACKAGE_TYPE,
    ),
    "by strangers": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, signers=STRANGERS)),
        PLAN.image,
        DeviceCode.SIGNER_UNKNOWN,
    ),
    "by one built-in key and a stranger": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, signers=ONE_STRANGER)),
        PLAN.image,
        DeviceCode.SIGNER_UNKNOWN,
    ),
    "second signature is the first": (
        builders.with_fields(HEAD, {"signature_1": HEAD[448:512]}),
        PLAN.image,
        DeviceCode.SIGNATURE_INVALID,
    ),
    "signatures missing": (
        builders.with_fields(HEAD, {"signature_0": bytes(64), "signature_1": bytes(64)}),
        PLAN.image,
        DeviceCode.SIGNATURE_INVALID,
    ),
    "one key twice": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, signers=(KEYS[0], KEYS[0]))),
        PLAN.image,
        DeviceCode.SIGNER_IDS,
    ),
    "erased": (b"\xff" * 1024, b"", DeviceCode.MCUBOOT_HEADER),
    "too large for its region": (
        builders.build_head(WORLD.bootloader_plan(1, Copy.B, image=bytes(16384))),
        b"",
        DeviceCode.IMAGE_TOO_LARGE,
    ),
}


@pytest.mark.parametrize(("head", "image", "code"), NOT_VERIFIED.values(), ids=NOT_VERIFIED.keys())
def test_a_copy_verifies_only_if(head: bytes, image: bytes, code: DeviceCode) -> None:
    assert code_of_copy_b(head, image) is code
    made = with_copy_b(head, image)
    break_copy(made, Copy.A)
    assert choose(made) is (Copy.B if code is DeviceCode.OK else None)


def test_any_bit_of_the_signed_head_decides() -> None:
    """Flipped in flash, a sample of all places: the copy does not verify, and the other one starts."""
    for bit in range(0, 576 * 8, 61):
        flipped = bytearray(HEAD)
        flipped[bit // 8] ^= 1 << bit % 8
        assert code_of_copy_b(bytes(flipped), PLAN.image) is not DeviceCode.OK
