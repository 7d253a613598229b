"""Service orders (docs/spec/service-order.md): who is believed, what is destroyed, what a device is afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.journal import Journal
from bootloader.reference.records import (
    EventKind,
    Floors,
    Lifecycle,
    ServiceAction,
    ServiceStarted,
    Unknown,
)
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import ApplicationRuns, InUpdateMode, PowerOn, SimulatedDevice
from tests.scenarios.life import (
    BOTH_INJECTED,
    HOST,
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
    without_state,
)
from tests.unit.reference.builders import PRODUCT_ID, build_package, factory_test_plan, sha256, u16, u32
from tests.unit.reference.bundle_chains import first_link, next_link, without
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.life_builders import (
    CHALLENGE_FIELDS,
    DECOMMISSION,
    LOCKED,
    OPERATIONAL,
    PERMIT_REINSTALLATION,
    RE_PROVISION,
    RECEIPT_FIELDS,
    REPAIR,
    RMA,
    SERVICE_FIELDS,
    ActivationPlan,
    ServicePlan,
    build_activation,
    build_service_order,
    challenge_is_genuine,
    digest_of,
    part,
    receipt_is_genuine,
    written,
)

LIFECYCLES_OF = {
    REPAIR: {LOCKED, OPERATIONAL},
    DECOMMISSION: {LOCKED, OPERATIONAL, RMA},
    RE_PROVISION: {RMA},
    PERMIT_REINSTALLATION: {OPERATIONAL},
}
ACTIONS = tuple(LIFECYCLES_OF)
LISTENS = InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)


def listening_at_work() -> SimulatedDevice:
    """OPERATIONAL, application 1 confirmed, in update mode because it was asked to."""
    device = device_at_work()
    device.application_requests_update()
    return device


def state_of(device: SimulatedDevice) -> DeviceState:
    return device.bootloader.running.state


def lifecycle_of(device: SimulatedDevice) -> int:
    return device.bootloader.running.device.lifecycle


def secrets_of(device: SimulatedDevice) -> tuple[bytes, ...]:
    """Halves of every private key on record: half a key is a secret too."""
    state = state_of(device)
    assert state.keys is not None
    keys = [state.keys.identity_private, state.keys.agreement_private]
    keys += [state.group_key.agreement_private] if state.group_key is not None else []
    return tuple(half for key in keys for half in (key[:16], key[16:]))


def refused_with(device: SimulatedDevice, data: bytes) -> DeviceCode:
    before = state_of(device)
    code = code_of(device.receive_service_order, data)
    assert replace(state_of(device), events=before.events) == before
    return code


# --- repair and decommissioning ---


@pytest.mark.parametrize(("action", "lifecycle"), [(REPAIR, Lifecycle.RMA), (DECOMMISSION, Lifecycle.DECOMMISSIONED)])
def test_keys_and_application_are_destroyed_at_the_next_start(action: int, lifecycle: Lifecycle) -> None:
    device = listening_at_work()
    board = device.board
    assert board.application_data is not None
    device.flash.load(board.application_data.address, b"a patient's data")
    secrets, floors, bundle = secrets_of(device), state_of(device).floors, state_of(device).trust_bundle
    device.bootloader.running.journal.append(Unknown(77, 1, b"a key of a later version"))
    challenge = device.challenge(HOST.public)
    order = build_service_order(ServicePlan(action=action), challenge)
    receipt = device.receive_service_order(order)
    digest = digest_of("SR-service-v1", SERVICE_FIELDS, order)
    assert state_of(device).service_started == ServiceStarted(ServiceAction(action), digest)
    assert all(secret in flash_of(device) for secret in secrets)

    assert device.power_on(PowerOn.WARM) == LISTENS
    assert lifecycle_of(device) == lifecycle
    flash = flash_of(device)
    assert not any(secret in flash for secret in (*secrets, b"later version"))
    for region in (board.application, board.application_data):
        begin = region.address - board.flash_address
        assert flash[begin : begin + region.size_bytes].count(0xFF) == region.size_bytes
    state = state_of(device)
    assert state.unknown == ()
    gone = (state.keys, state.group_key, state.activated, state.installed, state.pending_grant, state.service_started)
    assert gone == (None,) * 6
    assert (state.floors, state.trust_bundle) == (floors, bundle)
    assert (state.events[-1].kind, state.events[-1].code) == (EventKind.SERVICE, DeviceCode.OK)
    values = {
        "magic": b"SRR1",
        "format_version": u16(1),
        "suite": b"\x01",
        "lifecycle": bytes([lifecycle]),
        "uid": WORLD.padded_uid,
        "nonce": part(CHALLENGE_FIELDS, challenge, "nonce"),
        "object_digest": digest,
        "identity_public_key": part(CHALLENGE_FIELDS, challenge, "identity_public_key"),
        "agreement_public_key": part(CHALLENGE_FIELDS, challenge, "agreement_public_key"),
        "protection": u16(0x1D),
        "trust_bundle_version": u32(1),
        "signature": receipt[256:],
    }
    assert receipt == written(RECEIPT_FIELDS, values)
    assert receipt_is_genuine(receipt, values["identity_public_key"])


def test_while_it_is_pending_nothing_is_taken_but_status_and_challenge() -> None:
    device = listening_at_work()
    serve(device, ServicePlan())
    before = device.flash.operation_count
    challenge = device.challenge(HOST.public)
    assert challenge_is_genuine(challenge, HOST)
    assert device.signed_status(bytes(32))[75] == 2
    for action, given in (
        (device.bootloader.begin_upload, 5000),
        (device.receive_trust_bundle, WORLD.genesis),
        (device.receive_grant, bytes(320)),
        (device.receive_activation, build_activation(ActivationPlan(), challenge)),
        (device.receive_service_order, build_service_order(ServicePlan(action=DECOMMISSION), challenge)),
    ):
        assert code_of(action, given) is DeviceCode.SERVICE_PENDING
    assert code_of(device.bootloader.write, 0, b"x") is DeviceCode.SERVICE_PENDING
    assert device.flash.operation_count == before


def test_a_locked_device_without_keys_makes_none_while_it_is_pending() -> None:
    device = locked_device()
    challenge = device.challenge(HOST.public)
    state = state_of(device)
    assert state.keys is not None
    fresh = locked_device(replace(WORLD, uid=bytes(range(12))))
    running = fresh.bootloader.running
    running.journal.append(ServiceStarted(ServiceAction.DECOMMISSION, bytes(32)))
    assert not any(fresh.challenge(HOST.public)[160:320])
    assert any(challenge[160:320])


@pytest.mark.parametrize("entry_pin", [False, True])
def test_a_step_that_fails_leaves_it_pending_and_the_next_start_goes_on(
    entry_pin: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = listening_at_work()
    secrets = secrets_of(device)
    serve(device, ServicePlan())
    device.entry_pin_is_active = entry_pin

    def fail(*_: object, **__: object) -> None:
        raise Refused(DeviceCode.FLASH_WRITE, "worn out")

    for step in ("compact", "erase_other_half", "append"):
        with monkeypatch.context() as patch:
            patch.setattr(Journal, step, fail)
            assert device.power_on() == InUpdateMode(DeviceCode.SERVICE_PENDING, Copy.A)
            assert code_of(device.bootloader.begin_upload, 5000) is DeviceCode.SERVICE_PENDING
            assert lifecycle_of(device) == Lifecycle.OPERATIONAL
    started = device.power_on()
    assert started == InUpdateMode(DeviceCode.UPDATE_REQUESTED if entry_pin else DeviceCode.NO_APPLICATION, Copy.A)
    assert lifecycle_of(device) == Lifecycle.RMA
    assert not any(secret in flash_of(device) for secret in secrets)


def test_a_copy_that_is_not_confirmed_destroys_nothing() -> None:
    device = listening_at_work()
    serve(device, ServicePlan())
    region = device.board.bootloader_a
    device.flash.corrupt(region.address + 2000, bytes(16))
    assert device.power_on() == InUpdateMode(DeviceCode.SERVICE_PENDING, Copy.B)
    assert lifecycle_of(device) == Lifecycle.OPERATIONAL
    assert state_of(device).keys is not None


def test_the_same_order_again_lets_the_copy_that_is_left_carry_it_out() -> None:
    device = listening_at_work()
    secrets = secrets_of(device)
    order = build_service_order(ServicePlan(), device.challenge(HOST.public))
    receipt = device.receive_service_order(order)
    device.flash.corrupt(device.board.bootloader_a.address + 2000, bytes(16))
    assert device.power_on() == InUpdateMode(DeviceCode.SERVICE_PENDING, Copy.B)
    other = build_service_order(ServicePlan(action=DECOMMISSION), device.challenge(HOST.public))
    assert code_of(device.receive_service_order, other) is DeviceCode.SERVICE_PENDING
    assert code_of(device.receive_service_order, order[:192] + bytes(64)) is DeviceCode.SIGNATURE_INVALID
    assert device.receive_service_order(order) == receipt
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.B)
    assert lifecycle_of(device) == Lifecycle.RMA
    assert not any(secret in flash_of(device) for secret in secrets)


def test_an_order_ends_the_trial_of_the_other_copy_so_that_it_is_carried_out_at_once() -> None:
    device = listening_at_work()
    package = WORLD.bootloader(2, Copy.B)
    device.bootloader.begin_upload(len(package))
    offset = 0
    while offset < len(package):
        offset = device.bootloader.write(offset, package[offset : offset + 1000])
    assert state_of(device).boot_trial is not None
    serve(device, ServicePlan())
    assert device.power_on() == LISTENS
    assert lifecycle_of(device) == Lifecycle.RMA


def test_a_copy_on_trial_is_confirmed_by_the_order_and_carries_it_out() -> None:
    device = listening_at_work()
    assert device.install(WORLD.bootloader(2, Copy.B)) == InUpdateMode(DeviceCode.UPDATE_REQUESTED, Copy.B)
    serve(device, ServicePlan())
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.B)
    assert lifecycle_of(device) == Lifecycle.RMA


def test_an_order_ends_an_upload() -> None:
    device = listening_at_work()
    device.bootloader.begin_upload(5000)
    device.bootloader.write(0, WORLD.application(2)[:500])
    serve(device, ServicePlan(action=PERMIT_REINSTALLATION))
    assert device.bootloader.upload is None


def test_a_device_without_keys_gives_a_receipt_that_is_not_signed() -> None:
    device = device_with_keys()
    serve_and_reset(device, ServicePlan())
    receipt = serve(device, ServicePlan(action=DECOMMISSION))
    assert part(RECEIPT_FIELDS, receipt, "lifecycle") == b"\x99"
    assert not any(receipt[88:216])
    assert not any(receipt[256:])
    device.power_on()
    assert lifecycle_of(device) == Lifecycle.DECOMMISSIONED


def test_in_repair_a_factory_test_runs_and_no_application() -> None:
    device = listening_at_work()
    serve_and_reset(device, ServicePlan())
    assert code_of(device.install, WORLD.bootloader(2, Copy.B)) is DeviceCode.LIFECYCLE
    plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    assert isinstance(device.install(build_package(plan)), ApplicationRuns)


def test_a_decommissioned_device_takes_nothing_any_more() -> None:
    device = listening_at_work()
    serve_and_reset(device, ServicePlan(action=DECOMMISSION))
    plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    for package in (build_package(plan), WORLD.bootloader(2, Copy.B)):
        assert code_of(device.install, package) is DeviceCode.LIFECYCLE
    challenge = device.challenge(HOST.public)
    assert code_of(device.receive_activation, build_activation(ActivationPlan(), challenge)) is DeviceCode.LIFECYCLE
    for action in ACTIONS:
        assert code_of(serve, device, ServicePlan(action=action)) is DeviceCode.LIFECYCLE
    device.receive_trust_bundle(first_link().file)  # trust follows the roots wherever the device is


# --- re-provisioning ---


def test_from_repair_to_another_lot() -> None:
    device = listening_at_work()
    serve_and_reset(device, ServicePlan())
    receipt = serve(device, ServicePlan(action=RE_PROVISION, floors=(0, 9, 4)))
    assert part(RECEIPT_FIELDS, receipt, "lifecycle") == b"\x3c"
    device.power_on()
    state = state_of(device)
    assert state.device is not None
    assert (state.device.lifecycle, state.device.lot) == (Lifecycle.LOCKED, b"another lot".ljust(16, b"\0"))
    assert (state.device.hardware_revision, state.floors) == (7, Floors(1, 9, 4))
    assert state.keys is None
    assert code_of(activate, device) is DeviceCode.WRONG_LOT
    plan = BOTH_INJECTED.having(lot=b"another lot".ljust(16, b"\0"), hardware_revisions=(7, 7))
    activate(device, plan)
    device.power_on()
    assert lifecycle_of(device) == Lifecycle.OPERATIONAL


def test_without_a_readable_state_it_becomes_locked_with_its_genesis() -> None:
    device = without_state(listening_at_work())
    assert device.running == InUpdateMode(DeviceCode.NO_STATE, Copy.A)
    receipt = serve(device, ServicePlan(action=RE_PROVISION, floors=(5, 0, 0)))
    assert part(RECEIPT_FIELDS, receipt, "lifecycle") == b"\x3c"
    assert not any(receipt[256:])
    assert device.power_on() == LISTENS
    state = state_of(device)
    assert state.device is not None
    assert state.device.product_id == PRODUCT_ID
    assert (state.device.lifecycle, state.device.flags, state.device.hardware_revision) == (Lifecycle.LOCKED, 0, 7)
    assert state.floors == Floors(5, 1, 0)  # the bootloader's rises at the start: both copies verify
    assert state.trust_bundle is not None
    assert state.trust_bundle.bundle == WORLD.genesis
    assert device.bootloader.running.is_confirmed
    activate(device, BOTH_INJECTED.having(lot=b"another lot".ljust(16, b"\0"), hardware_revisions=(7, 7)))
    device.power_on()
    assert code_of(device.install, WORLD.application(1)) is DeviceCode.WRONG_HARDWARE_REVISION


def test_without_a_readable_state_nothing_else_is_taken() -> None:
    device = without_state(listening_at_work())
    before = device.flash.operation_count
    for action in (REPAIR, DECOMMISSION, PERMIT_REINSTALLATION):
        assert code_of(serve, device, ServicePlan(action=action)) is DeviceCode.NO_STATE
    stranger = ServicePlan(action=RE_PROVISION, signer=fake_key("stranger"))
    assert code_of(serve, device, stranger) is DeviceCode.SIGNER_UNKNOWN
    other = ServicePlan(action=RE_PROVISION, product_id=sha256(b"another")[:16])
    assert code_of(serve, device, other) is DeviceCode.WRONG_PRODUCT
    order = build_service_order(ServicePlan(action=RE_PROVISION), device.challenge(HOST.public))
    device.challenge(HOST.public)
    assert code_of(device.receive_service_order, order) is DeviceCode.WRONG_NONCE
    assert code_of(device.bootloader.begin_upload, 5000) is DeviceCode.NO_STATE
    assert code_of(device.receive_trust_bundle, WORLD.genesis) is DeviceCode.NO_STATE
    assert code_of(device.receive_grant, bytes(320)) is DeviceCode.NO_STATE
    assert device.flash.operation_count == before


def test_without_a_readable_state_a_genesis_that_is_none_trusts_nobody() -> None:
    bundle_plan = replace(WORLD.bundle_plan, signers=WORLD.bundle_plan.signers[:1])
    assert bundle_plan.threshold == 2
    device = without_state(listening_at_work())
    region = device.board.bootloader_a
    image_end = region.address + 1024 + 60 + 2304
    device.flash.corrupt(image_end - 2304, b"XXXX")
    order = build_service_order(ServicePlan(action=RE_PROVISION), device.challenge(HOST.public))
    assert code_of(device.receive_service_order, order) is DeviceCode.NO_STATE


# --- one reinstallation ---


def test_one_package_of_the_same_version_is_permitted_once() -> None:
    device = listening_at_work()
    assert code_of(device.install, WORLD.application(1)) is DeviceCode.VERSION_NOT_NEWER
    receipt = serve(device, ServicePlan(action=PERMIT_REINSTALLATION))
    assert part(RECEIPT_FIELDS, receipt, "lifecycle") == b"\xa5"
    assert isinstance(device.install(WORLD.application(1)), ApplicationRuns)
    device.application_confirms()
    device.application_requests_update()
    assert code_of(device.install, WORLD.application(1)) is DeviceCode.VERSION_NOT_NEWER


def test_a_permission_ends_with_the_reset_and_raises_no_floor() -> None:
    device = listening_at_work()
    serve(device, ServicePlan(action=PERMIT_REINSTALLATION))
    device.power_on()
    device.application_requests_update()
    assert code_of(device.install, WORLD.application(1)) is DeviceCode.VERSION_NOT_NEWER
    serve(device, ServicePlan(action=PERMIT_REINSTALLATION))
    older = WORLD.application(1, security_version=0)
    assert code_of(device.install, older) is DeviceCode.BELOW_FLOOR
    downgrade = WORLD.application(1, image_version=(0, 9, 0, 0))
    assert isinstance(device.install(downgrade), ApplicationRuns), "a refused head used nothing up"


def test_a_permission_is_used_up_when_the_installation_begins() -> None:
    world = replace(WORLD, bootloader_code_size_bytes=5000)  # two chunks
    device = device_at_work(world)
    device.application_requests_update()
    serve(device, ServicePlan(action=PERMIT_REINSTALLATION))
    package = world.bootloader(1, Copy.B, image_version=(0, 5, 0, 0))
    device.bootloader.begin_upload(len(package))
    offset = 0
    while offset < len(package) - 1:
        offset = device.bootloader.write(offset, package[offset : min(offset + 900, len(package) - 1)])
    device.bootloader.begin_upload(len(package))
    assert code_of(device.bootloader.write, 0, package[:1024]) is DeviceCode.VERSION_NOT_NEWER


# --- refused: one deviation, one code ---

CASES: dict[str, tuple[dict[str, bytes], DeviceCode]] = {
    "magic": ({"magic": b"SRA1"}, DeviceCode.OBJECT_MAGIC),
    "version": ({"format_version": u16(2)}, DeviceCode.OBJECT_FORMAT),
    "suite": ({"suite": b"\x00"}, DeviceCode.OBJECT_FORMAT),
    "reserved 90": ({"reserved_90": b"\x00\x01"}, DeviceCode.OBJECT_RESERVED),
    "reserved 112": ({"reserved_112": bytes(79) + b"\x01"}, DeviceCode.OBJECT_RESERVED),
    "lot unused": ({"lot": b"x".ljust(16, b"\0")}, DeviceCode.OBJECT_RESERVED),
    "revision unused": ({"hardware_revision": u16(1)}, DeviceCode.OBJECT_RESERVED),
    "floors unused": ({"floors": u32(1).ljust(12, b"\0")}, DeviceCode.OBJECT_RESERVED),
    "action 0": ({"action": b"\x00"}, DeviceCode.OBJECT_FIELD),
    "action 5": ({"action": b"\x05"}, DeviceCode.OBJECT_FIELD),
    "re-provisioning without a lot": ({"action": b"\x03"}, DeviceCode.OBJECT_FIELD),
    "re-provisioning with a lot that is no text": ({"action": b"\x03", "lot": b"\x01" * 16}, DeviceCode.OBJECT_FIELD),
    "product zero": ({"product_id": bytes(16)}, DeviceCode.OBJECT_FIELD),
    "signer zero": ({"signer_key_id": bytes(8)}, DeviceCode.OBJECT_FIELD),
    "signer of another role": ({"signer_key_id": fake_key("production").key_id}, DeviceCode.SIGNER_UNKNOWN),
    "signature": ({"signature": bytes(64)}, DeviceCode.SIGNATURE_INVALID),
    "product": ({"product_id": sha256(b"another")[:16], "uid": bytes(16)}, DeviceCode.WRONG_PRODUCT),
    "uid": ({"uid": bytes(range(16)), "nonce": bytes(32)}, DeviceCode.WRONG_DEVICE),
    "nonce": ({"nonce": bytes(32)}, DeviceCode.WRONG_NONCE),
    "lifecycle": ({"action": b"\x03", "lot": b"x".ljust(16, b"\0")}, DeviceCode.LIFECYCLE),
}


@pytest.mark.parametrize("name", CASES)
def test_an_order_with_one_deviation_has_its_code(name: str) -> None:
    changed, code = CASES[name]
    device = activated_device()
    assert refused_with(device, build_service_order(ServicePlan(), device.challenge(HOST.public), changed)) is code


def test_every_bit_is_covered() -> None:
    device = activated_device()
    order = build_service_order(ServicePlan(), device.challenge(HOST.public))
    for bit in range(256 * 8):
        if bit % 3 == 0 or bit < 64 * 8:
            changed = bytearray(order)
            changed[bit // 8] ^= 1 << bit % 8
            code_of(device.receive_service_order, bytes(changed))
    assert state_of(device).service_started is None
    device.receive_service_order(order)


@pytest.mark.parametrize("size", [0, 255, 257])
def test_another_size(size: int) -> None:
    device = activated_device()
    order = build_service_order(ServicePlan(), device.challenge(HOST.public))
    assert refused_with(device, (order + b"\0")[:size]) is DeviceCode.OBJECT_SIZE


def test_a_revoked_service_key_orders_nothing() -> None:
    device = activated_device()
    genesis, gone = first_link(), fake_key("service")
    link = next_link(genesis, role_keys=without(genesis.plan, gone), revoked=[(gone.key_id, 0)])
    device.receive_trust_bundle(link.file)
    assert code_of(serve, device, ServicePlan()) is DeviceCode.SIGNER_REVOKED


def test_a_nonce_is_used_up_whatever_follows() -> None:
    device = activated_device()
    challenge = device.challenge(HOST.public)
    re_provision = build_service_order(ServicePlan(action=RE_PROVISION), challenge)
    assert refused_with(device, re_provision) is DeviceCode.LIFECYCLE
    assert refused_with(device, build_service_order(ServicePlan(), challenge)) is DeviceCode.WRONG_NONCE


@pytest.mark.parametrize("action", ACTIONS)
def test_where_each_action_is_taken(action: int) -> None:
    taken = set()
    makers: dict[str, Callable[[], SimulatedDevice]] = {
        "locked": device_with_keys,
        "operational": activated_device,
        "rma": lambda: _after(REPAIR),
        "decommissioned": lambda: _after(DECOMMISSION),
    }
    for name, make in makers.items():
        device = make()
        order = build_service_order(ServicePlan(action=action), device.challenge(HOST.public))
        if device.bootloader.running.device.lifecycle in LIFECYCLES_OF[action]:
            device.receive_service_order(order)
            taken.add(name)
        else:
            assert code_of(device.receive_service_order, order) is DeviceCode.LIFECYCLE
    assert len(taken) == len(LIFECYCLES_OF[action])


def _after(action: int) -> SimulatedDevice:
    device = activated_device()
    serve_and_reset(device, ServicePlan(action=action))
    return device
