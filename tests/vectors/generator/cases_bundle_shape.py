"""Trust bundles that a parser must refuse, each properly signed over its wrong content."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.vectors.generator.bundle import BundlePlan, Signed, in_role_order, make, revoked_entry, role_entry
from tests.vectors.generator.bundle_case import BundleCase, parsed
from tests.vectors.generator.keys import TestKey, in_order, key
from tests.vectors.generator.primitives import derived_bytes
from tests.vectors.generator.world import PRODUCT, device_bundle_plan

ROLE_KEYS_AT, REVOKED_AT, SIGNATURES_AT = 416, 1232, 1600


def base(name: str) -> BundlePlan:
    """Three roots, two of which sign; eight role keys; two revoked ids."""
    return replace(device_bundle_plan(), name=name)


def small(name: str) -> BundlePlan:
    """One root that signs, and nothing else."""
    root = key("root-1")
    return BundlePlan(name, PRODUCT, roots=(root,), threshold=1, signatures=(Signed(1, 0, root),))


def sizes_and_constants() -> Iterator[BundleCase]:
    """Checks 1 to 3, and 6."""
    for size_bytes in (0, 2303, 2305):
        bundle = make(base(f"bundle-of-{size_bytes}-bytes"))
        file = (bundle.file + bytes(1))[:size_bytes]
        yield BundleCase(bundle.plan.name, f"{size_bytes} bytes", "BUNDLE_SIZE", "parse", bundle, file)
    yield parsed(replace(base("bundle-magic-of-package"), raw=((0, b"SRM1"),)), "a package's magic", "BUNDLE_MAGIC")
    for name, value in (
        ("format_version", 0),
        ("format_version", 2),
        ("format_version", 0x0101),
        ("suite", 0),
        ("suite", 2),
    ):
        plan = replace(base(f"bundle-{name.replace('_', '-')}-{value}"), numbers={name: value})
        yield parsed(plan, f"{name} is {value}", "BUNDLE_FORMAT")
    yield parsed(replace(base("bundle-product-zero"), product_id=bytes(16)), "product id is zero", "BUNDLE_PRODUCT")


def counts() -> Iterator[BundleCase]:
    """Check 4."""
    rows = (
        ("root-count-0", {"root_count": 0, "root_threshold": 0}),
        ("root-count-6", {"root_count": 6}),
        ("threshold-0", {"root_threshold": 0}),
        ("threshold-above-root-count", {"root_threshold": 4}),
        ("role-key-count-13", {"role_key_count": 13}),
        ("revoked-count-25", {"revoked_count": 25}),
        ("signature-count-11", {"signature_count": 11}),
        ("signature-count-255", {"signature_count": 255}),
    )
    for name, numbers in rows:
        words = ", ".join(f"{field_name} is {value}" for field_name, value in numbers.items())
        yield parsed(replace(base(f"bundle-{name}"), numbers=numbers), words, "BUNDLE_COUNTS")


def reserved() -> Iterator[BundleCase]:
    """Check 5: one byte each, everywhere nothing belongs."""
    rows = (
        (11, 1, "reserved byte of the header"),
        (88, 1, "first reserved byte after the limits"),
        (96 + 3 * 64, 1, "first unused root"),
        (96 + 5 * 64 - 1, 1, "last unused root"),
        (ROLE_KEYS_AT + 1, 1, "first filler byte of a role key"),
        (ROLE_KEYS_AT + 7 * 68 + 3, 1, "last filler byte of the last role key"),
        (ROLE_KEYS_AT + 12 * 68 - 1, 1, "last unused role key"),
        (REVOKED_AT + 8, 2, "unknown flag of a revoked key"),
        (REVOKED_AT + 9, 1, "filler byte of a revoked key"),
        (REVOKED_AT + 24 * 12 - 1, 1, "last unused revoked entry"),
        (1598, 1, "last reserved byte before the signatures"),
    )
    for number, (offset, value, words) in enumerate(rows):
        plan = replace(base(f"bundle-reserved-{number:02}-byte-{offset}"), raw=((offset, bytes((value,))),))
        yield parsed(plan, f"byte {offset} is {value:#04x}: {words}", "BUNDLE_RESERVED")
    unsigned = (
        (SIGNATURES_AT, 2, "set is 2"),
        (SIGNATURES_AT + 2, 1, "filler byte of a signature"),
        (SIGNATURES_AT + 68 + 3, 1, "last filler byte of the last signature"),
        (SIGNATURES_AT + 2 * 68, 1, "first unused signature"),
        (SIGNATURES_AT + 10 * 68 - 1, 1, "last unused signature"),
        (2303, 1, "last byte"),
    )
    for number, (offset, value, words) in enumerate(unsigned):
        bundle = make(base(f"bundle-reserved-unsigned-{number}-byte-{offset}"))
        file = bundle.file[:offset] + bytes((value,)) + bundle.file[offset + 1 :]
        description = f"byte {offset} is {value:#04x}: {words}"
        yield BundleCase(bundle.plan.name, description, "BUNDLE_RESERVED", "parse", bundle, file)


def genesis_and_limits() -> Iterator[BundleCase]:
    """Checks 7 and 8."""
    digest = derived_bytes("a previous bundle", 32)
    rows = (
        ("version-0", {"version": 0}, "version 0"),
        ("version-0-with-previous", {"version": 0, "previous_digest": digest}, "version 0, with a previous digest"),
        ("version-1-with-previous", {"previous_digest": digest}, "version 1, with a previous digest"),
        ("version-2-without-previous", {"version": 2}, "version 2, without a previous digest"),
        ("version-65536-without-previous", {"version": 65536}, "version 65536, without a previous digest"),
    )
    for name, changes, words in rows:
        yield parsed(replace(base(f"bundle-{name}"), **changes), words, "BUNDLE_GENESIS")
    for index in range(3):
        limits = [(1, 9)] * 3
        limits[index] = (0x0100, 0x00FF)
        plan = replace(base(f"bundle-limits-of-type-{index + 1}"), limits=(limits[0], limits[1], limits[2]))
        yield parsed(plan, f"minimum 256 above maximum 255 for package type {index + 1}", "BUNDLE_LIMITS")


def order() -> Iterator[BundleCase]:
    """Check 9: exchanged, or twice."""
    plan = base("")
    a, b, c = plan.roots
    rows: tuple[tuple[str, BundlePlan, str], ...] = (
        ("roots-exchanged", replace(plan, roots=(b, a, c)), "two roots exchanged"),
        ("root-twice", replace(plan, roots=(a, a, c)), "one root twice"),
        ("last-roots-exchanged", replace(plan, roots=(a, c, b)), "the last two roots exchanged"),
        (
            "role-keys-exchanged",
            replace(plan, role_keys=plan.role_keys[1::-1] + plan.role_keys[2:]),
            "two role keys exchanged",
        ),
        ("role-key-twice", replace(plan, role_keys=plan.role_keys[:1] * 2 + plan.role_keys[2:]), "one role key twice"),
        (
            "role-keys-not-by-role",
            replace(plan, role_keys=_by_key_only(plan.role_keys)),
            "ordered by key, not by (role, key)",
        ),
        ("revoked-exchanged", replace(plan, revoked=plan.revoked[::-1]), "two revoked ids exchanged"),
        (
            "revoked-twice",
            replace(plan, revoked=(plan.revoked[0], (plan.revoked[0][0], 1 - plan.revoked[0][1]))),
            "one revoked id twice, with different flags",
        ),
        ("signatures-exchanged", replace(plan, signatures=plan.signatures[::-1]), "two signatures exchanged"),
        ("signature-twice", replace(plan, signatures=plan.signatures[:1] * 2), "one signature twice"),
    )
    for name, changed, words in rows:
        yield parsed(replace(changed, name=f"bundle-order-{name}"), words, "BUNDLE_ORDER")


def _by_key_only(role_keys: tuple[tuple[int, TestKey], ...]) -> tuple[tuple[int, TestKey], ...]:
    ordered = tuple(sorted(role_keys, key=lambda entry: entry[1].public))
    if ordered == role_keys:
        raise ValueError("these keys do not tell the two orders apart")
    return ordered


def keys() -> Iterator[BundleCase]:
    """Check 10."""
    plan = base("")
    app, root = key("app-release-1"), plan.roots[0]
    with_root_revoked = tuple(sorted((*plan.revoked, (root.key_id, 0))))
    with_app_revoked = tuple(sorted((*plan.revoked, (app.key_id, 1))))
    rows: tuple[tuple[str, BundlePlan, str], ...] = (
        ("role-0", replace(plan, role_keys=in_role_order((0, app))), "role 0"),
        ("role-6", replace(plan, role_keys=in_role_order((1, app), (6, key("stranger")))), "role 6"),
        (
            "root-with-role",
            replace(plan, role_keys=in_role_order((1, app), (2, root))),
            "a root is also a production key",
        ),
        ("two-roles", replace(plan, role_keys=in_role_order((1, app), (2, app))), "one key in two roles"),
        ("root-revoked", replace(plan, revoked=with_root_revoked), "a root's key id is revoked"),
        ("role-key-revoked", replace(plan, revoked=with_app_revoked), "a role key's id is revoked"),
    )
    for name, changed, words in rows:
        yield parsed(replace(changed, name=f"bundle-keys-{name}"), words, "BUNDLE_KEYS")


@dataclass(frozen=True, slots=True)
class Defect:
    """One way to fail one check, that leaves every earlier check content."""

    code: str
    raw: tuple[tuple[int, bytes], ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)


def _defects() -> tuple[Defect, ...]:
    root = key("root-1").public
    twice = role_entry(1, key("app-release-1").public) * 2
    return (
        Defect("BUNDLE_MAGIC", ((0, b"SRB0"),)),
        Defect("BUNDLE_FORMAT", numbers={"suite": 9}),
        Defect("BUNDLE_COUNTS", numbers={"root_threshold": 2}),
        Defect("BUNDLE_RESERVED", ((11, b"\x01"),)),
        Defect("BUNDLE_PRODUCT", ((16, bytes(16)),)),
        Defect("BUNDLE_GENESIS", numbers={"version": 0}),
        Defect("BUNDLE_LIMITS", ((64, b"\x02\x00\x00\x00\x01\x00\x00\x00"),)),
        Defect("BUNDLE_ORDER", ((ROLE_KEYS_AT, twice),), {"role_key_count": 2}),
        Defect("BUNDLE_KEYS", ((REVOKED_AT, revoked_entry(_key_id_of(root), 0)),), {"revoked_count": 1}),
        Defect("BUNDLE_SIGNATURES", numbers={"signature_count": 1}),
    )


def _key_id_of(public: bytes) -> bytes:
    return next(entry.key_id for entry in in_order("root-1") if entry.public == public)


def order_of_checks() -> Iterator[BundleCase]:
    """Two neighbouring checks fail at once, and then all: the first one is reported."""
    defects = _defects()
    stranger = key("stranger")
    for number, group in enumerate([*itertools.pairwise(defects), defects]):
        raw = tuple(patch for defect in group for patch in defect.raw)
        numbers = {name: value for defect in group for name, value in defect.numbers.items()}
        name = f"bundle-order-of-checks-{number:02}-{group[0].code.lower().replace('_', '-')}"
        plan = replace(small(name), raw=raw, numbers=numbers)
        if group[-1].code == "BUNDLE_SIGNATURES":
            plan = replace(plan, signatures=(Signed(1, 0, stranger),))
        words = " and ".join(defect.code for defect in group) if len(group) == 2 else "every check"
        yield parsed(plan, f"fails {words}: the first is reported", group[0].code)


def cases() -> Iterator[BundleCase]:
    """All of this file."""
    yield from sizes_and_constants()
    yield from counts()
    yield from reserved()
    yield from genesis_and_limits()
    yield from order()
    yield from keys()
    yield from order_of_checks()
