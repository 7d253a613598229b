"""The challenge (docs/spec/activation.md, section 1): keys are made once, protected, and proved fresh each time."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import P256_ORDER
from bootloader.reference.platform import BarePlatform, Protection
from bootloader.reference.records import EventKind
from bootloader.simulation.device import InUpdateMode, SimulatedDevice
from bootloader.simulation.platform import OptionBytes, SimulatedPlatform
from tests.scenarios.life import (
    HOST,
    PROTECTED,
    WORLD,
    activate,
    activated_device,
    code_of,
    device_with_keys,
    flash_of,
    locked_device,
    nonce_of,
    serve_and_reset,
    without_state,
)
from tests.unit.reference.builders import PRODUCT_ID, build_package, factory_test_plan, sha256, u16, u32
from tests.unit.reference.life_builders import (
    ACTIVATION_FIELDS,
    CHALLENGE_FIELDS,
    DECOMMISSION,
    REPAIR,
    OrderPlan,
    ServicePlan,
    challenge_is_genuine,
    part,
    written,
)

N = P256_ORDER.to_bytes(32, "big")


class ScriptedPlatform:
    """Draws what it is told to, and then fails; fully protected."""

    protection = PROTECTED.protection

    def __init__(self, *drawn: bytes) -> None:
        self.left = list(drawn)

    def random_bytes(self, size_bytes: int) -> bytes:
        if not self.left:
            raise Refused(DeviceCode.RANDOM_FAILED, "nothing is left")
        drawn = self.left.pop(0)
        assert len(drawn) == size_bytes
        return drawn


def scripted_device(*drawn: bytes) -> SimulatedDevice:
    device = locked_device()
    device.platform = cast("SimulatedPlatform", ScriptedPlatform(*drawn))
    device.power_on()
    return device


def on_demanding_board(option_bytes: OptionBytes) -> SimulatedDevice:
    board = replace(WORLD.board, protection_required=Protection.READOUT | Protection.BROWN_OUT)
    device = SimulatedDevice.from_factory_image(board, WORLD.uid, WORLD.factory_blocks)
    device.set_option_bytes(option_bytes)
    device.power_on()
    return device


def test_every_byte_of_a_challenge() -> None:
    identity, agreement, nonce = (sha256(b"drawn %d" % number) for number in range(3))
    device = scripted_device(identity, agreement, nonce)
    challenge = device.challenge(HOST.public)
    keys = device.bootloader.running.state.keys
    assert keys is not None
    assert (keys.identity_private, keys.agreement_private) == (identity, agreement)
    values = {
        "magic": b"SRC1",
        "format_version": u16(1),
        "suite": b"\x01",
        "lifecycle": b"\x3c",
        "uid": WORLD.padded_uid,
        "product_id": PRODUCT_ID,
        "lot": b"fake lot 2026-11",
        "hardware_revision": u16(2),
        "protection": u16(0x1D),
        "trust_bundle_version": u32(1),
        "nonce": nonce,
        "host_ephemeral": HOST.public,
        "trust_bundle_digest": sha256(b"SR-bundle-v1".ljust(16, b"\0"), WORLD.genesis[:1599]),
    }
    made = {"identity_public_key", "agreement_public_key", "agreement_proof", "signature"}
    values |= {name: part(CHALLENGE_FIELDS, challenge, name) for name in made}
    assert challenge == written(CHALLENGE_FIELDS, values)
    assert challenge_is_genuine(challenge, HOST)


def test_keys_are_made_once_and_kept_over_resets() -> None:
    device = locked_device()
    assert device.bootloader.running.state.keys is None
    first = device.challenge(HOST.public)
    assert challenge_is_genuine(first, HOST)
    keys = device.bootloader.running.state.keys
    device.power_on()
    second = device.challenge(HOST.public)
    assert device.bootloader.running.state.keys == keys
    assert first[160:288] == second[160:288]
    assert nonce_of(first) != nonce_of(second)
    assert challenge_is_genuine(second, HOST)


def test_a_change_anywhere_is_noticed_by_the_host() -> None:
    challenge = device_with_keys().challenge(HOST.public)
    for offset in range(0, 512, 3):
        changed = bytearray(challenge)
        changed[offset] ^= 0x10
        assert not challenge_is_genuine(bytes(changed), HOST), offset


def test_two_devices_draw_different_keys() -> None:
    one = locked_device().challenge(HOST.public)
    other = locked_device(replace(WORLD, uid=bytes(range(12)))).challenge(HOST.public)
    assert one[160:224] != other[160:224]
    assert nonce_of(one) != nonce_of(other)


@pytest.mark.parametrize(
    "missing",
    [
        OptionBytes(),
        OptionBytes(readout_level=1),
        OptionBytes(brown_out=True, write_protect=True, debug_closed=True),
    ],
)
def test_no_keys_where_the_board_demands_more_protection_than_is_set(missing: OptionBytes) -> None:
    device = on_demanding_board(missing)
    before = device.flash.operation_count
    challenge = device.challenge(HOST.public)
    assert not any(challenge[160:320])
    assert not any(challenge[448:])
    assert part(CHALLENGE_FIELDS, challenge, "uid") == WORLD.padded_uid
    assert device.flash.operation_count == before
    assert device.bootloader.running.state.keys is None


def test_keys_once_what_the_board_demands_is_set() -> None:
    device = on_demanding_board(OptionBytes(readout_level=2, brown_out=True))
    challenge = device.challenge(HOST.public)
    assert challenge_is_genuine(challenge, HOST)
    assert part(CHALLENGE_FIELDS, challenge, "protection") == u16(0x0B)


def test_option_bytes_leaving_level_1_erase_everything_and_level_2_is_for_life() -> None:
    device = device_with_keys()
    device.set_option_bytes(OptionBytes(readout_level=0))
    assert flash_of(device).strip(b"\xff") == b""
    device = locked_device(option_bytes=OptionBytes(readout_level=2))
    with pytest.raises(ValueError, match="for life"):
        device.set_option_bytes(OptionBytes(readout_level=1))


@pytest.mark.parametrize(
    "point",
    [
        b"",
        HOST.public[:-1],
        HOST.public + b"\0",
        bytes(64),
        b"\x01" * 64,
        HOST.public[:63] + b"\0",
    ],
)
def test_a_point_that_is_none_is_refused_before_anything_is_drawn(point: bytes) -> None:
    device = scripted_device(*(sha256(b"drawn %d" % number) for number in range(3)))
    assert code_of(device.challenge, point) is DeviceCode.EPHEMERAL_KEY
    assert device.bootloader.running.state.keys is None
    assert challenge_is_genuine(device.challenge(HOST.public), HOST)


@pytest.mark.parametrize("working_draws", range(3))
def test_a_failing_generator_makes_nothing(working_draws: int) -> None:
    device = scripted_device(*(sha256(b"drawn %d" % number) for number in range(working_draws)))
    before = device.bootloader.running.state
    assert code_of(device.challenge, HOST.public) is DeviceCode.RANDOM_FAILED
    assert device.bootloader.running.state.keys is None
    assert device.bootloader.running.state.events[-1].code == DeviceCode.RANDOM_FAILED
    assert replace(device.bootloader.running.state, events=before.events) == before


def test_a_scalar_that_is_none_is_drawn_again_but_not_for_ever() -> None:
    good = [sha256(b"drawn %d" % number) for number in range(3)]
    device = scripted_device(*[bytes(32), N] * 3, b"\xff" * 32, *good)
    device.challenge(HOST.public)
    keys = device.bootloader.running.state.keys
    assert keys is not None
    assert keys.identity_private == good[0]
    device = scripted_device(*[N] * 8, *good)
    assert code_of(device.challenge, HOST.public) is DeviceCode.RANDOM_FAILED


def test_a_generator_that_repeats_itself_makes_no_keys() -> None:
    device = scripted_device(sha256(b"drawn"), sha256(b"drawn"), bytes(32))
    assert code_of(device.challenge, HOST.public) is DeviceCode.RANDOM_FAILED
    assert device.bootloader.running.state.keys is None


def test_a_bootloader_without_a_platform_makes_no_keys_and_reports_no_protection() -> None:
    assert BarePlatform().protection == Protection.NONE
    assert code_of(BarePlatform().random_bytes, 32) is DeviceCode.RANDOM_FAILED


def test_an_activated_device_names_its_activation() -> None:
    device = locked_device()
    assert not any(device.challenge(HOST.public)[352:400])
    receipt = activate(device)
    challenge = device.challenge(HOST.public)
    assert part(CHALLENGE_FIELDS, challenge, "lifecycle") == b"\xa5"
    assert part(CHALLENGE_FIELDS, challenge, "order_id") == OrderPlan().order_id
    assert part(CHALLENGE_FIELDS, challenge, "activation_digest") == receipt[56:88]


def test_flags_tell_of_a_factory_test_and_of_a_simulation() -> None:
    device = locked_device()
    plan = factory_test_plan(load_address=WORLD.board.application.address + 1024, device_uid=WORLD.padded_uid)
    device.install(build_package(plan))
    device.entry_pin_is_active = True
    device.power_on()
    assert part(CHALLENGE_FIELDS, device.challenge(HOST.public), "flags") == b"\x02"
    simulated = WORLD.device()
    simulated.power_on()
    assert part(CHALLENGE_FIELDS, simulated.challenge(HOST.public), "flags") == b"\x01"


def test_answered_in_rma_and_decommissioned_without_making_keys() -> None:
    for action, lifecycle in ((REPAIR, b"\x66"), (DECOMMISSION, b"\x99")):
        device = activated_device()
        serve_and_reset(device, ServicePlan(action=action))
        challenge = device.challenge(HOST.public)
        assert part(CHALLENGE_FIELDS, challenge, "lifecycle") == lifecycle
        assert not any(challenge[160:320])
        assert not any(challenge[448:])


def test_without_a_readable_state_it_says_uid_nonce_and_protection_only() -> None:
    device = without_state(device_with_keys())
    challenge = device.challenge(HOST.public)
    values = {
        "magic": b"SRC1",
        "format_version": u16(1),
        "suite": b"\x01",
        "uid": WORLD.padded_uid,
        "protection": u16(0x1D),
        "nonce": nonce_of(challenge),
        "host_ephemeral": HOST.public,
    }
    assert challenge == written(CHALLENGE_FIELDS, values)
    assert code_of(device.challenge, bytes(64)) is DeviceCode.EPHEMERAL_KEY


def test_not_while_an_application_runs() -> None:
    device = WORLD.device_with(1)
    assert code_of(device.challenge, HOST.public) is DeviceCode.NOT_IN_UPDATE_MODE


def test_an_endless_asker_wears_nothing_out() -> None:
    device = device_with_keys()
    before = device.flash.operation_count
    for _ in range(50):
        device.challenge(HOST.public)
    assert device.flash.operation_count == before
    for _ in range(50):
        code_of(device.challenge, bytes(64))
    refusals = [event for event in device.bootloader.running.state.events if event.kind == EventKind.REFUSAL]
    assert len(refusals) == 1


def test_the_layout_of_these_tests_has_no_gaps() -> None:
    for fields, size in ((CHALLENGE_FIELDS, 512), (ACTIVATION_FIELDS, 864)):
        ends = [offset + length for offset, length in fields.values()]
        assert [0, *ends[:-1]] == [offset for offset, _ in fields.values()]
        assert ends[-1] == size


def test_a_locked_device_listens_because_it_has_nothing_to_run() -> None:
    assert locked_device().running == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
