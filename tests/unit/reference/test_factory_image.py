"""The factory image: its bytes, by hand, and everything that makes it be refused."""

from __future__ import annotations

from typing import Any

import pytest

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from bootloader.reference.factory_image import CopyImage, FactoryImageInvalid, build_factory_image
from bootloader.reference.journal_half import read_half
from bootloader.reference.records import BootConfirmed, Device, Lifecycle, TrustBundleInForce
from bootloader.reference.state import DeviceState
from bootloader.simulation.device import InUpdateMode, SimulatedDevice
from tests.scenarios.world import HARDWARE_REVISION, LOT, World
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key
from tests.unit.reference.test_journal import by_hand, by_hand_header

WORLD = World()
BOARD = WORLD.board
KEYS = WORLD.built_in_keys
RELEASE = builders.bootloader_release_keys()


def copy_of(copy: Copy, **other: Any) -> CopyImage:
    plan = WORLD.bootloader_plan(1, copy, **other)
    return CopyImage(builders.build_head(plan), plan.image)


A, B = copy_of(Copy.A), copy_of(Copy.B)


def build(**other: Any) -> list[tuple[int, bytes]]:
    parts: dict[str, Any] = {
        "board": BOARD,
        "pre_bootloader": b"",
        "built_in_keys": KEYS,
        "copies": (A, B),
        "hardware_revision": HARDWARE_REVISION,
        "lot": LOT,
    }
    return build_factory_image(**{**parts, **other})


def test_blocks_by_hand() -> None:
    product = builders.PRODUCT_ID
    device = product + b"\x02\x00" + b"\x3c" + b"\x00" + LOT
    confirmed = b"\0" * 4 + builders.sha256(A.head)
    state = by_hand_header(1) + by_hand(1, 1, device, 16)
    state += by_hand(4, 2, WORLD.genesis, len(state))
    state += by_hand(10, 3, confirmed, len(state))
    state += by_hand(13, 3, b"", len(state))
    program = b"\x00\x20" * 100
    assert build(pre_bootloader=program) == [
        (0x08000000, program.ljust(3904, b"\xff") + b"".join(sorted(KEYS))),
        (0x08004000, A.head + A.image),
        (0x08008000, B.head + B.image),
        (0x0800C000, state),
    ]


def test_keys_in_any_order_stand_in_ascending_order() -> None:
    assert build(built_in_keys=KEYS[::-1]) == build()


def test_a_pre_bootloader_may_fill_its_place() -> None:
    assert build(pre_bootloader=bytes(3904))[0][1][:3904] == bytes(3904)


def test_the_device_that_is_flashed_with_it_is_locked_and_sealed() -> None:
    device = SimulatedDevice.from_factory_image(BOARD, WORLD.uid, build())
    device.flash.power_on()
    read = read_half(device.flash.read(BOARD.state_0.address, BOARD.state_half_size_bytes))
    assert read is not None
    assert read.is_settled
    assert read.state == DeviceState(
        device=Device(builders.PRODUCT_ID, HARDWARE_REVISION, Lifecycle.LOCKED, 0, LOT),
        trust_bundle=TrustBundleInForce(WORLD.genesis),
        boot_confirmed=BootConfirmed(Copy.A, builders.sha256(A.head)),
    )
    assert device.power_on() == InUpdateMode(DeviceCode.NO_APPLICATION, Copy.A)
    assert device.bootloader.running.is_confirmed
    assert device.status().floors.bootloader == 1


def other_genesis(**plan: Any) -> tuple[CopyImage, CopyImage]:
    """Copies that carry another genesis bundle."""
    bundle = builders.build_bundle(builders.BundlePlan(**plan))
    image = bytes(100) + bundle
    return copy_of(Copy.A, image=image), copy_of(Copy.B, image=image)


STRANGERS = tuple(sorted((RELEASE[0], fake_key("stranger")), key=lambda key: key.key_id))
OTHER_RELEASE_KEY = (*(entry for entry in builders.default_role_keys() if entry[0] != 5), (5, b"\x01" * 64))

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "pre-bootloader too large": ({"pre_bootloader": bytes(3905)}, "3,905 bytes; at most 3,904 fit"),
    "two keys": ({"built_in_keys": KEYS[:2]}, "three different"),
    "a key twice": ({"built_in_keys": (KEYS[0], KEYS[0], KEYS[1])}, "three different"),
    "a short key": ({"built_in_keys": (KEYS[0], KEYS[1], b"\x04")}, "64 bytes"),
    "lot": ({"lot": b"short"}, "a lot has 16 bytes, not 5"),
    "hardware revision": ({"hardware_revision": 65536}, "0 to 65,535"),
    "copies swapped": ({"copies": (B, A)}, "bootloader A: WRONG_LOAD_ADDRESS"),
    "an image byte": ({"copies": (CopyImage(A.head, b"\1" + A.image[1:]), B)}, "bootloader A: IMAGE_DIGEST"),
    "an image byte more": ({"copies": (A, CopyImage(B.head, B.image + b"\0"))}, "bootloader B: IMAGE_DIGEST"),
    "a short head": ({"copies": (CopyImage(A.head[:-1], A.image), B)}, "bootloader A: HEAD_TRUNCATED"),
    "a head byte": ({"copies": (CopyImage(b"\0" + A.head[1:], A.image), B)}, "bootloader A: MCUBOOT_HEADER"),
    "prepared, not signed": (
        {"copies": (CopyImage(builders.with_fields(A.head, {"signature_1": bytes(64)}), A.image), B)},
        "bootloader A: SIGNATURE_INVALID",
    ),
    "a stranger's signature": ({"copies": (copy_of(Copy.A, signers=STRANGERS), B)}, "bootloader A: SIGNER_UNKNOWN"),
    "keys of others": (
        {"built_in_keys": tuple(fake_key(f"stranger {number}").public for number in range(3))},
        "bootloader A: SIGNER_UNKNOWN",
    ),
    "for one device": (
        {"copies": (copy_of(Copy.A, target=builders.ONE_UID), B)},
        "bootloader A: SIGNATURE_INVALID",
    ),
    "too large": ({"copies": (copy_of(Copy.A, image=bytes(16384)), B)}, "bootloader A: IMAGE_TOO_LARGE"),
    "another genesis in B": ({"copies": (A, other_genesis(threshold=3)[1])}, "do not carry the same genesis"),
    "no genesis": (
        {"copies": (copy_of(Copy.A, image=bytes(4000)), copy_of(Copy.B, image=bytes(4000)))},
        "genesis bundle: BUNDLE_MAGIC",
    ),
    "an image smaller than a bundle": (
        {"copies": (copy_of(Copy.A, image=bytes(4)), copy_of(Copy.B, image=bytes(4)))},
        "genesis bundle: BUNDLE_SIZE",
    ),
    "too few signatures": (
        {"copies": other_genesis(signers=((1, 0, builders.root_keys()[0]),))},
        "genesis bundle: BUNDLE_SIGNATURES",
    ),
    "a later bundle": (
        {"copies": other_genesis(version=2, previous_digest=b"\1" * 32)},
        "genesis bundle: BUNDLE_GENESIS",
    ),
    "another product": ({"copies": other_genesis(product_id=b"\x33" * 16)}, "for another product"),
    "a product of erased bytes": (
        {
            "copies": tuple(
                copy_of(
                    copy,
                    product_id=b"\xff" * 16,
                    image=bytes(9) + builders.build_bundle(builders.BundlePlan(product_id=b"\xff" * 16)),
                )
                for copy in Copy
            )
        },
        "cannot be journalled",
    ),
    "a release key that is not built in": ({"copies": other_genesis(role_keys=OTHER_RELEASE_KEY)}, "not built in"),
    "outside the limits": (
        {"copies": other_genesis(limits=(0, 9, 2, 9, 0, 9))},
        "bootloader A: security version 1 is out of bounds",
    ),
}


@pytest.mark.parametrize(("other", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_one_line(other: dict[str, Any], said: str) -> None:
    with pytest.raises(FactoryImageInvalid) as refused:
        build(**other)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
