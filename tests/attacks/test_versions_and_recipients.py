"""Signed packages that this device must not take: too old, too new, too much, or meant for somebody else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.simulation.device import SimulatedDevice
from tests.attacks.bench_device import BenchDevice, code_of, outside_the_journal, runs_application, same_sectors
from tests.scenarios.world import World
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key

HALF, NEXT, GREATEST = 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF
WORLD = World(application_size_bytes=100)
UNBOUNDED = World(
    application_size_bytes=100, bundle_plan=builders.BundlePlan(limits=(0, GREATEST, 0, GREATEST, 0, GREATEST))
)


def entry(device: SimulatedDevice) -> SimulatedDevice:
    device.entry_pin_is_active = True
    device.power_on()
    return device


def installed_with_floor(security_version: int) -> BenchDevice:
    """An application of this security version, confirmed: the floor follows it."""
    device = UNBOUNDED.device()
    device.power_on()
    device.install(UNBOUNDED.application(1, security_version=security_version))
    device.application_confirms()
    assert device.bootloader.running.state.floors.application == security_version
    return BenchDevice.of(device)


@pytest.mark.parametrize("floor", [1, HALF, NEXT, GREATEST])
@pytest.mark.parametrize("security_version", [0, 1, HALF, NEXT, GREATEST])
def test_application_downgrade_whatever_the_sign_bit_says(floor: int, security_version: int) -> None:
    """Row: downgrade; signed/unsigned casts (wolfBoot F-4410). Compared as unsigned, in the application's update."""
    device = installed_with_floor(floor).put_back()
    package = UNBOUNDED.application(2, security_version=security_version)
    expected = DeviceCode.OK if security_version >= floor else DeviceCode.BELOW_FLOOR
    before = outside_the_journal(device)
    assert code_of(device, package) is expected
    assert device.bootloader.running.state.floors.application == floor
    assert same_sectors(before, outside_the_journal(device)) is (expected is not DeviceCode.OK)


@pytest.mark.parametrize(("copies", "offered"), [(HALF, 1), (NEXT, HALF), (GREATEST, HALF), (GREATEST, NEXT)])
def test_bootloader_downgrade_whatever_the_sign_bit_says(copies: int, offered: int) -> None:
    """Row: downgrade; signed/unsigned casts, in the bootloader's update: the floor is that of the two copies."""
    device = entry(UNBOUNDED.device())
    for version, copy in ((2, Copy.B), (3, Copy.A)):
        device.install(UNBOUNDED.bootloader(version, copy, security_version=copies))
        device.receive_trust_bundle(UNBOUNDED.genesis)
        device.power_on()
    assert device.bootloader.running.state.floors.bootloader == copies
    older = UNBOUNDED.bootloader(4, Copy.B, security_version=offered)
    assert code_of(device, older) is DeviceCode.BELOW_FLOOR
    assert code_of(device, UNBOUNDED.bootloader(4, Copy.B, security_version=copies)) is DeviceCode.OK


@pytest.mark.parametrize("security_version", [HALF, NEXT, GREATEST, 1001])
def test_a_stolen_application_key_cannot_raise_the_floor(security_version: int) -> None:
    """Row: a role key is stolen and signs security_version 0xFFFFFFFF. Above the bundle's maximum of 1,000: refused."""
    device = BenchDevice.with_application(WORLD).put_back()
    before = outside_the_journal(device)
    package = WORLD.application(2, security_version=security_version)
    assert code_of(device, package) is DeviceCode.ABOVE_MAXIMUM
    assert device.bootloader.running.state.floors.application == 1
    assert same_sectors(before, outside_the_journal(device))
    assert code_of(device, WORLD.application(2, security_version=1000)) is DeviceCode.OK


@pytest.mark.parametrize("security_version", [HALF, NEXT, GREATEST, 501])
def test_stolen_bootloader_keys_cannot_raise_the_floor(security_version: int) -> None:
    """Row: maximum security version, for the bootloader's packages."""
    device = BenchDevice.with_application(WORLD).put_back()
    package = WORLD.bootloader(2, Copy.B, security_version=security_version)
    assert code_of(device, package) is DeviceCode.ABOVE_MAXIMUM
    assert device.bootloader.running.state.floors.bootloader == 1
    assert code_of(device, WORLD.bootloader(2, Copy.B, security_version=500)) is DeviceCode.OK


def test_a_floor_rises_with_the_confirmation_and_not_before() -> None:
    """Row: counter raised before confirmation. Unconfirmed: the floor stays, and the version before is taken again."""
    bench = BenchDevice.with_application(WORLD)
    device = bench.put_back()
    device.entry_pin_is_active = False
    device.install(WORLD.application(5))
    assert device.bootloader.running.state.floors.application == 1
    for _ in range(3):
        device.power_on()
    assert device.bootloader.running.state.floors.application == 1
    assert code_of(device, WORLD.application(2)) is DeviceCode.OK
    device.application_confirms()
    assert device.bootloader.running.state.floors.application == 2


@pytest.mark.parametrize("version", [(1, 0, 0, 0), (0, 255, 65535, 2**32 - 1), (1, 0, 0, 1), (2, 0, 0, 0)])
def test_the_same_or_an_older_version_is_refused_while_a_confirmed_one_is_there(version: tuple[int, ...]) -> None:
    """Row: downgrade; image versions, the security version unchanged. One more in the last field is newer."""
    device = BenchDevice.with_application(WORLD).put_back()
    package = WORLD.application(2, image_version=version, security_version=1)
    newer = version > (1, 0, 0, 0)
    assert code_of(device, package) is (DeviceCode.OK if newer else DeviceCode.VERSION_NOT_NEWER)
    assert runs_application(device, version[0] if newer else 1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another UID, by one bit": ({"device_uid": WORLD.padded_uid[:-5] + b"\xab" + bytes(4)}, "SIGNATURE_INVALID"),
    "another UID, for the group": (
        {
            "device_uid": b"\x01" * 12 + bytes(4),
            "recipient_mode": builders.MODE_GROUP,
            "recipient": fake_key("group agreement"),
        },
        "SIGNATURE_INVALID",
    ),
    "another product": ({"product_id": b"\x01" * 16}, "WRONG_PRODUCT"),
    "hardware too new": ({"hardware_revision_min": 0, "hardware_revision_max": 1}, "WRONG_HARDWARE_REVISION"),
    "hardware too old": ({"hardware_revision_min": 3, "hardware_revision_max": 9}, "WRONG_HARDWARE_REVISION"),
    "another device's key": ({"recipient": fake_key("another device agreement")}, "RECIPIENT_UNKNOWN"),
    "another lot's group key": (
        {
            "target": builders.ANY_DEVICE,
            "recipient_mode": builders.MODE_GROUP,
            "recipient": fake_key("group agreement of another lot"),
        },
        "RECIPIENT_UNKNOWN",
    ),
    "a grant that is not there": (
        {"target": builders.GRANT_REQUIRED, "recipient_mode": builders.MODE_GRANT},
        "GRANT_REQUIRED",
    ),
    "another load address": ({"load_address": 0x08000400}, "WRONG_LOAD_ADDRESS"),
    "a bootloader that is not here yet": ({"bootloader_version_min": (1, 0, 0, 1)}, "BOOTLOADER_TOO_OLD"),
    "a trust bundle that is not here yet": ({"trust_bundle_version_min": 2}, "TRUST_BUNDLE_TOO_OLD"),
    "signed by production": ({"signers": (fake_key("production"),)}, "SIGNER_UNKNOWN"),
    "signed by a stranger": ({"signers": (fake_key("a stranger"),)}, "SIGNER_UNKNOWN"),
    "signed by a root": ({"signers": builders.root_keys()[:1]}, "SIGNER_UNKNOWN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_package_for_something_else_is_refused(name: str) -> None:
    """Row: wrong device; another UID, product, hardware revision, lot; each well signed, nothing changed."""
    fields, code = WRONG[name]
    device = BenchDevice.with_application(WORLD).put_back()
    before = outside_the_journal(device)
    assert code_of(device, WORLD.application(2, **fields)).name == code
    assert same_sectors(before, outside_the_journal(device))
    assert runs_application(device, 1)


def test_the_same_package_without_the_one_difference_is_taken() -> None:
    """Row: wrong device; the accept side of all of them, in device mode and in group mode."""
    bench = BenchDevice.with_application(WORLD)
    group = {"target": builders.ANY_DEVICE, "recipient_mode": builders.MODE_GROUP}
    for other in ({}, {**group, "recipient": fake_key("group agreement")}):
        device = bench.put_back()
        assert code_of(device, WORLD.application(2, **other)) is DeviceCode.OK
        assert runs_application(device, 2)


def test_a_wrap_of_a_wrong_key_is_refused_before_anything_is_erased() -> None:
    """Row: wrong content key: the head commits to the key, so a signed head with a wrong wrap erases nothing."""
    device = BenchDevice.with_application(WORLD).put_back()
    plan = WORLD.application_plan(2)
    other = replace(plan, content_key=hashlib.sha256(b"another fake content key").digest())
    head = builders.build_head(plan, {"wrapped_cek": builders.wrap_content_key(other)})
    before = outside_the_journal(device)
    package = head + b"".join(builders.build_chunks(plan))
    assert code_of(device, package) is DeviceCode.CEK_COMMITMENT
    assert same_sectors(before, outside_the_journal(device))


def test_two_devices_do_not_take_each_others_packages() -> None:
    """Row: wrong device. What one of two devices installs the other refuses, both ways."""
    worlds = (WORLD, replace(WORLD, uid=bytes(range(12))))
    for mine, other in (worlds, worlds[::-1]):
        package = mine.application(1)
        assert code_of(entry(other.device()), package) is DeviceCode.SIGNATURE_INVALID
        assert code_of(entry(mine.device()), package) is DeviceCode.OK
