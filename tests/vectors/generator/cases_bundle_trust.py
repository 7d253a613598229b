"""Well-formed trust bundles: taken, or refused for what their signatures or their place in the succession are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.vectors.generator import p256
from tests.vectors.generator.bundle import BundlePlan, Signed, in_role_order, make
from tests.vectors.generator.bundle_case import BundleCase, offered
from tests.vectors.generator.cases_bundle_shape import base, small
from tests.vectors.generator.keys import in_order, key
from tests.vectors.generator.primitives import derived_bytes
from tests.vectors.generator.world import DEVICE_BUNDLE, PRODUCT, device_bundle_plan, object_bundle_plan


def full_plan(name: str) -> BundlePlan:
    """Every array full: five roots of which three are needed and five sign, twelve role keys, 24 revoked ids."""
    roots = in_order(*(f"root-{number}" for number in range(1, 6)))
    names = (
        *((1, f"app-release-spare-{number}") for number in range(1, 6)),
        (1, "app-release-1"),
        (2, "production-1"),
        (3, "grant-1"),
        (4, "service-1"),
        *((5, f"bootloader-release-{number}") for number in range(1, 4)),
    )
    revoked = sorted((derived_bytes(f"revoked {number}", 8), number % 2) for number in range(24))
    return BundlePlan(
        name=name,
        product_id=PRODUCT,
        roots=roots,
        threshold=3,
        role_keys=in_role_order(*((role, key(key_name)) for role, key_name in names)),
        revoked=tuple(revoked),
        limits=((0, 0), (5, 5), (0xFFFFFFFF, 0xFFFFFFFF)),
        signatures=tuple(Signed(1, index, root) for index, root in enumerate(roots)),
    )


def genesis() -> Iterator[BundleCase]:
    """Bundles that are trusted as the first."""
    yield offered(device_bundle_plan(), "two of three roots sign; the bundle that all devices here have", "OK")
    yield offered(object_bundle_plan(), "the bundle of the devices that take signed objects: more keys revoked", "OK")
    roots = device_bundle_plan().roots
    signatures = tuple(Signed(1, index, root) for index, root in enumerate(roots))
    plan = replace(base("genesis-2-of-3-all-sign"), signatures=signatures)
    yield offered(plan, "all three roots sign; the digest is the same as with two", "OK")
    plan = replace(base("genesis-2-of-3-first-and-last"), signatures=(signatures[0], signatures[2]))
    yield offered(plan, "the first and the last root sign", "OK")
    yield offered(small("genesis-1-of-1"), "one root; no role keys, nothing revoked, no limits", "OK")
    yield offered(full_plan("genesis-3-of-5-full"), "every array full, minimum equal to maximum", "OK")
    bundle = make(base("genesis-high-s"))
    first = bundle.file[1604:1668]
    file = bundle.file[:1604] + p256.with_high_s(first) + bundle.file[1668:]
    yield BundleCase(bundle.plan.name, "a signature with s above n / 2", "OK", "complete", bundle, file)


def genesis_signatures() -> Iterator[BundleCase]:
    """BUNDLE_SIGNATURES, and a version that is no genesis."""
    plan = base("")
    a, b, c = plan.roots
    one, two, three = Signed(1, 0, a), Signed(1, 1, b), Signed(1, 2, c)
    app, stranger = key("app-release-1"), key("stranger")
    wrong = "SR-pkg-app-v1"
    n = p256.N.to_bytes(32, "big")
    s = p256.sign(a.private, DEVICE_BUNDLE.digest)[32:]
    rows: tuple[tuple[str, tuple[Signed, ...], str], ...] = (
        ("none", (), "no signature"),
        ("one-of-two", (one,), "one signature where two are needed"),
        ("bad-extra", (one, two, Signed(1, 2, stranger)), "two valid signatures, and a third that does not verify"),
        ("bad-one-of-two", (one, Signed(1, 1, stranger)), "one of two does not verify"),
        ("by-other-root", (one, Signed(1, 1, c)), "a root's signature under another root's index"),
        ("by-one-root-twice", (one, Signed(1, 1, a)), "one root signs for two"),
        ("by-role-key", (one, Signed(1, 1, app)), "a role key signs for a root"),
        ("index-beyond-roots", (one, two, Signed(1, 3, c)), "an index that no root has"),
        ("index-255", (one, two, Signed(1, 255, c)), "index 255"),
        ("set-0", (Signed(0, 0, a), one, two), "a signature of set 0, valid in itself"),
        ("only-set-0", (Signed(0, 0, a), Signed(0, 1, b)), "the right roots, but in set 0"),
        ("wrong-context", (one, Signed(1, 1, b, wrong)), "signed in the context of an application package"),
        ("r-zero", (Signed(1, 0, a, fixed=bytes(32) + s), two, three), "r = 0 in one of three"),
        ("s-n", (Signed(1, 0, a, fixed=s + n), two, three), "s = n in one of three"),
        ("zero", (Signed(1, 0, a, fixed=bytes(64)), two, three), "a signature of zeros among three"),
    )
    for name, signatures, words in rows:
        yield offered(
            replace(plan, name=f"genesis-signatures-{name}", signatures=signatures), words, "BUNDLE_SIGNATURES"
        )
    off_curve = replace(a, public=a.public[:63] + bytes((a.public[63] ^ 1,)))
    plan = replace(base("genesis-root-off-curve"), roots=(off_curve, b, c), signatures=(one, two))
    yield offered(plan, "a signing root is not a point of the curve", "BUNDLE_SIGNATURES")
    plan = replace(base("genesis-root-off-curve-unused"), roots=(off_curve, b, c), signatures=(two, three))
    yield offered(plan, "a root that does not sign is not a point of the curve: a parser does not look", "OK")
    plan = replace(base("genesis-version-2"), version=2, previous_digest=DEVICE_BUNDLE.digest)
    yield offered(plan, "version 2, signed by its own roots, offered as the first", "BUNDLE_GENESIS")
    changed = make(base("genesis-signed-byte-changed"))
    file = changed.file[:71] + bytes((changed.file[71] ^ 0x80,)) + changed.file[72:]
    words = "one bit of the greatest security version changed after signing"
    yield BundleCase(changed.plan.name, words, "BUNDLE_SIGNATURES", "trust", changed, file)


def current() -> Iterator[BundleCase]:
    """The device's own bundle, offered again."""
    plan = device_bundle_plan()
    a, b, c = plan.roots
    rows: tuple[tuple[str, tuple[Signed, ...], str, str], ...] = (
        ("same", plan.signatures, "byte for byte", "OK"),
        ("other-signatures", (Signed(1, 1, b), Signed(1, 2, c)), "signed by other roots: the same bundle", "OK"),
        (
            "set-0-ignored",
            (Signed(0, 0, key("stranger")), *plan.signatures),
            "a signature of set 0 is not looked at",
            "OK",
        ),
        ("too-few", plan.signatures[:1], "one signature where two are needed", "BUNDLE_SIGNATURES"),
        (
            "bad-extra",
            (*plan.signatures, Signed(1, 2, a)),
            "a third signature that does not verify",
            "BUNDLE_SIGNATURES",
        ),
    )
    for name, signatures, words, code in rows:
        again = replace(plan, name=f"current-{name}", signatures=signatures)
        yield offered(again, words, code, "current", "genesis-2-of-3")
    limits = ((7, 101), plan.limits[1], plan.limits[2])
    other = replace(plan, name="current-another-version-1", limits=limits)
    yield offered(
        other, "another bundle of version 1, signed by the same roots", "BUNDLE_SUCCESSION", "current", "genesis-2-of-3"
    )


def cases() -> Iterator[BundleCase]:
    """All of this file."""
    yield from genesis()
    yield from genesis_signatures()
    yield from current()
