"""What a trust bundle may say; every refusal is one line that names what is wrong."""

from __future__ import annotations

import pytest

from pki.errors import InputRefused
from pki.roles import Role
from pki.values import PublicKey
from signer.trust_bundles.content import RevokedKey, RoleKey, SecurityVersionLimits
from tests.unit.packages.fake.software_keys import SoftwareKey
from tests.unit.trust_bundles.builders import BOOT_KEYS, ROLE_KEYS, ROOTS, content

POINTS = tuple(root.public_key for root in ROOTS)
OFF_CURVE = PublicKey(bytes(63) + b"\x01")


def grant_keys(count: int) -> tuple[RoleKey, ...]:
    return tuple(RoleKey(Role.GRANT, SoftwareKey(f"grant {number}").public_key) for number in range(count))


def revoked_keys(count: int) -> tuple[RevokedKey, ...]:
    return tuple(RevokedKey(bytes(7) + bytes([number + 1])) for number in range(count))


@pytest.mark.parametrize(
    "changes",
    [
        {"roots": POINTS[:1], "root_threshold": 1},
        {"roots": POINTS, "root_threshold": 5},
        {"role_keys": ()},
        {"role_keys": grant_keys(12)},
        {"revoked": ()},
        {"revoked": revoked_keys(24)},
        {"version": 2, "previous_digest": b"\x01" * 32},
        {"version": 0xFFFFFFFF, "previous_digest": b"\x01" * 32},
        {"application_limits": SecurityVersionLimits(0, 0)},
        {"application_limits": SecurityVersionLimits(0xFFFFFFFF, 0xFFFFFFFF)},
    ],
)
def test_everything_up_to_the_limits_is_accepted(changes: dict[str, object]) -> None:
    value = content(**changes)
    assert all(getattr(value, name) == expected for name, expected in changes.items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"product_id": bytes(16)}, "product id"),
        ({"product_id": b"\x01" * 15}, "product id"),
        ({"version": 0}, "version must be"),
        ({"version": 1 << 32}, "version must be"),
        ({"previous_digest": b"\x01" * 32}, "previous digest"),
        ({"version": 2}, "previous digest"),
        ({"version": 2, "previous_digest": b"\x01" * 31}, "previous digest"),
        ({"roots": (), "root_threshold": 0}, "1 to 5 roots"),
        ({"roots": (*POINTS, SoftwareKey("sixth root").public_key)}, "1 to 5 roots"),
        ({"root_threshold": 0}, "threshold"),
        ({"root_threshold": 4}, "threshold"),
        ({"role_keys": grant_keys(13)}, "12 role keys"),
        ({"revoked": revoked_keys(25)}, "24 revoked keys"),
        ({"roots": (POINTS[0], POINTS[1], POINTS[0])}, "stands twice"),
        ({"role_keys": (RoleKey(Role.GRANT, POINTS[0]),)}, "stands twice"),
        ({"role_keys": grant_keys(1) * 2}, "stands twice"),
        (
            {
                "role_keys": (
                    RoleKey(Role.GRANT, BOOT_KEYS[0].public_key),
                    RoleKey(Role.SERVICE, BOOT_KEYS[0].public_key),
                )
            },
            "stands twice",
        ),
        ({"revoked": (RevokedKey(b"\x01" * 8), RevokedKey(b"\x01" * 8, True))}, "revoked twice"),
        ({"revoked": (RevokedKey(POINTS[1].key_id),)}, "both current and revoked"),
        ({"revoked": (RevokedKey(ROLE_KEYS[Role.GRANT].public_key.key_id),)}, "both current and revoked"),
        ({"roots": (OFF_CURVE, *POINTS[:2])}, "a root key is not a point"),
        ({"role_keys": (RoleKey(Role.SERVICE, OFF_CURVE),)}, "role service is not a point"),
    ],
)
def test_what_no_device_would_accept_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputRefused, match=says):
        content(**changes)


@pytest.mark.parametrize(("minimum", "maximum"), [(2, 1), (-1, 5), (0, 1 << 32), (1 << 32, 1 << 32)])
def test_impossible_limits_are_refused(minimum: int, maximum: int) -> None:
    with pytest.raises(InputRefused, match="security version limits"):
        SecurityVersionLimits(minimum, maximum)


@pytest.mark.parametrize("role", [role for role in Role if role not in {*ROLE_KEYS, Role.BOOTLOADER_RELEASE}])
def test_roles_without_meaning_to_a_device_are_refused(role: Role) -> None:
    with pytest.raises(InputRefused, match="no meaning to a device"):
        RoleKey(role, POINTS[0])


@pytest.mark.parametrize("key_id", [b"", bytes(8), b"\x01" * 7, b"\x01" * 20])
def test_a_revoked_key_is_named_by_eight_bytes(key_id: bytes) -> None:
    with pytest.raises(InputRefused, match="8-byte key id"):
        RevokedKey(key_id)
