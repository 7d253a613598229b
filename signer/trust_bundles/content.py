"""What a trust bundle says, as values that are checked when made. Order does not matter here: the encoder sorts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pki.errors import InputRefused
from pki.roles import ROLES, Role
from pki.values import PublicKey
from signer.signing_key import require_on_curve
from signer.trust_bundles.layout import REVOKED_COUNT_MAX, ROLE_KEY_COUNT_MAX, ROOT_COUNT_MAX

_U32_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class RoleKey:
    """A key that acts in a role on devices. Raises InputRefused for a role that devices do not know."""

    role: Role
    key: PublicKey

    def __post_init__(self) -> None:
        if ROLES[self.role].device_role_number is None:
            raise InputRefused(f"the role {self.role} has no meaning to a device; leave it out of trust bundles")

    @property
    def role_number(self) -> int:
        """The role's number in trust bundles."""
        number = ROLES[self.role].device_role_number
        if number is None:
            raise AssertionError("checked when made")
        return number


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key, by its 8-byte id, that signs nothing new any more.

    `stops_installed_images`: what it signed and is installed already no longer starts either.
    """

    key_id: bytes
    stops_installed_images: bool = False

    def __post_init__(self) -> None:
        if len(self.key_id) != 8 or not any(self.key_id):
            raise InputRefused("a revoked key is named by its 8-byte key id, which is not zero")


@dataclass(frozen=True, slots=True)
class SecurityVersionLimits:
    """The smallest and greatest security version that devices install, for one package type."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum <= _U32_MAX:
            raise InputRefused(
                f"security version limits {self.minimum} to {self.maximum}: both must be 0 to {_U32_MAX}, "
                "the minimum not above the maximum"
            )


@dataclass(frozen=True, slots=True)
class TrustBundleContent:
    """Everything in a trust bundle but its signatures; raises InputRefused for what no device would accept.

    `product_id` is a UUID as 16 bytes in the order of RFC 9562; `previous_digest` 32 bytes, zero for version 1 only.
    """

    product_id: bytes
    version: int
    previous_digest: bytes
    root_threshold: int
    roots: tuple[PublicKey, ...]
    role_keys: tuple[RoleKey, ...]
    revoked: tuple[RevokedKey, ...]
    application_limits: SecurityVersionLimits
    bootloader_limits: SecurityVersionLimits
    factory_test_limits: SecurityVersionLimits

    def __post_init__(self) -> None:
        if len(self.product_id) != 16 or not any(self.product_id):
            raise InputRefused("the product id must be a UUID of 16 bytes that is not zero; see the product's file")
        if not 1 <= self.version <= _U32_MAX:
            raise InputRefused(f"the trust bundle version must be 1 to {_U32_MAX}, not {self.version}")
        if len(self.previous_digest) != 32 or any(self.previous_digest) is (self.version == 1):
            raise InputRefused("version 1 has no previous digest, and every later version has one of 32 bytes")
        self._check_counts()
        self._check_keys()

    def _check_counts(self) -> None:
        if not 1 <= len(self.roots) <= ROOT_COUNT_MAX:
            raise InputRefused(f"a trust bundle has 1 to {ROOT_COUNT_MAX} roots, not {len(self.roots)}")
        if not 1 <= self.root_threshold <= len(self.roots):
            raise InputRefused(
                f"the root threshold must be 1 to {len(self.roots)} (the roots), not {self.root_threshold}"
            )
        if len(self.role_keys) > ROLE_KEY_COUNT_MAX:
            raise InputRefused(f"a trust bundle has at most {ROLE_KEY_COUNT_MAX} role keys, not {len(self.role_keys)}")
        if len(self.revoked) > REVOKED_COUNT_MAX:
            raise InputRefused(f"a trust bundle has at most {REVOKED_COUNT_MAX} revoked keys, not {len(self.revoked)}")

    def _check_keys(self) -> None:
        for key in self.roots:
            require_on_curve(key, "a root key")
        for role_key in self.role_keys:
            require_on_curve(role_key.key, f"a key of the role {role_key.role}")
        current = [key.key_id for key in self.roots] + [role_key.key.key_id for role_key in self.role_keys]
        _refuse_repeated(current, "stands twice among roots and role keys; a key has one role, for its whole life")
        revoked = [key.key_id for key in self.revoked]
        _refuse_repeated(revoked, "is revoked twice; name it once")
        both = sorted(set(current) & set(revoked))
        if both:
            raise InputRefused(f"key {both[0].hex()} is both current and revoked; take it out of one of the two")


def _refuse_repeated(key_ids: Iterable[bytes], reason: str) -> None:
    seen: set[bytes] = set()
    for key_id in key_ids:
        if key_id in seen:
            raise InputRefused(f"key {key_id.hex()} {reason}")
        seen.add(key_id)
