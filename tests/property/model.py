"""What a device must be, told beside it: which images were authorised, how high its floors stand, what runs on it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from bootloader.reference.board import Copy
from bootloader.reference.codes import DeviceCode
from tests.scenarios.world import World
from tests.unit.reference import builders
from tests.unit.reference.fake.keys import fake_key

WORLD = World(application_size_bytes=160)
OTHER_DEVICE = replace(WORLD, uid=bytes(range(1, 13)))
HEAD_SIZE_BYTES = 1024
VERSIONS = range(1, 6)
STRANGERS = tuple(sorted((fake_key("a stranger"), fake_key("another stranger")), key=lambda key: key.key_id))


@cache
def application(version: int, security_version: int) -> bytes:
    return WORLD.application(version, security_version=security_version)


@cache
def bootloader(version: int, copy: Copy) -> bytes:
    return WORLD.bootloader(version, copy)


@cache
def authorised_heads() -> frozenset[bytes]:
    """Heads that the right keys signed for this device: nothing else may ever run."""
    packages = [application(version, security_version) for version in VERSIONS for security_version in VERSIONS]
    packages += [bootloader(version, copy) for version in VERSIONS for copy in Copy]
    return frozenset(package[:HEAD_SIZE_BYTES] for package in packages)


def _changed(package: bytes, at: int) -> bytes:
    return package[:at] + bytes([package[at] ^ 0x10]) + package[at + 1 :]


@cache
def refused_packages() -> dict[str, tuple[bytes, frozenset[DeviceCode]]]:
    """Packages that no device of this kind takes in any state, and with which codes it may refuse them."""
    good = application(5, 5)
    rules: dict[str, tuple[bytes, set[str]]] = {
        "forged application": (_application(signers=STRANGERS[:1]), {"SIGNER_UNKNOWN"}),
        "forged bootloader": (_bootloader(signers=STRANGERS), {"SIGNER_UNKNOWN"}),
        "half-signed bootloader": (_bootloader(signers=builders.bootloader_release_keys()[:1]), {"SIGNER_IDS"}),
        "changed head": (_changed(good, 68), {"SIGNATURE_INVALID"}),
        "changed payload": (_changed(good, 1100), {"CHUNK_HASH", "VERSION_NOT_NEWER", "BELOW_FLOOR"}),
        "another device's": (OTHER_DEVICE.application(5), {"SIGNATURE_INVALID"}),
        "another product's": (_application(product_id=b"\x07" * 16), {"WRONG_PRODUCT"}),
        "floor of 0xFFFFFFFF": (_application(security_version=0xFFFFFFFF), {"ABOVE_MAXIMUM"}),
        "noise": (b"\xa5" * 2000, {"MCUBOOT_HEADER"}),
        "cut short": (good[:-1], {"PACKAGE_SIZE"}),
    }
    return {name: (package, frozenset(DeviceCode[code] for code in codes)) for name, (package, codes) in rules.items()}


def _application(**other: Any) -> bytes:
    return WORLD.application(5, **other)


def _bootloader(**other: Any) -> bytes:
    return WORLD.bootloader(5, Copy.B, **other)
