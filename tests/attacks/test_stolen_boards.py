"""Boards that fall off the lorry, and papers that go astray: what a LOCKED, a cloned or a returned device refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.events import REFUSALS_MAX
from bootloader.reference.records import Lifecycle
from bootloader.simulation.device import InUpdateMode, SimulatedDevice
from bootloader.simulation.platform import OptionBytes
from tests.attacks.bench_device import outside_the_journal, same_sectors
from tests.scenarios.life import (
    BOTH_INJECTED,
    HOST,
    PROTECTED,
    WORLD,
    activate,
    activated_device,
    code_of,
    device_at_work,
    device_with_keys,
    flash_of,
    locked_device,
    serve,
    serve_and_reset,
)
from tests.unit.reference.builders import build_package, factory_test_plan
from tests.unit.reference.bundle_chains import first_link, next_link
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.life_builders import (
    RE_PROVISION,
    REPAIR,
    ActivationPlan,
    ServicePlan,
    build_activation,
    build_service_order,
)

OTHER_UID = bytes(range(12))


def lifecycle_of(device: SimulatedDevice) -> int:
    return device.bootloader.running.device.lifecycle


def test_a_stolen_locked_board_is_a_brick() -> None:
    """Row: stolen boards. It has no firmware, takes none that is not production's, and opens nothing for anybody."""
    device = locked_device()
    before = outside_the_journal(device)
    for package in (WORLD.application(1), WORLD.bootloader(2, Copy.B)):
        assert code_of(device.install, package) is DeviceCode.LIFECYCLE
    test_plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    stranger = replace(test_plan, signers=(fake_key("application release"),))
    assert code_of(device.install, build_package(stranger)) is DeviceCode.SIGNER_UNKNOWN
    forger = ActivationPlan().having(signer=fake_key("thief"), lot_key=fake_key("thief"))
    assert code_of(activate, device, forger) is DeviceCode.SIGNER_UNKNOWN
    assert lifecycle_of(device) == Lifecycle.LOCKED
    assert same_sectors(before, outside_the_journal(device))
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)


def test_a_production_key_that_pretends_to_be_the_lots_activates_nothing_without_an_order_for_it() -> None:
    """Row: forged orders. The lot's key signs activations; whoever has only that cannot change the order."""
    device = device_with_keys()
    challenge = device.challenge(HOST.public)
    genuine = build_activation(ActivationPlan(), challenge)
    wider = build_activation(ActivationPlan().having(signer=fake_key("lot"), quota=1000), challenge)
    assert code_of(device.receive_activation, wider) is DeviceCode.SIGNER_UNKNOWN
    mixed = wider[:640] + genuine[640:]
    assert code_of(device.receive_activation, mixed) is DeviceCode.SIGNER_UNKNOWN
    device.receive_activation(genuine)


def test_a_cloned_flash_takes_nothing_that_was_made_for_the_first() -> None:
    """Row: clones. Flash copied to another microcontroller has another UID: activation, package, service order fail."""
    device = device_at_work()
    device.application_requests_update()
    clone = SimulatedDevice(device.board, OTHER_UID, device.flash, device.platform)
    clone.entry_pin_is_active = True
    clone.power_on()
    assert code_of(clone.install, WORLD.application(2)) is DeviceCode.SIGNATURE_INVALID
    order = build_service_order(ServicePlan(), device.challenge(HOST.public))
    clone.challenge(HOST.public)
    assert code_of(clone.receive_service_order, order) is DeviceCode.WRONG_DEVICE


def test_an_activation_is_for_one_life() -> None:
    """Row: replays. Back from repair and provisioned for the same lot, the activation of its first life is nothing."""
    device = device_with_keys()
    old = build_activation(ActivationPlan(), device.challenge(HOST.public))
    device.receive_activation(old)
    serve_and_reset(device, ServicePlan(action=REPAIR))
    serve(device, ServicePlan(action=RE_PROVISION, lot=b"fake lot 2026-11", hardware_revision=2))
    device.power_on()
    assert code_of(device.receive_activation, old) is DeviceCode.NO_KEYS
    device.challenge(HOST.public)
    assert code_of(device.receive_activation, old) is DeviceCode.WRONG_NONCE
    activate(device)
    assert lifecycle_of(device) == Lifecycle.OPERATIONAL


def test_a_leaked_lot_key_is_worth_nothing_after_its_revocation() -> None:
    """Row: a leaked lot key. A device that has followed the trust bundle refuses it, whatever order it shows."""
    device = device_with_keys()
    leaked = fake_key("lot")
    device.receive_trust_bundle(next_link(first_link(), revoked=[(leaked.key_id, 0)]).file)
    assert code_of(activate, device) is DeviceCode.SIGNER_REVOKED
    activate(device, ActivationPlan().having(lot_key=fake_key("the lot's next key")))


@pytest.mark.parametrize("missing", [OptionBytes(), OptionBytes(readout_level=1), OptionBytes(write_protect=True)])
def test_a_board_whose_protection_was_not_set_makes_no_keys_and_is_not_activated(missing: OptionBytes) -> None:
    """Row: protection left open. The board demands it before keys are made, the order before it is activated."""
    device = locked_device(option_bytes=missing)
    assert code_of(activate, device) is DeviceCode.NO_KEYS
    device.set_option_bytes(PROTECTED)
    device.power_on()
    device.challenge(HOST.public)
    device.set_option_bytes(replace(PROTECTED, write_protect=False))
    device.power_on()
    assert code_of(activate, device) is DeviceCode.PROTECTION_MISSING


def test_a_service_order_that_went_astray() -> None:
    """Row: replays. An order answers one challenge of one device; kept for later, or for another, it is nothing."""
    device, other = activated_device(), activated_device(world=replace(WORLD, uid=OTHER_UID))
    order = build_service_order(ServicePlan(), device.challenge(HOST.public))
    other.challenge(HOST.public)
    assert code_of(other.receive_service_order, order) is DeviceCode.WRONG_DEVICE
    device.power_on()
    assert code_of(device.receive_service_order, order) is DeviceCode.WRONG_NONCE
    assert lifecycle_of(device) == lifecycle_of(other) == Lifecycle.OPERATIONAL


def test_a_returned_board_has_nothing_left_to_read() -> None:
    """Row: data on returned devices. After the reset, all of flash searched: no key, no application."""
    device = activated_device(BOTH_INJECTED)
    state = device.bootloader.running.state
    assert state.keys is not None
    assert state.group_key is not None
    keys = (state.keys.identity_private, state.keys.agreement_private, state.group_key.agreement_private)
    device.install(WORLD.application(1))
    device.application_requests_update()
    image = WORLD.application_plan(1).image
    assert image in flash_of(device)
    serve_and_reset(device, ServicePlan(action=REPAIR))
    flash = flash_of(device)
    for secret in (*keys, image):
        for begin in range(0, len(secret) - 15, 16):
            assert secret[begin : begin + 16] not in flash


@settings(max_examples=200, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=64),
        st.binary(min_size=256, max_size=256).map(lambda raw: b"SRV1\1\0\1" + raw[7:]),
        st.binary(min_size=1504, max_size=1504).map(lambda raw: b"SRW1\1\0\1\0" + raw[8:]),
    )
)
def test_any_bytes_for_an_object_have_a_code_and_write_nothing_but_a_few_events(data: bytes) -> None:
    """Row: parsing before authentication; the three requests that take signed objects, and the point of a challenge."""
    device = NOISE
    before, count = outside_the_journal(device), device.flash.operation_count
    for given_to in (device.receive_activation, device.receive_service_order, device.challenge):
        with pytest.raises(Refused):
            given_to(data)
    assert same_sectors(before, outside_the_journal(device))
    assert device.flash.operation_count - count <= REFUSALS_MAX * 20


NOISE = device_with_keys()
