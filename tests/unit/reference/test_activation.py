"""Activation (docs/spec/activation.md, sections 2 to 4): each check refuses, in its order, and nothing changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import Activated, EventKind, Lifecycle
from bootloader.simulation.device import InUpdateMode, SimulatedDevice
from bootloader.simulation.platform import OptionBytes
from tests.scenarios.life import (
    BOTH_INJECTED,
    HOST,
    PROTECTED,
    WORLD,
    activate,
    code_of,
    device_at_work,
    device_with_keys,
    flash_of,
    locked_device,
    serve_and_reset,
    without_state,
)
from tests.unit.reference.builders import build_package, factory_test_plan, sha256, u16, u32
from tests.unit.reference.bundle_chains import first_link, next_link
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.life_builders import (
    ACTIVATION_FIELDS,
    BROWN_OUT,
    CHALLENGE_FIELDS,
    DECOMMISSION,
    ORDER_FIELDS,
    READOUT_2,
    RECEIPT_FIELDS,
    REPAIR,
    ActivationPlan,
    Fields,
    OrderPlan,
    ServicePlan,
    build_activation,
    digest_of,
    part,
    receipt_is_genuine,
    written,
)

ORDER_SIZE, ACTIVATION_SIZE = 640, 864
STATION = sha256(b"fake station")
OTHER_STATION = sha256(b"fake station 2")
PLAN = ActivationPlan()


def refused_with(device: SimulatedDevice, data: bytes) -> DeviceCode:
    """The code, and the promise that nothing but an event was written and the device is as it was."""
    before = device.bootloader.running.state
    code = code_of(device.receive_activation, data)
    after = device.bootloader.running.state
    assert replace(after, events=before.events) == before
    assert code in [event.code for event in after.events], "a refusal leaves one event for each code"
    return code


def resigned(
    changed: dict[str, bytes] | None = None, order_changed: dict[str, bytes] | None = None, plan: ActivationPlan = PLAN
) -> DeviceCode:
    """The code for an object that says something else, and is signed over it."""
    device = device_with_keys()
    return refused_with(device, build_activation(plan, device.challenge(HOST.public), changed, order_changed))


# --- accepted ---


def test_a_locked_device_becomes_operational_and_says_so() -> None:
    device = device_with_keys()
    challenge = device.challenge(HOST.public)
    data = build_activation(PLAN, challenge)
    receipt = device.receive_activation(data)
    order, activation = data[:ORDER_SIZE], data[ORDER_SIZE:]
    state = device.bootloader.running.state
    assert state.device is not None
    assert state.device.lifecycle == Lifecycle.OPERATIONAL
    assert not state.device.is_simulation_only
    assert state.activated == Activated(
        PLAN.order.order_id,
        digest_of("SR-order-v1", ORDER_FIELDS, order),
        digest_of("SR-activate-v1", ACTIVATION_FIELDS, activation),
        PLAN.certificate_digest,
        PLAN.serial,
    )
    assert (state.events[-1].kind, state.events[-1].code) == (EventKind.ACTIVATION, DeviceCode.OK)
    identity = part(CHALLENGE_FIELDS, challenge, "identity_public_key")
    values = {
        "magic": b"SRR1",
        "format_version": u16(1),
        "suite": b"\x01",
        "lifecycle": b"\xa5",
        "uid": WORLD.padded_uid,
        "nonce": part(CHALLENGE_FIELDS, challenge, "nonce"),
        "object_digest": digest_of("SR-activate-v1", ACTIVATION_FIELDS, activation),
        "identity_public_key": identity,
        "agreement_public_key": part(CHALLENGE_FIELDS, challenge, "agreement_public_key"),
        "protection": u16(0x1D),
        "trust_bundle_version": u32(1),
        "signature": receipt[256:],
    }
    assert receipt == written(RECEIPT_FIELDS, values)
    assert receipt_is_genuine(receipt, identity)
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)


def test_an_activated_device_installs_what_is_made_for_it_and_starts_it() -> None:
    device = device_at_work()
    device.power_on()
    assert device.running.version.major == 1  # type: ignore[union-attr]


def test_injected_keys_replace_and_are_announced_in_the_receipt() -> None:
    device = device_with_keys()
    made = device.bootloader.running.state.keys
    receipt = activate(device, BOTH_INJECTED)
    state = device.bootloader.running.state
    assert state.keys is not None
    assert made is not None
    assert state.keys.identity_private == made.identity_private
    assert state.keys.agreement_private == fake_key("device agreement").private
    assert state.group_key is not None
    assert state.group_key.agreement_private == fake_key("group agreement").private
    assert part(RECEIPT_FIELDS, receipt, "agreement_public_key") == fake_key("device agreement").public


@pytest.mark.parametrize("inject", [1, 2])
def test_one_injected_key_leaves_the_other_alone(inject: int) -> None:
    device = device_with_keys()
    made = device.bootloader.running.state.keys
    activate(device, PLAN.having(inject=inject))
    state = device.bootloader.running.state
    assert (state.keys == made) is (inject == 1)
    assert (state.group_key is None) is (inject == 2)


def test_a_factory_test_is_not_started_any_more_and_its_region_is_taken_by_an_application() -> None:
    device = locked_device()
    plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    device.install(build_package(plan))
    device.entry_pin_is_active = True
    device.power_on()
    activate(device, BOTH_INJECTED)
    device.entry_pin_is_active = False
    assert device.power_on() == InUpdateMode(DeviceCode.LIFECYCLE, Copy.A)
    device.install(WORLD.application(1))
    assert device.running.version.major == 1  # type: ignore[union-attr]


def test_a_locked_device_with_an_activation_on_record_takes_another() -> None:
    device = device_with_keys()
    running = device.bootloader.running
    activate(device, BOTH_INJECTED)
    running.journal.append(replace(running.device, lifecycle=Lifecycle.LOCKED))  # as if DEVICE had not been reached
    device.power_on()
    challenge = device.challenge(HOST.public)
    assert part(CHALLENGE_FIELDS, challenge, "agreement_public_key") == fake_key("device agreement").public
    plan = replace(PLAN, sequence=2, serial=b"SN-0002".ljust(32, b"\0"))
    device.receive_activation(build_activation(plan, challenge))
    state = device.bootloader.running.state
    assert state.activated is not None
    assert state.activated.serial == plan.serial
    assert state.group_key is None, "the second activation brought no group key"
    assert fake_key("group agreement").private not in active_half(device)


def active_half(device: SimulatedDevice) -> bytes:
    region = device.bootloader.running.journal.active_region
    return device.flash.read(region.address, device.board.state_half_size_bytes)


def test_every_station_may_use_its_own_sub_quota_to_the_last() -> None:
    stations = tuple(sorted(((STATION, 2), (OTHER_STATION, 1))))
    for station, sequence, code in ((STATION, 2, None), (OTHER_STATION, 1, None), (OTHER_STATION, 2, "WRONG_ORDER")):
        plan = replace(PLAN.having(stations=stations), station=station, sequence=sequence)
        device = device_with_keys()
        data = build_activation(plan, device.challenge(HOST.public))
        if code is None:
            device.receive_activation(data)
        else:
            assert refused_with(device, data).name == code


def test_activation_confirms_a_copy_on_trial() -> None:
    device = device_at_work()
    device.application_requests_update()
    device.install(WORLD.bootloader(2, Copy.B))
    running = device.bootloader.running
    assert running.state.boot_trial is not None
    running.journal.append(replace(running.device, lifecycle=Lifecycle.LOCKED))
    challenge = device.challenge(HOST.public)
    assert code_of(device.receive_activation, build_activation(PLAN, bytes(512))) is DeviceCode.WRONG_DEVICE
    assert running.is_confirmed, "its signatures were good"
    device.receive_activation(build_activation(PLAN, challenge))


# --- refused: one deviation, one code ---

ORDER_CASES: dict[str, tuple[dict[str, bytes], DeviceCode]] = {
    "magic": ({"magic": b"SRW2"}, DeviceCode.OBJECT_MAGIC),
    "version": ({"format_version": u16(2)}, DeviceCode.OBJECT_FORMAT),
    "suite": ({"suite": b"\x02"}, DeviceCode.OBJECT_FORMAT),
    "inject flag": ({"inject": b"\x04"}, DeviceCode.OBJECT_RESERVED),
    "protection flag": ({"protection_required": u16(0x20)}, DeviceCode.OBJECT_RESERVED),
    "reserved 87": ({"reserved_87": b"\x01"}, DeviceCode.OBJECT_RESERVED),
    "reserved 544": ({"reserved_544": bytes(31) + b"\x01"}, DeviceCode.OBJECT_RESERVED),
    "group key unused": ({"group_public_key": fake_key("group agreement").public}, DeviceCode.OBJECT_RESERVED),
    "station unused": ({"stations": (STATION + u32(3)).ljust(287, b"\0") + b"\1"}, DeviceCode.OBJECT_RESERVED),
    "order id zero": ({"order_id": bytes(16)}, DeviceCode.OBJECT_FIELD),
    "order id erased": ({"order_id": b"\xff" * 16}, DeviceCode.OBJECT_FIELD),
    "product zero": ({"product_id": bytes(16)}, DeviceCode.OBJECT_FIELD),
    "lot zero": ({"lot": bytes(16)}, DeviceCode.OBJECT_FIELD),
    "lot no text": ({"lot": b"lot\x00x".ljust(16, b"\0")}, DeviceCode.OBJECT_FIELD),
    "quota 0": ({"quota": u32(0)}, DeviceCode.OBJECT_FIELD),
    "quota beyond": ({"quota": u32(10_000_001)}, DeviceCode.OBJECT_FIELD),
    "bundle 0": ({"trust_bundle_version_min": u32(0)}, DeviceCode.OBJECT_FIELD),
    "no time": ({"not_after": bytes(8)}, DeviceCode.OBJECT_FIELD),
    "revisions": ({"hardware_revision_min": u16(4)}, DeviceCode.OBJECT_FIELD),
    "9 stations": ({"station_count": b"\x09"}, DeviceCode.OBJECT_FIELD),
    "no station": ({"station_count": b"\x00", "stations": bytes(288)}, DeviceCode.OBJECT_FIELD),
    "lot key": ({"lot_public_key": bytes(63) + b"\x01"}, DeviceCode.OBJECT_FIELD),
    "issuing ca": ({"issuing_ca": bytes(32)}, DeviceCode.OBJECT_FIELD),
    "sub-quota 0": ({"stations": STATION.ljust(288, b"\0")}, DeviceCode.OBJECT_FIELD),
    "sub-quota beyond": ({"stations": (STATION + u32(4)).ljust(288, b"\0")}, DeviceCode.OBJECT_FIELD),
    "station twice": (
        {"station_count": b"\2", "stations": ((STATION + u32(1)) * 2).ljust(288, b"\0")},
        DeviceCode.OBJECT_FIELD,
    ),
    "signer zero": ({"signer_key_id": bytes(8)}, DeviceCode.OBJECT_FIELD),
    "signer unknown": ({"signer_key_id": fake_key("stranger").key_id}, DeviceCode.SIGNER_UNKNOWN),
    "signer of another role": ({"signer_key_id": fake_key("service").key_id}, DeviceCode.SIGNER_UNKNOWN),
    "another production key signed": (
        {"signature": fake_key("stranger").sign(bytes(32))},
        DeviceCode.SIGNATURE_INVALID,
    ),
    "product": ({"product_id": sha256(b"another")[:16]}, DeviceCode.WRONG_PRODUCT),
    "lot": ({"lot": b"another lot".ljust(16, b"\0")}, DeviceCode.WRONG_LOT),
    "older hardware": ({"hardware_revision_max": u16(1)}, DeviceCode.WRONG_HARDWARE_REVISION),
    "newer hardware": ({"hardware_revision_min": u16(3)}, DeviceCode.WRONG_HARDWARE_REVISION),
    "bundle minimum above": ({"trust_bundle_version_min": u32(2)}, DeviceCode.WRONG_ORDER),
    "protection": ({"protection_required": u16(READOUT_2)}, DeviceCode.PROTECTION_MISSING),
}
ACTIVATION_CASES: dict[str, tuple[dict[str, bytes], DeviceCode]] = {
    "magic": ({"magic": b"SRW1"}, DeviceCode.OBJECT_MAGIC),
    "version": ({"format_version": u16(0)}, DeviceCode.OBJECT_FORMAT),
    "suite": ({"suite": b"\x00"}, DeviceCode.OBJECT_FORMAT),
    "injected flag": ({"injected": b"\x80"}, DeviceCode.OBJECT_RESERVED),
    "group key unused": ({"group_key": bytes(223) + b"\x01"}, DeviceCode.OBJECT_RESERVED),
    "agreement key unused": ({"agreement_key": b"\x01" + bytes(287)}, DeviceCode.OBJECT_RESERVED),
    "reserved": ({"reserved_768": b"\x01" + bytes(31)}, DeviceCode.OBJECT_RESERVED),
    "sequence 0": ({"sequence": u32(0)}, DeviceCode.OBJECT_FIELD),
    "certificate": ({"certificate_digest": bytes(32)}, DeviceCode.OBJECT_FIELD),
    "serial": ({"serial": b"\x07" + bytes(31)}, DeviceCode.OBJECT_FIELD),
    "order": ({"order_digest": sha256(b"another order")}, DeviceCode.WRONG_ORDER),
    "signature": ({"signature": bytes(64)}, DeviceCode.SIGNATURE_INVALID),
    "another lot's key signed": ({"signature": fake_key("production").sign(bytes(32))}, DeviceCode.SIGNATURE_INVALID),
    "uid": ({"uid": bytes(range(12)).ljust(16, b"\0")}, DeviceCode.WRONG_DEVICE),
    "nonce": ({"nonce": sha256(b"another")}, DeviceCode.WRONG_NONCE),
    "identity key": ({"identity_key_digest": sha256(b"another")}, DeviceCode.WRONG_KEYS),
    "agreement key": ({"agreement_key_digest": sha256(b"another")}, DeviceCode.WRONG_KEYS),
    "station": ({"station": OTHER_STATION}, DeviceCode.WRONG_ORDER),
    "beyond the sub-quota": ({"sequence": u32(4)}, DeviceCode.WRONG_ORDER),
    "bundle below the minimum": ({"trust_bundle_version": u32(0)}, DeviceCode.WRONG_ORDER),
    "bundle of tomorrow": ({"trust_bundle_version": u32(2)}, DeviceCode.TRUST_BUNDLE_TOO_OLD),
}


@pytest.mark.parametrize("name", ORDER_CASES)
def test_an_order_with_one_deviation_has_its_code(name: str) -> None:
    changed, code = ORDER_CASES[name]
    assert resigned(order_changed=changed) is code


@pytest.mark.parametrize("name", ACTIVATION_CASES)
def test_an_activation_with_one_deviation_has_its_code(name: str) -> None:
    changed, code = ACTIVATION_CASES[name]
    assert resigned(changed) is code


@pytest.mark.parametrize("inject", [1, 2, 3])
def test_injection_that_the_order_does_not_name_and_the_other_way_round(inject: int) -> None:
    device = device_with_keys()
    challenge = device.challenge(HOST.public)
    asked = build_activation(PLAN.having(inject=inject), challenge)
    order = asked[:ORDER_SIZE]
    bare = {"order_digest": digest_of("SR-order-v1", ORDER_FIELDS, order)}
    without = build_activation(PLAN, challenge, bare)[ORDER_SIZE:]
    assert refused_with(device, order + without) is DeviceCode.WRONG_ORDER


def test_an_order_for_a_group_key_off_the_curve() -> None:
    plan = PLAN.having(inject=1)
    assert resigned(order_changed={"group_public_key": b"\x05" * 64}, plan=plan) is DeviceCode.OBJECT_FIELD


@pytest.mark.parametrize("size", [0, ORDER_SIZE, ACTIVATION_SIZE, 1503, 1505])
def test_another_size(size: int) -> None:
    device = device_with_keys()
    data = build_activation(PLAN, device.challenge(HOST.public))
    assert refused_with(device, (data + bytes(1))[:size]) is DeviceCode.OBJECT_SIZE


@pytest.mark.parametrize(
    ("fields", "base", "signed_bytes"),
    [(ORDER_FIELDS, 0, 576), (ACTIVATION_FIELDS, ORDER_SIZE, 800)],
    ids=["order", "activation"],
)
def test_every_bit_of_every_field_is_covered(fields: Fields, base: int, signed_bytes: int) -> None:
    """Flipped and not signed anew: refused, whatever field it is in, and the right one still works."""
    device = device_with_keys()
    data = build_activation(BOTH_INJECTED, device.challenge(HOST.public))
    seen = set()
    for name, (offset, size) in fields.items():
        for position in range(offset, offset + size):
            changed = bytearray(data)
            changed[base + position] ^= 1 << (position * 5 + len(name)) % 8
            seen.add(code_of(device.receive_activation, bytes(changed)))
    first_byte = base
    for bit in range(8 * 8):
        changed = bytearray(data)
        changed[first_byte + 8 + bit // 8] ^= 1 << bit % 8
        seen.add(code_of(device.receive_activation, bytes(changed)))
    assert DeviceCode.SIGNATURE_INVALID in seen
    assert seen <= {
        *(DeviceCode.OBJECT_MAGIC, DeviceCode.OBJECT_FORMAT, DeviceCode.OBJECT_RESERVED, DeviceCode.OBJECT_FIELD),
        *(DeviceCode.SIGNER_UNKNOWN, DeviceCode.SIGNATURE_INVALID, DeviceCode.WRONG_ORDER),
    }
    assert signed_bytes == fields["signature"][0]
    device.receive_activation(data)


@pytest.mark.campaign
def test_every_single_bit_of_order_and_activation() -> None:
    device = device_with_keys()
    data = build_activation(BOTH_INJECTED, device.challenge(HOST.public))
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        code = code_of(device.receive_activation, bytes(changed))
        assert code not in (DeviceCode.WRONG_NONCE, DeviceCode.KEY_INJECTION), "a change got past the signatures"
    device.receive_activation(data)


# --- refused: who, when, where ---


def test_revoked_keys_activate_nothing() -> None:
    for key, name in ((fake_key("production"), "production"), (fake_key("lot"), "lot")):
        device = device_with_keys()
        genesis = first_link()
        left = [entry for entry in genesis.plan.role_keys if entry[1] != key.public]
        device.receive_trust_bundle(next_link(genesis, role_keys=left, revoked=[(key.key_id, 0)]).file)
        data = build_activation(PLAN, device.challenge(HOST.public))
        assert refused_with(device, data) is DeviceCode.SIGNER_REVOKED, name


def test_each_challenge_is_answered_once_and_only_the_last() -> None:
    device = device_with_keys()
    first = build_activation(PLAN, device.challenge(HOST.public))
    second = build_activation(PLAN, device.challenge(HOST.public), {"sequence": u32(4)})
    good = build_activation(PLAN, device.challenge(HOST.public))
    assert refused_with(device, first) is DeviceCode.WRONG_NONCE
    assert refused_with(device, second) is DeviceCode.WRONG_NONCE
    device.power_on()
    assert refused_with(device, good) is DeviceCode.WRONG_NONCE, "a reset forgets the nonce"
    challenge = device.challenge(HOST.public)
    bad = build_activation(PLAN, challenge, {"sequence": u32(4)})
    assert refused_with(device, bad) is DeviceCode.WRONG_ORDER
    assert refused_with(device, build_activation(PLAN, challenge)) is DeviceCode.WRONG_NONCE, "it was used up"
    device.receive_activation(build_activation(PLAN, device.challenge(HOST.public)))


def test_what_is_not_authentic_uses_no_nonce_up() -> None:
    device = device_with_keys()
    challenge = device.challenge(HOST.public)
    forged = build_activation(PLAN.having(signer=fake_key("stranger")), challenge)
    assert refused_with(device, forged) is DeviceCode.SIGNER_UNKNOWN
    device.receive_activation(build_activation(PLAN, challenge))


def test_a_cloned_flash_on_another_uid_refuses_the_activation_of_the_first() -> None:
    device = device_with_keys()
    data = build_activation(PLAN, device.challenge(HOST.public))
    clone = SimulatedDevice(device.board, bytes(range(12)), device.flash, device.platform)
    clone.power_on()
    clone.challenge(HOST.public)
    assert refused_with(clone, data) is DeviceCode.WRONG_DEVICE


def test_only_a_locked_device_with_keys_is_activated() -> None:
    device = locked_device()
    data = build_activation(PLAN, device_with_keys().challenge(HOST.public))
    assert refused_with(device, data) is DeviceCode.NO_KEYS
    activate(device)
    assert refused_with(device, data) is DeviceCode.LIFECYCLE
    for action in (REPAIR, DECOMMISSION):
        serve_and_reset(device, ServicePlan(action=action))
        assert refused_with(device, data) is DeviceCode.LIFECYCLE
    assert code_of(without_state(device).receive_activation, data) is DeviceCode.NO_STATE
    assert code_of(device_at_work().receive_activation, data) is DeviceCode.NOT_IN_UPDATE_MODE


def test_protection_that_is_taken_away_after_the_keys_were_made() -> None:
    device = device_with_keys()
    device.set_option_bytes(OptionBytes(readout_level=1, write_protect=False, brown_out=True))
    device.power_on()
    assert refused_with(device, build_activation(PLAN, device.challenge(HOST.public))) is DeviceCode.PROTECTION_MISSING
    device.set_option_bytes(PROTECTED)
    device.power_on()
    activate(device, PLAN.having(protection_required=BROWN_OUT))


def test_a_full_journal_is_compacted_first() -> None:
    device = device_with_keys()
    journal = device.bootloader.running.journal
    while not journal.is_compaction_due:
        device.bootloader.running.events.record(EventKind.START, DeviceCode.STOPPED)
    before = journal.half_sequence
    activate(device, BOTH_INJECTED)
    assert journal.half_sequence == before + 1


# --- checks come in their order ---

# Pairs (changed in the order, changed in the activation), each with a later fault that must not be the one reported.
Change = dict[str, bytes]
ORDERED: list[tuple[DeviceCode, Change, Change]] = [
    (DeviceCode.OBJECT_MAGIC, {"magic": b"XXXX", "suite": b"\x09"}, {"magic": b"YYYY"}),
    (DeviceCode.OBJECT_FORMAT, {"suite": b"\x09", "reserved_87": b"\x01"}, {"magic": b"YYYY"}),
    (DeviceCode.OBJECT_RESERVED, {"reserved_87": b"\x01", "quota": bytes(4)}, {"magic": b"YYYY"}),
    (DeviceCode.OBJECT_FIELD, {"quota": bytes(4)}, {"magic": b"YYYY"}),
    (DeviceCode.OBJECT_MAGIC, {"signer_key_id": b"unknown!"}, {"magic": b"YYYY"}),
    (DeviceCode.SIGNER_UNKNOWN, {"signer_key_id": b"unknown!"}, {"order_digest": bytes(32)}),
    (DeviceCode.WRONG_ORDER, {"product_id": b"p" * 16}, {"order_digest": bytes(32), "signature": bytes(64)}),
    (DeviceCode.SIGNATURE_INVALID, {"product_id": b"p" * 16}, {"signature": bytes(64)}),
    (DeviceCode.WRONG_PRODUCT, {"product_id": b"p" * 16, "lot": b"l" * 16}, {"uid": bytes(16)}),
    (DeviceCode.WRONG_LOT, {"lot": b"l" * 16, "hardware_revision_min": u16(3)}, {"uid": bytes(16)}),
    (DeviceCode.WRONG_HARDWARE_REVISION, {"hardware_revision_min": u16(3)}, {"uid": bytes(16)}),
    (DeviceCode.WRONG_DEVICE, {}, {"uid": bytes(16), "nonce": bytes(32)}),
    (DeviceCode.WRONG_NONCE, {}, {"nonce": bytes(32), "identity_key_digest": bytes(32)}),
    (DeviceCode.WRONG_KEYS, {}, {"identity_key_digest": bytes(32), "station": bytes(32)}),
    (DeviceCode.WRONG_ORDER, {"protection_required": u16(2)}, {"sequence": u32(9), "trust_bundle_version": u32(9)}),
    (DeviceCode.TRUST_BUNDLE_TOO_OLD, {"protection_required": u16(2)}, {"trust_bundle_version": u32(9)}),
]


@pytest.mark.parametrize(("code", "order_changed", "changed"), ORDERED)
def test_the_first_failing_check_gives_the_code(code: DeviceCode, order_changed: Change, changed: Change) -> None:
    assert resigned(changed, order_changed) is code


def test_protection_comes_before_the_injected_keys() -> None:
    plan = BOTH_INJECTED.having(protection_required=READOUT_2)
    assert resigned({"group_key": b"\x01" * 64 + u16(24) + bytes(158)}, plan=plan) is DeviceCode.PROTECTION_MISSING


def test_no_private_key_stands_outside_the_journal_or_in_an_answer() -> None:
    device = device_with_keys()
    receipt = activate(device, BOTH_INJECTED)
    state = device.bootloader.running.state
    assert state.keys is not None
    assert state.group_key is not None
    secrets = (state.keys.identity_private, state.keys.agreement_private, state.group_key.agreement_private)
    journal = device.board.state_0.address - device.board.flash_address
    flash = flash_of(device)
    outside = flash[:journal] + flash[device.board.state_1.end_address - device.board.flash_address :]
    for secret in secrets:
        assert secret in flash
        assert secret not in outside
        assert secret not in receipt
        assert secret not in device.challenge(HOST.public)
        assert secret.hex() not in repr((state, device.bootloader.running.device))


def test_an_order_names_its_group_key_by_what_it_injects() -> None:
    assert OrderPlan().inject == 0
    assert BOTH_INJECTED.order.inject == 3
