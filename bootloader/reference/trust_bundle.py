"""The trust bundle: 2,304 bytes that say which keys may do what (docs/spec/trust-bundle.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from struct import Struct
from typing import NamedTuple

from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.crypto import context, key_id, sha256, verify_signature
from bootloader.reference.head import PackageType

BUNDLE_SIZE_BYTES = 2304
SIGNED_SIZE_BYTES = 1599
BUNDLE_MAGIC = b"SRB1"
FORMAT_VERSION = 1
SUITE = 1

ROOT_COUNT_MAX = 5
ROLE_KEY_COUNT_MAX = 12
REVOKED_COUNT_MAX = 24
SIGNATURE_COUNT_MAX = 10

_CONTEXT = context("SR-bundle-v1")


class Role(IntEnum):
    """What a role key may sign."""

    APPLICATION_RELEASE = 1
    PRODUCTION = 2
    GRANT = 3
    SERVICE = 4
    BOOTLOADER_RELEASE = 5


class SignatureSet(IntEnum):
    """Whose roots a signature is by."""

    PREVIOUS_ROOTS = 0
    OWN_ROOTS = 1


@dataclass(frozen=True, slots=True)
class SecurityVersionLimits:
    """The smallest and the greatest `security_version` that is installed, both included."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class RoleKey:
    """A current key: its role and its point X ‖ Y."""

    role: Role
    public_key: bytes


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key that signs nothing new; with `stop`, what it signed does not start either."""

    key_id: bytes
    stop: bool


@dataclass(frozen=True, slots=True)
class BundleSignature:
    """r ‖ s over the bundle's digest by the root at `root_index` of the version that `signature_set` names."""

    signature_set: SignatureSet
    root_index: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """A well-formed trust bundle. `raw` is its exact 2,304 bytes."""

    raw: bytes
    version: int
    product_id: bytes
    previous_digest: bytes
    limits: tuple[SecurityVersionLimits, ...]
    root_threshold: int
    roots: tuple[bytes, ...]
    role_keys: tuple[RoleKey, ...]
    revoked: tuple[RevokedKey, ...]
    signatures: tuple[BundleSignature, ...]

    @property
    def digest(self) -> bytes:
        """What the roots sign, and the next version names: all but the signatures."""
        return sha256(_CONTEXT, self.raw[:SIGNED_SIZE_BYTES])

    def keys_of(self, role: Role) -> tuple[bytes, ...]:
        """The current public keys of a role, in ascending order."""
        return tuple(entry.public_key for entry in self.role_keys if entry.role == role)

    def is_revoked(self, key_id: bytes) -> bool:
        """Whether a key signs nothing new."""
        return any(entry.key_id == key_id for entry in self.revoked)

    def stops(self, key_id: bytes) -> bool:
        """Whether what a key signed before does not start either."""
        return any(entry.key_id == key_id and entry.stop for entry in self.revoked)

    def limits_of(self, package_type: PackageType) -> SecurityVersionLimits:
        """The allowed `security_version` of a package type."""
        return self.limits[package_type - 1]


class _Wire(NamedTuple):
    """The fields as they stand, in the order of the specification's table; the arrays whole, used or not."""

    magic: bytes
    format_version: int
    suite: int
    root_count: int
    root_threshold: int
    role_key_count: int
    revoked_count: int
    reserved_11: bytes
    version: int
    product_id: bytes
    previous_digest: bytes
    limits: bytes
    reserved_88: bytes
    roots: bytes
    role_keys: bytes
    revoked: bytes
    reserved_1520: bytes
    signature_count: int
    signatures: bytes
    reserved_2280: bytes


_LAYOUT = Struct("<4s H B B B B B 1s I 16s 32s 24s 8s 320s 816s 288s 79s B 680s 24s")
_LIMITS = Struct("<6I")
_ROOT_SIZE_BYTES = 64
_ROLE_KEY = Struct("<B 3s 64s")
_REVOKED = Struct("<8s B 3s")
_SIGNATURE = Struct("<B B 2s 64s")

_STOP_FLAG = 0x01


def parse_trust_bundle(data: bytes | bytearray) -> TrustBundle:
    """A bundle from its bytes; raises Refused with the code of the first of the checks 1 to 10 that fails.

    A parsed bundle is well formed, no more: `verify_genesis` or `verify_own_threshold` says whether it is genuine.
    """
    size_right = len(data) == BUNDLE_SIZE_BYTES
    require(size_right, DeviceCode.BUNDLE_SIZE, f"{len(data)} bytes, not {BUNDLE_SIZE_BYTES:,}")
    return _checked(bytes(data))


@lru_cache(maxsize=8)  # pure, and asked of the same bundle at every start
def _checked(data: bytes) -> TrustBundle:
    """Checks 2 to 10."""
    wire = _Wire._make(_LAYOUT.unpack(data))
    for check in _CHECKS:
        check(wire)

    limits = _LIMITS.unpack(wire.limits)
    return TrustBundle(
        raw=data,
        version=wire.version,
        product_id=wire.product_id,
        previous_digest=wire.previous_digest,
        limits=tuple(SecurityVersionLimits(limits[i], limits[i + 1]) for i in (0, 2, 4)),
        root_threshold=wire.root_threshold,
        roots=tuple(_roots(wire)),
        role_keys=tuple(RoleKey(Role(role), key) for role, _, key in _role_keys(wire)),
        revoked=tuple(RevokedKey(revoked_id, bool(flags & _STOP_FLAG)) for revoked_id, flags, _ in _revoked(wire)),
        signatures=tuple(
            BundleSignature(SignatureSet(signature_set), index, signature)
            for signature_set, index, _, signature in _signatures(wire)
        ),
    )


def verify_genesis(bundle: TrustBundle) -> None:
    """Version 1, signed by its own roots and nobody else; raises Refused(BUNDLE_GENESIS) or Refused(BUNDLE_SIGNATURES).

    Whether the genesis is the right one follows from where it came: it is part of the bootloader copy.
    """
    require(bundle.version == 1, DeviceCode.BUNDLE_GENESIS, f"a genesis bundle has version 1, not {bundle.version}")
    by_previous = any(entry.signature_set == SignatureSet.PREVIOUS_ROOTS for entry in bundle.signatures)
    require(not by_previous, DeviceCode.BUNDLE_SIGNATURES, "a genesis bundle has no previous roots")
    verify_own_threshold(bundle)


def verify_own_threshold(bundle: TrustBundle) -> None:
    """Enough of the bundle's own roots signed it, and every signature in their name is good.

    Raises Refused(BUNDLE_SIGNATURES). Signatures by the previous version's roots are not looked at: they had their say
    when the bundle was accepted, and a device no longer has those roots.
    """
    verify_threshold(bundle, SignatureSet.OWN_ROOTS, bundle.roots, bundle.root_threshold)


def verify_threshold(bundle: TrustBundle, signature_set: SignatureSet, roots: Sequence[bytes], threshold: int) -> None:
    """Enough of these roots signed the bundle, and every signature of the set is good.

    Raises Refused(BUNDLE_SIGNATURES). `roots` are those whose indices the entries of the set name.
    """
    entries = [entry for entry in bundle.signatures if entry.signature_set == signature_set]
    whose = "own" if signature_set == SignatureSet.OWN_ROOTS else "previous"
    enough = len(entries) >= threshold
    require(enough, DeviceCode.BUNDLE_SIGNATURES, f"{len(entries)} signatures by {whose} roots of {threshold}")
    digest = bundle.digest
    for entry in entries:  # parsing refused a root signing twice: the count is of different roots
        is_root = entry.root_index < len(roots)
        require(is_root, DeviceCode.BUNDLE_SIGNATURES, f"there is no {whose} root {entry.root_index}")
        try:
            verify_signature(roots[entry.root_index], digest, entry.signature)
        except Refused as refusal:
            detail = f"{whose} root {entry.root_index}: {refusal.detail}"
            raise Refused(DeviceCode.BUNDLE_SIGNATURES, detail) from None


def _roots(wire: _Wire) -> list[bytes]:
    return [wire.roots[_ROOT_SIZE_BYTES * i : _ROOT_SIZE_BYTES * (i + 1)] for i in range(wire.root_count)]


def _role_keys(wire: _Wire) -> list[tuple[int, bytes, bytes]]:
    """(role, padding, key) of each used entry."""
    return list(_ROLE_KEY.iter_unpack(wire.role_keys))[: wire.role_key_count]


def _revoked(wire: _Wire) -> list[tuple[bytes, int, bytes]]:
    """(key id, flags, padding) of each used entry."""
    return list(_REVOKED.iter_unpack(wire.revoked))[: wire.revoked_count]


def _signatures(wire: _Wire) -> list[tuple[int, int, bytes, bytes]]:
    """(set, index, padding, signature) of each used entry."""
    return list(_SIGNATURE.iter_unpack(wire.signatures))[: wire.signature_count]


def _check_magic(wire: _Wire) -> None:
    require(wire.magic == BUNDLE_MAGIC, DeviceCode.BUNDLE_MAGIC, "a trust bundle begins with SRB1")


def _check_format(wire: _Wire) -> None:
    known = wire.format_version == FORMAT_VERSION and wire.suite == SUITE
    detail = f"format version {wire.format_version} with suite {wire.suite} is not known"
    require(known, DeviceCode.BUNDLE_FORMAT, detail)


def _check_counts(wire: _Wire) -> None:
    for name, value, least, most in (
        ("root_count", wire.root_count, 1, ROOT_COUNT_MAX),
        ("root_threshold", wire.root_threshold, 1, wire.root_count),
        ("role_key_count", wire.role_key_count, 0, ROLE_KEY_COUNT_MAX),
        ("revoked_count", wire.revoked_count, 0, REVOKED_COUNT_MAX),
        ("signature_count", wire.signature_count, 0, SIGNATURE_COUNT_MAX),
    ):
        require(least <= value <= most, DeviceCode.BUNDLE_COUNTS, f"{name} is {value}, not {least} to {most}")


def _check_reserved(wire: _Wire) -> None:
    code = DeviceCode.BUNDLE_RESERVED
    unused = (
        wire.reserved_11,
        wire.reserved_88,
        wire.reserved_1520,
        wire.reserved_2280,
        wire.roots[_ROOT_SIZE_BYTES * wire.root_count :],
        wire.role_keys[_ROLE_KEY.size * wire.role_key_count :],
        wire.revoked[_REVOKED.size * wire.revoked_count :],
        wire.signatures[_SIGNATURE.size * wire.signature_count :],
        *(padding for _, padding, _ in _role_keys(wire)),
        *(padding for _, _, padding in _revoked(wire)),
        *(padding for _, _, padding, _ in _signatures(wire)),
    )
    require(not any(map(any, unused)), code, "a reserved or unused byte is not zero")
    flags_known = all(flags & ~_STOP_FLAG == 0 for _, flags, _ in _revoked(wire))
    require(flags_known, code, "a revoked key has an unknown flag")
    sets_known = all(signature_set in tuple(SignatureSet) for signature_set, _, _, _ in _signatures(wire))
    require(sets_known, code, "a signature is of an unknown set")


def _check_product(wire: _Wire) -> None:
    require(any(wire.product_id), DeviceCode.BUNDLE_PRODUCT, "the product id is zero")


def _check_genesis(wire: _Wire) -> None:
    code = DeviceCode.BUNDLE_GENESIS
    require(wire.version >= 1, code, "versions begin at 1")
    has_previous = any(wire.previous_digest)
    require(has_previous == (wire.version > 1), code, "only version 1 has no previous digest")


def _check_limits(wire: _Wire) -> None:
    limits = _LIMITS.unpack(wire.limits)
    for minimum, maximum in (limits[0:2], limits[2:4], limits[4:6]):
        require(minimum <= maximum, DeviceCode.BUNDLE_LIMITS, f"minimum {minimum} is above maximum {maximum}")


def _check_order(wire: _Wire) -> None:
    for name, keys in (
        ("roots", _roots(wire)),
        ("role keys", [bytes([role]) + key for role, _, key in _role_keys(wire)]),
        ("revoked keys", [revoked_id for revoked_id, _, _ in _revoked(wire)]),
        ("signatures", [bytes([signature_set, index]) for signature_set, index, _, _ in _signatures(wire)]),
    ):
        ascending = all(earlier < later for earlier, later in pairwise(keys))
        require(ascending, DeviceCode.BUNDLE_ORDER, f"the {name} are not in strictly ascending order")


def _check_keys(wire: _Wire) -> None:
    code = DeviceCode.BUNDLE_KEYS
    roles_known = all(role in tuple(Role) for role, _, _ in _role_keys(wire))
    require(roles_known, code, "a key has an unknown role")
    key_ids = [key_id(key) for key in (*_roots(wire), *(key for _, _, key in _role_keys(wire)))]
    require(len(set(key_ids)) == len(key_ids), code, "a key, or its key id, stands in two places")
    revoked = any(revoked_id in key_ids for revoked_id, _, _ in _revoked(wire))
    require(not revoked, code, "a key is both current and revoked")


# Checks 2 to 10, in the order of the specification: the first that fails gives the code.
_CHECKS: tuple[Callable[[_Wire], None], ...] = (
    _check_magic,
    _check_format,
    _check_counts,
    _check_reserved,
    _check_product,
    _check_genesis,
    _check_limits,
    _check_order,
    _check_keys,
)
