"""Whole lives: from the factory through updates of application and both copies, on every board."""

from __future__ import annotations

import pytest

from bootloader.reference.board import Copy, load_address
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.records import Floors
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, SimulatedDevice
from bootloader.simulation.sim_flash import PowerCut, Tear
from tests.scenarios.world import World, state_on_record
from tests.unit.reference import builders

BOARDS = ["stm32f405-full", "stm32f405-core", "stm32f446-core", "synthetic-32mb"]


def world_on(board_name: str) -> World:
    uid = bytes(range(16)) if board_name == "synthetic-32mb" else bytes(range(12))
    return World(board_name=board_name, uid=uid, application_size_bytes=9000)


def runs(device: SimulatedDevice, version: int, copy: Copy) -> None:
    assert isinstance(device.running, ApplicationRuns)
    assert (device.running.version.major, device.running.copy) == (version, copy)


@pytest.mark.parametrize("board_name", BOARDS)
def test_install_update_and_renew_both_copies(board_name: str) -> None:
    world = world_on(board_name)
    device = world.device()
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)

    device.install(world.application(1))
    runs(device, 1, Copy.A)
    device.application_confirms()
    device.application_requests_update()
    device.install(world.application(2))
    device.application_confirms()
    runs(device, 2, Copy.A)
    assert state_on_record(device).floors == Floors(2, 1, 0)

    device.application_requests_update()
    assert device.install(world.bootloader(2, Copy.B)) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)
    device.receive_trust_bundle(world.genesis)
    assert device.install(world.bootloader(2, Copy.A)) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.A)
    device.receive_trust_bundle(world.genesis)
    device.power_on()
    runs(device, 2, Copy.A)
    assert state_on_record(device).floors == Floors(2, 2, 0)

    device.application_requests_update()
    device.install(world.application(3))
    device.application_confirms()
    device.power_on()
    runs(device, 3, Copy.A)


def test_a_long_life_wears_no_rule_out() -> None:
    """Sixty updates of the application and of the copies in turn: the journal is compacted again and again."""
    world = World(application_size_bytes=300)
    device = world.device_with(1)
    copy, bootloader_version = Copy.A, 1
    for version in range(2, 62):
        device.application_requests_update()
        if version % 5 == 0:
            bootloader_version += copy is Copy.A
            copy = copy.other
            device.install(world.bootloader(bootloader_version, copy))
            device.receive_trust_bundle(world.genesis)
        device.install(world.application(version))
        device.application_confirms()
        runs(device, version, copy)
    assert device.bootloader.running.journal.half_sequence > 2
    assert state_on_record(device).floors == Floors(61, bootloader_version - (copy is Copy.B), 0)
    assert state_on_record(device).events[-1].count > 120


def test_an_update_that_loses_power_in_the_middle_is_sent_again() -> None:
    world = World(application_size_bytes=9000)
    device = world.device_with(1)
    device.application_requests_update()
    device.flash.cut_power_at(1200, Tear.RANDOM)
    with pytest.raises(PowerCut):
        device.install(world.application(2))
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
    device.install(world.application(2))
    device.application_confirms()
    runs(device, 2, Copy.A)


def test_two_devices_of_one_lot_take_the_same_group_package_and_not_each_others() -> None:
    world, other = World(), World(uid=b"another UID!")
    for package, codes in (
        (world.application(1), (None, DeviceCode.SIGNATURE_INVALID)),
        (other.application(1), (DeviceCode.SIGNATURE_INVALID, None)),
        (world.bootloader(2, Copy.B), (None, None)),
    ):
        for owner, expected in zip((world, other), codes, strict=True):
            device = owner.device()
            device.power_on()
            if expected is None:
                device.install(package)
            else:
                with pytest.raises(Refused) as refused:
                    device.install(package)
                assert refused.value.code is expected


def test_a_large_image_on_the_synthetic_board() -> None:
    """A megabyte in plaintext, as a factory test."""
    world = world_on("synthetic-32mb")
    device = world.locked_device()
    device.power_on()
    plan = builders.factory_test_plan(load_address=load_address(world.board.application), image=bytes(1 << 20))
    running = device.install(builders.build_package(plan), 65536)
    assert isinstance(running, ApplicationRuns)
