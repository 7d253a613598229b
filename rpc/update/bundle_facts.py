"""What a host must know of trust bundles before it sends them: a reader of its own, from docs/spec/trust-bundle.md.

It finds out which bundles lead where. Whether a device follows one is for the device: no signature is verified here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from rpc.update.rules import MaterialRefused

BUNDLE_SIZE_BYTES: Final = 2_304
BUNDLES_MAX: Final = 1_024

_SIGNED_SIZE_BYTES: Final = 1_599
_CONTEXT: Final = b"SR-bundle-v1".ljust(16, b"\0")
# magic, format_version, suite, four counts and thresholds, reserved, version, product_id, previous_digest, limits
_FIELDS: Final = Struct("<4s H B B B B B x I 16s 32s 6I")
_ROLE_KEYS_OFFSET: Final = 416
_ROLE_KEY: Final = Struct("<B 3x 64s")
_ROLE_KEYS_MAX: Final = 12
_REVOKED_OFFSET: Final = 1_232
_REVOKED: Final = Struct("<8s B 3x")
_REVOKED_MAX: Final = 24
# DER SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point.
_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """One trust bundle. `limits`: (smallest, greatest) security version for package types 1, 2, 3."""

    raw: bytes
    version: int
    product_id: bytes
    digest: bytes
    previous_digest: bytes
    limits: tuple[tuple[int, int], ...]
    role_keys: frozenset[tuple[int, bytes]]
    """(role, key id)."""
    revoked: frozenset[bytes]


def parse_bundle(raw: bytes) -> BundleFacts:
    """Raises MaterialRefused UP-04 for what is no trust bundle of this format."""
    if len(raw) != BUNDLE_SIZE_BYTES:
        raise MaterialRefused("UP-04", f"a trust bundle has {BUNDLE_SIZE_BYTES:,} bytes, not {len(raw):,}")
    magic, format_version, suite, *counts, version, product_id, previous, a, b, c, d, e, f = _FIELDS.unpack_from(raw)
    if magic != b"SRB1" or (format_version, suite) != (1, 1):
        raise MaterialRefused("UP-04", "not a trust bundle, or made by another version of Strongroom")
    role_key_count, revoked_count = counts[2], counts[3]
    if not version or role_key_count > _ROLE_KEYS_MAX or revoked_count > _REVOKED_MAX:
        raise MaterialRefused("UP-04", "its version or its counts are out of range")
    role_keys = (_ROLE_KEY.unpack_from(raw, _ROLE_KEYS_OFFSET + _ROLE_KEY.size * n) for n in range(role_key_count))
    revoked = (_REVOKED.unpack_from(raw, _REVOKED_OFFSET + _REVOKED.size * n)[0] for n in range(revoked_count))
    return BundleFacts(
        raw=raw,
        version=version,
        product_id=product_id,
        digest=hashlib.sha256(_CONTEXT + raw[:_SIGNED_SIZE_BYTES]).digest(),
        previous_digest=previous,
        limits=((a, b), (c, d), (e, f)),
        role_keys=frozenset((role, hashlib.sha256(_SPKI + point).digest()[:8]) for role, point in role_keys),
        revoked=frozenset(revoked),
    )


@dataclass(frozen=True, slots=True)
class BundleChain:
    """The bundles at hand, by version: links of one chain, perhaps with gaps."""

    by_version: Mapping[int, BundleFacts]

    @classmethod
    def of(cls, bundles: Iterable[BundleFacts], product_id: bytes) -> BundleChain:
        """Raises MaterialRefused UP-04 for bundles that are not of one chain of this product."""
        by_version: dict[int, BundleFacts] = {}
        for bundle in bundles:
            if bundle.product_id != product_id:
                raise MaterialRefused("UP-04", f"trust bundle {bundle.version} is of another product than the package")
            if by_version.setdefault(bundle.version, bundle).digest != bundle.digest:
                raise MaterialRefused("UP-04", f"there are two different trust bundles of version {bundle.version}")
        for version, bundle in by_version.items():
            before = by_version.get(version - 1)
            if before is not None and bundle.previous_digest != before.digest:
                raise MaterialRefused(
                    "UP-04", f"trust bundle {version} does not follow the {version - 1} that is given"
                )
        if len(by_version) > BUNDLES_MAX:
            raise MaterialRefused("UP-04", f"more than {BUNDLES_MAX:,} trust bundles")
        return cls(by_version)

    @property
    def newest_version(self) -> int:
        """0 without any."""
        return max(self.by_version, default=0)

    def after(self, version: int) -> tuple[BundleFacts, ...]:
        """All that are newer, ascending."""
        return tuple(self.by_version[newer] for newer in sorted(self.by_version) if newer > version)
