"""Trust bundle contents as most tests need them, and an encoding written by hand from docs/spec/trust-bundle.md."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from pki.roles import Role
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits, TrustBundleContent
from tests.unit.packages.fake.software_keys import SoftwareKey

PRODUCT_ID = bytes.fromhex("5f0c6a3e1b2d4c7f8a9b0c1d2e3f4051")
ROOTS = tuple(SoftwareKey(f"root {number}") for number in range(5))
ROLE_KEYS = {
    Role.APPLICATION_RELEASE: SoftwareKey("application-release"),
    Role.PRODUCTION: SoftwareKey("production"),
    Role.GRANT: SoftwareKey("grant"),
    Role.SERVICE: SoftwareKey("service"),
}
BOOT_KEYS = tuple(SoftwareKey(f"bootloader-release {number}") for number in range(3))
ROLE_NUMBERS = {
    Role.APPLICATION_RELEASE: 1,
    Role.PRODUCTION: 2,
    Role.GRANT: 3,
    Role.SERVICE: 4,
    Role.BOOTLOADER_RELEASE: 5,
}


def content(**changes: Any) -> TrustBundleContent:
    """A genesis bundle with three roots, two of which sign, and one key or more of every role, unless changed."""
    values: dict[str, Any] = {
        "product_id": PRODUCT_ID,
        "version": 1,
        "previous_digest": bytes(32),
        "root_threshold": 2,
        "roots": tuple(root.public_key for root in ROOTS[:3]),
        "role_keys": (
            *(RoleKey(role, key.public_key) for role, key in ROLE_KEYS.items()),
            *(RoleKey(Role.BOOTLOADER_RELEASE, key.public_key) for key in BOOT_KEYS),
        ),
        "revoked": (RevokedKey(b"\x99" * 8), RevokedKey(b"\x11" * 8, stops_installed_images=True)),
        "application_limits": SecurityVersionLimits(1, 0x01020304),
        "bootloader_limits": SecurityVersionLimits(2, 0xFFFFFFFF),
        "factory_test_limits": SecurityVersionLimits(0, 0),
    }
    return TrustBundleContent(**(values | changes))


def by_hand(value: TrustBundleContent) -> bytes:
    """The table of the specification, written out."""
    bundle = bytearray(2304)

    def put(offset: int, encoded: bytes) -> None:
        bundle[offset : offset + len(encoded)] = encoded

    put(0, b"SRB1\x01\x00\x01")
    counts = (len(value.roots), value.root_threshold, len(value.role_keys), len(value.revoked))
    put(7, bytes(counts))
    put(12, struct.pack("<I", value.version))
    put(16, value.product_id)
    put(32, value.previous_digest)
    limits = (value.application_limits, value.bootloader_limits, value.factory_test_limits)
    for number, limit in enumerate(limits):
        put(64 + 8 * number, struct.pack("<II", limit.minimum, limit.maximum))
    for number, point in enumerate(sorted(key.point for key in value.roots)):
        put(96 + 64 * number, point)
    role_keys = sorted((ROLE_NUMBERS[entry.role], entry.key.point) for entry in value.role_keys)
    for number, (role, point) in enumerate(role_keys):
        put(416 + 68 * number, bytes([role, 0, 0, 0]) + point)
    revoked = sorted((entry.key_id, entry.stops_installed_images) for entry in value.revoked)
    for number, (key_id, stop) in enumerate(revoked):
        put(1232 + 12 * number, key_id + bytes([1 if stop else 0, 0, 0, 0]))
    return bytes(bundle)


def digest_by_hand(bundle: bytes) -> bytes:
    return hashlib.sha256(b"SR-bundle-v1\0\0\0\0" + bundle[:1599]).digest()
