"""The check of the application at every start: each code of docs/spec/device-state.md, section 4, step 4, by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bootloader.reference.boot_check import LIFECYCLES_OF_TYPE, check_application
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.head import PackageType
from bootloader.reference.records import Lifecycle
from bootloader.reference.state import DeviceState
from bootloader.reference.trust_bundle import parse_trust_bundle
from bootloader.simulation.device import SimulatedDevice
from tests.scenarios.world import World, state_on_record
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key

WORLD = World()
BUNDLE = parse_trust_bundle(WORLD.genesis)
INSTALLED = WORLD.device_with(1)
STATE = state_on_record(INSTALLED)
SAVED = INSTALLED.flash.snapshot()


def device() -> SimulatedDevice:
    INSTALLED.flash.restore(SAVED)
    return INSTALLED


def code(made: SimulatedDevice, state: DeviceState = STATE, bundle: bytes = WORLD.genesis) -> DeviceCode:
    trusted = parse_trust_bundle(bundle)
    try:
        head = check_application(made.flash, made.board, state, trusted, WORLD.padded_uid)
    except Refused as refused:
        return refused.code
    assert head.raw == WORLD.application(1)[:1024]
    return DeviceCode.OK


def with_lifecycle(lifecycle: int) -> DeviceState:
    assert STATE.device is not None
    return replace(STATE, device=replace(STATE.device, lifecycle=lifecycle))


def with_installed(**changes: object) -> DeviceState:
    assert STATE.installed is not None
    return replace(STATE, installed=replace(STATE.installed, **changes))  # type: ignore[arg-type]


def bundle_that_revokes(name: str, flags: int) -> bytes:
    key = fake_key(name)
    role_keys = tuple(entry for entry in builders.default_role_keys() if entry[1] != key.public)
    return builders.build_bundle(builders.BundlePlan(role_keys=role_keys, revoked=((key.key_id, flags),)))


def test_an_application_in_order_starts() -> None:
    assert code(device()) is DeviceCode.OK


def test_without_an_installation_on_record_nothing_starts() -> None:
    assert code(device(), replace(STATE, installed=None)) is DeviceCode.NO_APPLICATION


@pytest.mark.parametrize("lifecycle", [*Lifecycle, 0x00, 0xFF, 0xA4])
@pytest.mark.parametrize("package_type", PackageType)
def test_lifecycle_allows_what_the_table_says(package_type: PackageType, lifecycle: int) -> None:
    allowed = {
        PackageType.APPLICATION: {0xA5},
        PackageType.BOOTLOADER: {0xA5},
        PackageType.FACTORY_TEST: {0x3C, 0x66},
    }
    assert {int(value) for value in LIFECYCLES_OF_TYPE[package_type]} == allowed[package_type]
    assert STATE.installed is not None
    state = replace(with_lifecycle(lifecycle), installed=replace(STATE.installed, package_type=package_type))
    assert (code(device(), state) is DeviceCode.LIFECYCLE) is (lifecycle not in allowed[package_type])


@pytest.mark.parametrize("offset", [0, 32, 447, 448, 511, 512, 1023])
def test_any_byte_of_the_head(offset: int) -> None:
    made = device()
    made.flash.corrupt(made.board.application.address + offset, b"\x5a")
    assert code(made) is DeviceCode.HEAD_CHANGED


def test_a_genuine_head_that_was_not_the_installed_one() -> None:
    made = device()
    made.flash.corrupt(made.board.application.address, WORLD.application(2)[:1024])
    assert code(made) is DeviceCode.HEAD_CHANGED


def test_a_head_by_another_key_than_recorded() -> None:
    """The recorded hash is of a head that the recorded key did not sign: a glitch or a defect at installation."""
    assert code(device(), with_installed(signer=fake_key("production").public)) is DeviceCode.BOOT_SIGNATURE


def test_an_unsigned_head_whose_hash_is_on_record() -> None:
    made = device()
    head = builders.with_fields(WORLD.application(1)[:1024], {"signature_0": bytes(64)})
    made.flash.corrupt(made.board.application.address, head)
    assert code(made, with_installed(head_hash=builders.sha256(head))) is DeviceCode.BOOT_SIGNATURE


@pytest.mark.parametrize("offset", [0, 1, 450, 899])
def test_any_byte_of_the_image(offset: int) -> None:
    made = device()
    made.flash.corrupt(made.board.application.address + 1024 + offset, b"\x5a")
    assert code(made) is DeviceCode.BOOT_DIGEST


def test_behind_the_image_nothing_is_judged() -> None:
    made = device()
    made.flash.corrupt(made.board.application.address + 1024 + 900, b"\x5a")
    assert code(made) is DeviceCode.OK


@pytest.mark.parametrize(("flags", "expected"), [(0, DeviceCode.OK), (1, DeviceCode.STOPPED)])
def test_a_revoked_key_stops_what_it_signed_only_if_marked_stop(flags: int, expected: DeviceCode) -> None:
    """Row: rotation or revocation bricks running devices."""
    assert code(device(), bundle=bundle_that_revokes("application release", flags)) is expected
    assert code(device(), bundle=bundle_that_revokes("application release spare", flags)) is DeviceCode.OK


FAILURES: list[tuple[DeviceCode, Callable[[SimulatedDevice], None]]] = [
    (DeviceCode.HEAD_CHANGED, lambda made: made.flash.corrupt(made.board.application.address, b"\0")),
    (DeviceCode.BOOT_DIGEST, lambda made: made.flash.corrupt(made.board.application.address + 1024, b"\0")),
]


@pytest.mark.parametrize(("expected", "spoil"), FAILURES, ids=lambda value: getattr(value, "name", "spoiled"))
def test_the_order_is_that_of_the_specification(expected: DeviceCode, spoil: Callable[[SimulatedDevice], None]) -> None:
    """An earlier check hides a later one."""
    made = device()
    spoil(made)
    assert code(made) is expected
    assert code(made, with_lifecycle(Lifecycle.RMA)) is DeviceCode.LIFECYCLE
    assert code(made, replace(with_lifecycle(Lifecycle.RMA), installed=None)) is DeviceCode.NO_APPLICATION
    stopped = bundle_that_revokes("application release", 1)
    assert code(made, bundle=stopped) is (expected if expected is DeviceCode.HEAD_CHANGED else DeviceCode.STOPPED)
