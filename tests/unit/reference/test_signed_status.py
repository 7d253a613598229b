"""The signed status (docs/spec/signed-status.md): every field where it belongs, signed over the asker's nonce."""

from __future__ import annotations

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.simulation.device import ApplicationRuns, SimulatedDevice
from tests.scenarios.life import (
    BOTH_INJECTED,
    HOST,
    WORLD,
    code_of,
    device_at_work,
    locked_device,
    serve,
    serve_and_reset,
    without_state,
)
from tests.unit.reference.builders import PRODUCT_ID, padded, sha256, u16, u32
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.life_builders import Fields, ServicePlan, part, verifies, written

NONCE = sha256(b"a host's nonce")
SIGNED_BYTES = 512
NO_CODE = u16(0)

# offset, size, of docs/spec/signed-status.md
STATUS_FIELDS: Fields = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "runs": (7, 1),
    "uid": (8, 16),
    "nonce": (24, 32),
    "product_id": (56, 16),
    "hardware_revision": (72, 2),
    "lifecycle": (74, 1),
    "flags": (75, 1),
    "lot": (76, 16),
    "protection": (92, 2),
    "running_copy": (94, 1),
    "copies": (95, 1),
    "bootloader_version_a": (96, 8),
    "bootloader_version_b": (104, 8),
    "bootloader_security_version_a": (112, 4),
    "bootloader_security_version_b": (116, 4),
    "installed_type": (120, 1),
    "application_state": (121, 1),
    "application_attempts": (122, 1),
    "application_version": (124, 8),
    "application_security_version": (132, 4),
    "application_head_hash": (136, 32),
    "application_upload_hash": (168, 32),
    "floors": (200, 12),
    "trust_bundle_version": (212, 4),
    "trust_bundle_digest": (216, 32),
    "order_id": (248, 16),
    "activation_digest": (264, 32),
    "certificate_digest": (296, 32),
    "grant_head_hash": (328, 32),
    "update_mode_code": (360, 2),
    "event_count": (364, 4),
    "journal_free_bytes": (368, 4),
    "upload_offset_bytes": (372, 4),
    "upload_size_bytes": (376, 4),
    "serial": (380, 32),
    "board": (412, 32),
    "identity_key_id": (444, 8),
    "agreement_key_id": (452, 8),
    "group_key_id": (460, 8),
    "signature": (512, 64),
}
V1 = bytes.fromhex("0100000000000000")


def field_of(status: bytes, name: str) -> bytes:
    return part(STATUS_FIELDS, status, name)


def is_signed_by(status: bytes, identity: bytes) -> bool:
    return verifies(identity, sha256(padded("SR-status-v1"), status[:SIGNED_BYTES]), field_of(status, "signature"))


def identity_of(device: SimulatedDevice) -> bytes:
    point = device.status().identity_public_key
    assert point is not None
    return point


def expected_at_work(device: SimulatedDevice, **other: bytes) -> dict[str, bytes]:
    package = WORLD.application(1)
    state = device.bootloader.running.state
    assert state.activated is not None
    return {
        "magic": b"SRS1",
        "format_version": u16(1),
        "suite": b"\x01",
        "uid": WORLD.padded_uid,
        "nonce": NONCE,
        "product_id": PRODUCT_ID,
        "hardware_revision": u16(2),
        "lifecycle": b"\xa5",
        "lot": b"fake lot 2026-11",
        "protection": u16(0x1D),
        "copies": b"\x07",
        "bootloader_version_a": V1,
        "bootloader_version_b": V1,
        "bootloader_security_version_a": u32(1),
        "bootloader_security_version_b": u32(1),
        "installed_type": b"\x01",
        "application_state": b"\x02",
        "application_version": V1,
        "application_security_version": u32(1),
        "application_head_hash": sha256(package[:1024]),
        "application_upload_hash": sha256(package),
        "floors": u32(1) + u32(1) + u32(0),
        "trust_bundle_version": u32(1),
        "trust_bundle_digest": sha256(padded("SR-bundle-v1"), WORLD.genesis[:1599]),
        "order_id": BOTH_INJECTED.order.order_id,
        "activation_digest": state.activated.activation_digest,
        "certificate_digest": BOTH_INJECTED.certificate_digest,
        "event_count": u32(state.events[-1].count),
        "journal_free_bytes": u32(device.status().journal_free_bytes),
        "serial": BOTH_INJECTED.serial,
        "board": b"stm32f405-core".ljust(32, b"\0"),
        "identity_key_id": sha256(_key_info(identity_of(device)))[:8],
        "agreement_key_id": fake_key("device agreement").key_id,
        "group_key_id": fake_key("group agreement").key_id,
        **other,
    }


def _key_info(point: bytes) -> bytes:
    return bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + point


def test_every_byte_from_the_application() -> None:
    device = device_at_work()
    device.power_on()
    status = device.signed_status(NONCE)
    signature = field_of(status, "signature")
    expected = expected_at_work(device, runs=b"\x02", update_mode_code=NO_CODE, signature=signature)
    assert status == written(STATUS_FIELDS, expected)
    assert is_signed_by(status, identity_of(device))


def test_every_byte_in_update_mode() -> None:
    device = device_at_work()
    device.application_requests_update()
    device.bootloader.begin_upload(5000)
    device.bootloader.write(0, WORLD.application(2)[:700])
    status = device.signed_status(NONCE)
    under_way = {"upload_offset_bytes": u32(700), "upload_size_bytes": u32(5000)}
    why = {"runs": b"\x01", "update_mode_code": u16(707), "signature": field_of(status, "signature")}
    assert status == written(STATUS_FIELDS, expected_at_work(device, **under_way, **why))
    assert is_signed_by(status, identity_of(device))


def test_another_nonce_another_signature_and_every_bit_is_covered() -> None:
    device = device_at_work()
    status, other = device.signed_status(NONCE), device.signed_status(bytes(32))
    identity = identity_of(device)
    assert field_of(status, "signature") != field_of(other, "signature")
    for position in range(576):
        changed = bytearray(status)
        changed[position] ^= 1 << position % 8
        assert not is_signed_by(bytes(changed), identity)


def test_a_nonce_has_32_bytes() -> None:
    for nonce in (b"", bytes(31), bytes(33)):
        assert code_of(device_at_work().signed_status, nonce) is DeviceCode.OBJECT_SIZE
        assert code_of(locked_device().signed_status, nonce) is DeviceCode.OBJECT_SIZE


def test_a_device_without_keys_signs_nothing() -> None:
    device = locked_device()
    status = device.signed_status(NONCE)
    assert field_of(status, "lifecycle") == b"\x3c"
    assert not any(status[444:576])
    device.challenge(HOST.public)
    assert is_signed_by(device.signed_status(NONCE), identity_of(device))


def test_on_trial_and_by_a_simulation() -> None:
    device = WORLD.device_with(1, confirmed=False)
    status = device.signed_status(NONCE)
    assert (field_of(status, "application_state"), field_of(status, "application_attempts")) == (b"\x01", b"\x01")
    assert field_of(status, "flags") == b"\x01"
    assert is_signed_by(status, fake_key("device identity").public)


def test_a_new_copy_on_trial() -> None:
    device = device_at_work()
    device.application_requests_update()
    device.install(WORLD.bootloader(2, Copy.B))
    status = device.signed_status(NONCE)
    assert (field_of(status, "running_copy"), field_of(status, "copies")) == (b"\x01", b"\x07")
    assert field_of(status, "bootloader_version_b") == bytes.fromhex("0200000000000000")
    assert isinstance(device.power_on(), ApplicationRuns)
    status = device.signed_status(NONCE)
    assert (field_of(status, "runs"), field_of(status, "running_copy")) == (b"\x02", b"\x01")
    assert field_of(status, "copies") == b"\x07", "the application runs on a copy that nobody has confirmed"
    device.application_requests_update()
    device.receive_trust_bundle(WORLD.genesis)
    assert field_of(device.signed_status(NONCE), "copies") == b"\x0b"
    assert isinstance(device.power_on(), ApplicationRuns)
    assert field_of(device.signed_status(NONCE), "running_copy") == b"\x01"


def test_while_a_service_order_is_pending_and_after_it() -> None:
    device = device_at_work()
    device.application_requests_update()
    identity = identity_of(device)
    serve(device, ServicePlan())
    status = device.signed_status(NONCE)
    assert field_of(status, "flags") == b"\x02"
    assert is_signed_by(status, identity)
    device.power_on()
    status = device.signed_status(NONCE)
    assert (field_of(status, "lifecycle"), field_of(status, "flags")) == (b"\x66", b"\x00")
    assert not any(field_of(status, "signature"))
    assert not any(field_of(status, "activation_digest"))


def test_without_a_readable_state() -> None:
    status = without_state(device_at_work()).signed_status(NONCE)
    expected = {
        "magic": b"SRS1",
        "format_version": u16(1),
        "suite": b"\x01",
        "runs": b"\x01",
        "uid": WORLD.padded_uid,
        "nonce": NONCE,
        "protection": u16(0x1D),
        "copies": b"\x03",
        "bootloader_version_a": V1,
        "bootloader_version_b": V1,
        "bootloader_security_version_a": u32(1),
        "bootloader_security_version_b": u32(1),
        "update_mode_code": u16(501),
        "board": b"stm32f405-core".ljust(32, b"\0"),
    }
    assert status == written(STATUS_FIELDS, expected)


def test_a_status_tells_no_secret_and_writes_nothing() -> None:
    device = device_at_work()
    before = device.flash.operation_count
    status = device.signed_status(NONCE)
    assert device.flash.operation_count == before
    keys = device.bootloader.running.state.keys
    assert keys is not None
    for secret in (keys.identity_private, keys.agreement_private, fake_key("group agreement").private):
        assert secret not in status
    image = WORLD.application_plan(1).image
    assert sha256(image) not in status


def test_after_a_decommissioning_nobody_signs() -> None:
    device = device_at_work()
    device.application_requests_update()
    serve_and_reset(device, ServicePlan(action=2))
    status = device.signed_status(NONCE)
    assert field_of(status, "lifecycle") == b"\x99"
    assert not any(field_of(status, "signature"))
