"""Trust bundles from `docs/spec/trust-bundle.md`: any content, in any order, right or wrong, packed and signed.

Nothing is checked here, and entries stand in the order the plan gives: a vector that must be refused is made by
asking for the wrong value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.vectors.generator import p256
from tests.vectors.generator.keys import TestKey
from tests.vectors.generator.package import laid_over
from tests.vectors.generator.primitives import context, sha256, u32

BUNDLE_SIZE_BYTES = 2304
SIGNED_SIZE_BYTES = 1599
BUNDLE_CONTEXT = "SR-bundle-v1"

Limits = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
UNLIMITED: Limits = ((0, 0xFFFFFFFF), (0, 0xFFFFFFFF), (0, 0xFFFFFFFF))

# name, offset, size: the fields that hold one integer.
NUMBERS = (
    ("format_version", 4, 2),
    ("suite", 6, 1),
    ("root_count", 7, 1),
    ("root_threshold", 8, 1),
    ("role_key_count", 9, 1),
    ("revoked_count", 10, 1),
    ("version", 12, 4),
    ("signature_count", 1599, 1),
)


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature entry to be made: set and index as written, the key that really signs, and what it signs."""

    set_number: int
    index: int
    signer: TestKey
    sign_context: str = BUNDLE_CONTEXT
    fixed: bytes | None = None  # this signature instead of a computed one


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """Everything a bundle is made from. `numbers` overrides counts, `raw` lays bytes over before signing."""

    name: str
    product_id: bytes
    roots: tuple[TestKey, ...]
    threshold: int
    role_keys: tuple[tuple[int, TestKey], ...] = ()
    revoked: tuple[tuple[bytes, int], ...] = ()  # key id, flags
    limits: Limits = UNLIMITED
    version: int = 1
    previous_digest: bytes = bytes(32)
    signatures: tuple[Signed, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    raw: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A finished bundle."""

    plan: BundlePlan
    file: bytes
    digest: bytes


def role_entry(role: int, public: bytes) -> bytes:
    """One element of `role_keys`, 68 bytes."""
    return bytes((role, 0, 0, 0)) + public


def revoked_entry(revoked_key_id: bytes, flags: int) -> bytes:
    """One element of `revoked`, 12 bytes."""
    return revoked_key_id + bytes((flags, 0, 0, 0))


def in_role_order(*entries: tuple[int, TestKey]) -> tuple[tuple[int, TestKey], ...]:
    """Role keys in the ascending order the format demands."""
    return tuple(sorted(entries, key=lambda entry: (entry[0], entry[1].public)))


def bundle_digest(bundle: bytes, sign_context: str = BUNDLE_CONTEXT) -> bytes:
    """SHA-256( SR-bundle-v1 ‖ bundle[0:1599] )."""
    return sha256(context(sign_context), bundle[:SIGNED_SIZE_BYTES])


def _signature(entry: Signed, bundle: bytes) -> bytes:
    if entry.fixed is not None:
        return entry.fixed
    return p256.sign(entry.signer.private, bundle_digest(bundle, entry.sign_context))


def make(plan: BundlePlan) -> Bundle:
    """The bundle a plan asks for."""
    numbers = {
        "format_version": 1,
        "suite": 1,
        "root_count": len(plan.roots),
        "root_threshold": plan.threshold,
        "role_key_count": len(plan.role_keys),
        "revoked_count": len(plan.revoked),
        "version": plan.version,
        "signature_count": len(plan.signatures),
    }
    numbers |= dict(plan.numbers)
    arrays = (
        (0, b"SRB1"),
        (16, plan.product_id),
        (32, plan.previous_digest),
        (64, b"".join(u32(bound) for limits in plan.limits for bound in limits)),
        (96, b"".join(root.public for root in plan.roots)),
        (416, b"".join(role_entry(role, entry.public) for role, entry in plan.role_keys)),
        (1232, b"".join(revoked_entry(*entry) for entry in plan.revoked)),
    )
    bundle = bytes(BUNDLE_SIZE_BYTES)
    for name, offset, size_bytes in NUMBERS:
        bundle = laid_over(bundle, offset, numbers[name].to_bytes(size_bytes, "little"))
    for offset, content in (*arrays, *plan.raw):
        bundle = laid_over(bundle, offset, content)
    signatures = [bytes((entry.set_number, entry.index, 0, 0)) + _signature(entry, bundle) for entry in plan.signatures]
    bundle = laid_over(bundle, 1600, b"".join(signatures))
    return Bundle(plan, bundle, bundle_digest(bundle))
