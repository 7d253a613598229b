"""Version N + 1 offered to a device that has version N: what it follows, and what it does not.

The device's built-in bootloader-release keys are those of `devices.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from tests.vectors.generator import p256
from tests.vectors.generator.bundle import Bundle, BundlePlan, Signed, in_role_order, make
from tests.vectors.generator.bundle_case import BundleCase, offered
from tests.vectors.generator.cases_bundle_trust import full_plan
from tests.vectors.generator.keys import TestKey, in_order, key
from tests.vectors.generator.primitives import derived_bytes, sha256
from tests.vectors.generator.world import DEVICE_BUNDLE, OTHER_PRODUCT, device_bundle_plan

GENESIS = "genesis-2-of-3"
OLD = device_bundle_plan().roots

Row = tuple[str, BundlePlan, str, str]


def signed(number: int, roots: tuple[TestKey, ...], *indices: int) -> tuple[Signed, ...]:
    """The roots at these indices sign, in one set."""
    return tuple(Signed(number, index, roots[index]) for index in indices)


def following(previous: Bundle, name: str, roots: tuple[TestKey, ...], threshold: int = 2) -> BundlePlan:
    """The next version after another, its content the same but for the roots; signed by the first of both sets."""
    plan = previous.plan
    by_old = signed(0, plan.roots, *range(plan.threshold))
    by_new = signed(1, roots, *range(threshold))
    return replace(
        plan,
        name=name,
        version=plan.version + 1,
        previous_digest=previous.digest,
        roots=roots,
        threshold=threshold,
        signatures=by_old + by_new,
    )


def successor_plan(name: str) -> BundlePlan:
    """Version 2 after the devices' genesis bundle: one root replaced, one release key gone and revoked.

    Of the bootloader-release keys only those built into the devices are left.
    """
    roots = in_order("root-1", "root-2", "next-root-1")
    plan = following(DEVICE_BUNDLE, name, roots)
    gone = (key("app-release-2"), key("bootloader-release-4"))
    role_keys = tuple(entry for entry in plan.role_keys if entry[1] not in gone)
    revoked = tuple(sorted((*plan.revoked, (gone[0].key_id, 0))))
    signatures = signed(0, OLD, 0, 2) + signed(1, roots, 1, 2)
    return replace(plan, role_keys=role_keys, revoked=revoked, signatures=signatures)


@cache
def second() -> Bundle:
    return make(successor_plan("successor-2"))


@cache
def third() -> Bundle:
    """All roots replaced at once."""
    return make(following(second(), "successor-3", in_order("next-root-1", "next-root-2", "next-root-3")))


@cache
def strict() -> Bundle:
    """Version 2 that needs three of three."""
    roots = successor_plan("").roots
    plan = replace(successor_plan("successor-threshold-3"), threshold=3)
    return make(replace(plan, signatures=signed(0, OLD, 0, 1) + signed(1, roots, 0, 1, 2)))


def taken() -> Iterator[BundleCase]:
    """What a device follows."""
    plan = successor_plan("successor-2")
    roots = plan.roots
    yield _after_genesis(plan, "thresholds of the old and of the new roots", "OK")
    every = signed(0, OLD, 0, 1, 2) + signed(1, roots, 0, 1, 2)
    others = in_order("next-root-1", "next-root-2", "next-root-3")
    all_new = signed(0, OLD, 1, 2) + signed(1, others, 0, 2)
    spare, gone = key("app-release-spare-1"), key("app-release-1")
    release = in_role_order((1, spare), *(entry for entry in plan.role_keys if entry[1] != gone))
    stopped = tuple(sorted((*plan.revoked, (gone.key_id, 1))))
    one_boot = tuple(entry for entry in plan.role_keys if entry[1] != key("bootloader-release-2"))
    one_root = (roots[1],)
    rows: tuple[tuple[str, BundlePlan, str], ...] = (
        ("2-more-signatures", replace(plan, signatures=every), "all six sign; the digest stays the same"),
        ("all-roots-replaced", replace(plan, roots=others, signatures=all_new), "no root stays"),
        (
            "same-roots",
            replace(plan, roots=OLD, signatures=signed(0, OLD, 0, 1) + signed(1, OLD, 0, 1)),
            "the same two roots sign for both versions",
        ),
        (
            "same-roots-by-different-ones",
            replace(plan, roots=OLD, signatures=signed(0, OLD, 0, 1) + signed(1, OLD, 1, 2)),
            "the same three roots, other two of them for each version",
        ),
        (
            "threshold-1",
            replace(plan, roots=one_root, threshold=1, signatures=signed(0, OLD, 0, 2) + signed(1, one_root, 0)),
            "one root is left, and is enough from now on",
        ),
        ("release-key-replaced", replace(plan, role_keys=release), "another application-release key"),
        (
            "release-key-stopped",
            replace(plan, role_keys=release, revoked=stopped),
            "the release key is replaced, revoked, and marked stop",
        ),
        ("nothing-but-roots", replace(plan, role_keys=()), "no role key at all: a device does not mind"),
        ("one-bootloader-key", replace(plan, role_keys=one_boot), "one bootloader-release key: a device does not mind"),
        ("nothing-revoked", replace(plan, revoked=()), "revocations are taken back: a device does not mind"),
        (
            "limits-moved",
            replace(plan, limits=((100, 100), (0, 0), (9, 9))),
            "minimum raised, maximum lowered: a device does not mind",
        ),
    )
    for name, changed, words in rows:
        yield _after_genesis(replace(changed, name=f"successor-{name}"), words, "OK")
    full = replace(full_plan("successor-full"), version=2, previous_digest=DEVICE_BUNDLE.digest)
    full = replace(full, signatures=signed(0, OLD, 0, 1, 2) + signed(1, full.roots, 0, 1, 2, 3, 4))
    yield _after_genesis(full, "every array full, eight signatures", "OK")
    bundle = make(replace(plan, name="successor-high-s"))
    file = bundle.file[:1604] + p256.with_high_s(bundle.file[1604:1668]) + bundle.file[1668:]
    yield BundleCase(
        bundle.plan.name, "an old root's s above n / 2", "OK", "complete", bundle, file, "successor", GENESIS
    )
    again = replace(plan, name="successor-of-other-signatures")
    words = "the device has its bundle with other signatures: it is the same bundle"
    yield offered(again, words, "OK", "successor", "genesis-2-of-3-all-sign")


def chains() -> Iterator[BundleCase]:
    """Link by link, and not otherwise."""
    yield offered(third().plan, "version 3: all roots replaced", "OK", "successor", "successor-2")
    fourth = following(third(), "successor-4", in_order("next-root-3", "root-4", "root-5"))
    yield offered(fourth, "version 4", "OK", "successor", "successor-3")
    yield offered(strict().plan, "version 2 needs three of three from now on", "OK", "successor", GENESIS)
    roots = strict().plan.roots
    three = following(strict(), "successor-of-threshold-3", roots)
    yield offered(three, "three old roots sign", "OK", "successor", strict().plan.name)
    two = replace(
        three, name="successor-of-threshold-3-too-few", signatures=signed(0, roots, 0, 1) + three.signatures[3:]
    )
    yield offered(two, "two old roots sign where three must", "BUNDLE_SIGNATURES", "successor", strict().plan.name)

    other = make(replace(successor_plan("another version 2"), limits=((8, 100), (2, 50), (0, 9))))
    rows: tuple[tuple[str, BundlePlan, str, str], ...] = (
        ("skipped-link", third().plan, "version 3 to a device that has 1", GENESIS),
        ("downgrade-2-to-1", device_bundle_plan(), "version 1 to a device that has 2", "successor-2"),
        ("downgrade-3-to-2", successor_plan(""), "version 2 to a device that has 3", "successor-3"),
        ("fork-of-2", other.plan, "another version 2 to a device that has one", "successor-2"),
        (
            "fork-before-3",
            following(other, "", third().plan.roots),
            "version 3 of another version 2, by the same roots",
            "successor-2",
        ),
    )
    for name, plan, words, previous in rows:
        changed = replace(plan, name=f"successor-{name}")
        yield offered(changed, words, "BUNDLE_SUCCESSION", "successor", previous)

    dropped = following(second(), "successor-signed-by-a-dropped-root", third().plan.roots)
    signatures = (*signed(0, second().plan.roots, 0), Signed(0, 1, OLD[2]), *dropped.signatures[2:])
    words = "a root that version 2 dropped signs version 3"
    yield offered(replace(dropped, signatures=signatures), words, "BUNDLE_SIGNATURES", "successor", "successor-2")


def places() -> Iterator[BundleCase]:
    """BUNDLE_PRODUCT, BUNDLE_SUCCESSION."""
    plan = successor_plan("")
    succession = "BUNDLE_SUCCESSION"
    rows: tuple[Row, ...] = (
        ("other-product", replace(plan, product_id=OTHER_PRODUCT), "another product", "BUNDLE_PRODUCT"),
        ("gap", replace(plan, version=3), "version 3 after version 1", succession),
        ("gap-to-the-end", replace(plan, version=0xFFFFFFFF), "the greatest version after version 1", succession),
        (
            "fork",
            replace(plan, previous_digest=derived_bytes("another genesis", 32)),
            "previous_digest of another bundle",
            succession,
        ),
        (
            "previous-whole-file",
            replace(plan, previous_digest=sha256(DEVICE_BUNDLE.file)),
            "previous_digest is SHA-256 of the whole file, signatures included",
            succession,
        ),
        (
            "previous-bit",
            replace(plan, previous_digest=DEVICE_BUNDLE.digest[:31] + bytes((DEVICE_BUNDLE.digest[31] ^ 1,))),
            "the last bit of previous_digest",
            succession,
        ),
    )
    yield from _rows(rows)


def signatures() -> Iterator[BundleCase]:
    """BUNDLE_SIGNATURES, each with everything else in order."""
    plan = successor_plan("")
    roots, (old_0, old_2, new_1, new_2) = plan.roots, plan.signatures
    stranger, app, n = key("stranger"), key("app-release-1"), p256.N.to_bytes(32, "big")
    replayed = p256.sign(OLD[2].private, DEVICE_BUNDLE.digest)
    r = p256.sign(OLD[2].private, DEVICE_BUNDLE.digest)[:32]
    table: tuple[tuple[str, tuple[Signed, ...], str], ...] = (
        ("none", (), "no signature"),
        ("too-few-old", (old_2, new_1, new_2), "one of the old roots only"),
        ("too-few-new", (old_0, old_2, new_1), "one of the new roots only"),
        ("no-old", (new_1, new_2), "no old root"),
        ("no-new", (old_0, old_2), "no new root"),
        (
            "all-new-no-old",
            signed(1, roots, 0, 1, 2),
            "all new roots, two of which are old ones, but for themselves only",
        ),
        ("bad-extra-old", (old_0, Signed(0, 1, stranger), old_2, new_1, new_2), "a further old one does not verify"),
        ("bad-extra-new", (old_0, old_2, Signed(1, 0, stranger), new_1, new_2), "a further new one does not verify"),
        ("old-index-beyond", (old_0, old_2, Signed(0, 3, OLD[0]), new_1, new_2), "an index that no old root has"),
        ("new-index-beyond", (old_0, old_2, new_1, new_2, Signed(1, 3, roots[0])), "an index that no new root has"),
        ("old-under-other-index", (Signed(0, 1, OLD[0]), old_2, new_1, new_2), "an old root under another's index"),
        ("one-old-root-twice", (old_0, Signed(0, 1, OLD[0]), new_1, new_2), "one old root signs for two"),
        ("old-by-role-key", (old_0, Signed(0, 2, app), new_1, new_2), "a role key signs for an old root"),
        ("old-by-new-root", (old_0, Signed(0, 2, key("next-root-1")), new_1, new_2), "a new root signs for an old one"),
        (
            "new-by-dropped-root",
            (old_0, old_2, new_1, Signed(1, 2, key("root-3"))),
            "a dropped root signs for a new one",
        ),
        ("old-wrong-context", (old_0, Signed(0, 2, OLD[2], "SR-pkg-app-v1"), new_1, new_2), "in a package's context"),
        (
            "old-replayed",
            (old_0, Signed(0, 2, OLD[2], fixed=replayed), new_1, new_2),
            "what the root signed version 1 with",
        ),
        ("old-r-zero", (old_0, Signed(0, 2, OLD[2], fixed=bytes(32) + r), new_1, new_2), "r = 0"),
        ("new-s-n", (old_0, old_2, new_1, Signed(1, 2, roots[2], fixed=r + n)), "s = n"),
        ("zero", (old_0, Signed(0, 2, OLD[2], fixed=bytes(64)), new_1, new_2), "a signature of zeros"),
    )
    yield from _rows(
        tuple((name, replace(plan, signatures=entries), words, "BUNDLE_SIGNATURES") for name, entries, words in table)
    )
    bundle = make(replace(plan, name="successor-stop-flag-changed"))
    file = bundle.file[:1240] + bytes((bundle.file[1240] ^ 1,)) + bundle.file[1241:]
    words = "the stop flag of a revoked key changed after signing"
    yield BundleCase(bundle.plan.name, words, "BUNDLE_SIGNATURES", "trust", bundle, file, "successor", GENESIS)
    twice = make(replace(plan, name="successor-signature-twice", signatures=(old_0, old_0, new_1, new_2)))
    words = "one old root's signature stands twice"
    yield BundleCase(twice.plan.name, words, "BUNDLE_ORDER", "parse", twice, twice.file, "successor", GENESIS)


def built_in() -> Iterator[BundleCase]:
    """Check 4, and what comes before it."""
    plan = successor_plan("")
    foreign = in_role_order((5, key("bootloader-release-4")), *plan.role_keys)
    with_foreign = replace(plan, role_keys=foreign)
    gap = replace(plan, version=3, signatures=plan.signatures[1:])
    rows: tuple[Row, ...] = (
        ("not-built-in", with_foreign, "a bootloader-release key that is not built in", "BUNDLE_BUILT_IN"),
        (
            "order-of-checks-signatures",
            replace(with_foreign, signatures=plan.signatures[1:]),
            "too few signatures, and a key that is not built in",
            "BUNDLE_SIGNATURES",
        ),
        ("order-of-checks-succession", gap, "a gap, and too few signatures", "BUNDLE_SUCCESSION"),
        (
            "order-of-checks-product",
            replace(gap, product_id=OTHER_PRODUCT),
            "another product, a gap, and too few signatures",
            "BUNDLE_PRODUCT",
        ),
    )
    yield from _rows(rows)


def again() -> Iterator[BundleCase]:
    """Version 2, offered again to a device that has it."""
    plan = successor_plan("")
    rows: tuple[tuple[str, tuple[Signed, ...], str, str], ...] = (
        ("same", plan.signatures, "byte for byte", "OK"),
        ("own-only", plan.signatures[2:], "without the old roots' signatures: the same bundle", "OK"),
        ("old-only", plan.signatures[:2], "without its own roots' signatures", "BUNDLE_SIGNATURES"),
        ("old-not-looked-at", (Signed(0, 4, key("stranger")), *plan.signatures[2:]), "set 0 is not looked at", "OK"),
    )
    for name, entries, words, code in rows:
        changed = replace(plan, name=f"current-2-{name}", signatures=entries)
        yield offered(changed, words, code, "current", "successor-2")


def _rows(rows: tuple[Row, ...]) -> Iterator[BundleCase]:
    for name, plan, words, code in rows:
        yield _after_genesis(replace(plan, name=f"successor-{name}"), words, code)


def _after_genesis(plan: BundlePlan, description: str, code: str) -> BundleCase:
    return offered(plan, description, code, "successor", GENESIS)


def cases() -> Iterator[BundleCase]:
    """All of this file."""
    yield from taken()
    yield from chains()
    yield from places()
    yield from signatures()
    yield from built_in()
    yield from again()
