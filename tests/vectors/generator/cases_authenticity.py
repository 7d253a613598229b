"""Well-formed heads whose signers or signatures a device must refuse: checks 16 and 17 of the specification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.vectors.generator import p256
from tests.vectors.generator.keys import key
from tests.vectors.generator.package import Package, PackagePlan, digest_to_sign, laid_over, make
from tests.vectors.generator.package_case import PackageCase, case
from tests.vectors.generator.primitives import context, sha256
from tests.vectors.generator.world import (
    DEVICE_1_UID,
    DEVICE_2_UID,
    app_plan,
    bootloader_plan,
    device_mode_plan,
    factory_test_plan,
)

SIGNATURE_0, SIGNATURE_1 = 448, 512


def invalid(plan: PackagePlan, description: str, device: str = "operational") -> PackageCase:
    """A vector with SIGNATURE_INVALID, as the plan makes it."""
    return case(plan, description, "SIGNATURE_INVALID", "signatures", device)


def changed(package: Package, offset: int, patch: bytes, description: str) -> PackageCase:
    """A vector with SIGNATURE_INVALID, made by changing the finished package."""
    file = laid_over(package.file, offset, patch)
    return PackageCase(package.plan.name, description, "SIGNATURE_INVALID", "signatures", package, file)


def device_for(plan: PackagePlan) -> str:
    """The device that takes packages of this type."""
    return "locked" if plan.package_type == 3 else "operational"


def signers() -> Iterator[PackageCase]:
    """Check 16: names no current key of the role, or a revoked one."""
    app, test, boot = app_plan(""), factory_test_plan(""), bootloader_plan("")
    boots = [f"bootloader-release-{number}" for number in range(1, 5)]
    rows: tuple[tuple[str, PackagePlan, tuple[str, ...], str], ...] = (
        ("stranger", app, ("stranger",), "a key the bundle does not name"),
        ("production-for-application", app, ("production-1",), "role production"),
        ("bootloader-key-for-application", app, ("bootloader-release-1",), "role bootloader-release"),
        ("root-for-application", app, ("root-1",), "a root signs nothing but bundles"),
        ("compat-for-application", app, ("compat",), "the compat key has no role"),
        ("application-key-for-factory-test", test, ("app-release-1",), "role application-release"),
        ("application-keys-for-bootloader", boot, ("app-release-1", "app-release-2"), "role application-release"),
        ("not-built-in", boot, (boots[0], boots[3]), "bootloader-release-4 is in the bundle, but not built in"),
        ("not-in-bundle", boot, (boots[0], boots[2]), "bootloader-release-3 is built in, but not in the bundle"),
    )
    for name, base, names, words in rows:
        plan = replace(base, name=f"signer-{name}", signers=names)
        yield case(plan, words, "SIGNER_UNKNOWN", "signatures", device_for(plan))
    revoked = replace(app_plan("signer-revoked"), signers=("app-release-revoked",))
    yield case(revoked, "the signer's key id is among the revoked", "SIGNER_REVOKED", "signatures")


def contexts() -> Iterator[PackageCase]:
    """Signed in another context than the device takes."""
    app, test, boot = app_plan(""), factory_test_plan(""), bootloader_plan("")
    rows: tuple[tuple[str, PackagePlan, str, str], ...] = (
        ("boot-for-application", app, "SR-pkg-boot-v1", "signed as a bootloader"),
        ("test-for-application", app, "SR-pkg-test-v1", "signed as a factory test"),
        ("bundle-for-application", app, "SR-bundle-v1", "signed in the bundle's context"),
        ("app-for-bootloader", boot, "SR-pkg-app-v1", "signed as an application"),
        ("app-for-factory-test", test, "SR-pkg-app-v1", "signed as an application"),
    )
    for name, base, sign_context, words in rows:
        plan = replace(base, name=f"context-{name}", sign_context=sign_context)
        yield invalid(plan, words, device_for(plan))


def uids() -> Iterator[PackageCase]:
    """Signed over another UID than the device takes."""
    ours = device_mode_plan("")
    rows: tuple[tuple[str, PackagePlan, str], ...] = (
        ("of-another-device", replace(ours, target_uid=DEVICE_2_UID), "bound to device 2"),
        (
            "field-ours-signed-for-another",
            replace(ours, bound_uid=DEVICE_2_UID),
            "the head names this device, the signature is for device 2",
        ),
        ("signed-as-zero", replace(ours, bound_uid=bytes(16)), "bound to this device, but signed over a zero UID"),
        ("signed-for-any", replace(app_plan(""), bound_uid=DEVICE_1_UID), "for any device, but signed over one's UID"),
    )
    for name, plan, words in rows:
        yield invalid(replace(plan, name=f"uid-{name}"), words)


def scalars() -> Iterator[PackageCase]:
    """r or s out of 1 … n − 1, and signatures of the right form that are not over this head."""
    n, top = p256.N.to_bytes(32, "big"), b"\xff" * 32
    rows = (
        ("r-zero", 0, bytes(32), "r = 0"),
        ("s-zero", 32, bytes(32), "s = 0"),
        ("r-n", 0, n, "r = n"),
        ("s-n", 32, n, "s = n"),
        ("r-above-n", 0, (p256.N + 1).to_bytes(32, "big"), "r = n + 1"),
        ("s-above-n", 32, (p256.N + 1).to_bytes(32, "big"), "s = n + 1"),
        ("r-greatest", 0, top, "r = 2^256 − 1"),
        ("s-greatest", 32, top, "s = 2^256 − 1"),
        ("both-zero", 0, bytes(64), "both zero: a prepared package"),
        ("both-one", 0, (bytes(31) + b"\x01") * 2, "r = s = 1"),
    )
    for name, offset, patch, words in rows:
        package = make(app_plan(f"signature-{name}"))
        yield changed(package, SIGNATURE_0 + offset, patch, words)
    package = make(app_plan("signature-little-endian"))
    r, s = package.head[448:480], package.head[480:512]
    yield changed(package, SIGNATURE_0, r[::-1] + s[::-1], "r and s little-endian")
    package = make(app_plan("signature-r-and-s-swapped"))
    r, s = package.head[448:480], package.head[480:512]
    yield changed(package, SIGNATURE_0, s + r, "s ‖ r")
    package = make(app_plan("signature-negative-r"))
    negative = (p256.N - int.from_bytes(package.head[448:480], "big")).to_bytes(32, "big")
    yield changed(package, SIGNATURE_0, negative, "n − r in place of r")


def wrong_digests() -> Iterator[PackageCase]:
    """Signed by the right key, over something else."""
    private = key("app-release-1").private
    package = make(app_plan("signature-over-bare-head"))
    bare = p256.sign(private, sha256(package.head[:448]))
    yield changed(package, SIGNATURE_0, bare, "over SHA-256(head[0:448]), without context and UID")
    package = make(app_plan("signature-over-twice-hashed"))
    yield changed(
        package, SIGNATURE_0, p256.sign(private, sha256(package.signed_digest)), "over the digest, hashed again"
    )
    package = make(app_plan("signature-over-unpadded-context"))
    digest = sha256(b"SR-pkg-app-v1", bytes(16), package.head[:448])
    yield changed(package, SIGNATURE_0, p256.sign(private, digest), "the context is not padded to 16 bytes")
    package = make(app_plan("signature-over-whole-head"))
    digest = sha256(context("SR-pkg-app-v1"), bytes(16), package.head[:448], bytes(576))
    yield changed(package, SIGNATURE_0, p256.sign(private, digest), "over 1,024 bytes of head, not 448")
    package = make(app_plan("signature-by-the-other-key"))
    other = p256.sign(key("app-release-2").private, package.signed_digest)
    yield changed(package, SIGNATURE_0, other, "by another current key than the head names")


def changed_heads() -> Iterator[PackageCase]:
    """One bit of a signed field changed afterwards; each leaves the head well-formed."""
    rows = (
        ("image-version", 60),
        ("security-version", 68),
        ("image-digest", 144),
        ("first-link", 184),
        ("wrapped-cek", 312),
    )
    for name, offset in rows:
        plan = replace(app_plan(f"bit-changed-in-{name}"), security_version=11)
        package = make(plan)
        patches = [(offset, bytes((package.head[offset] ^ 1,)))]
        if offset == 60:  # the MCUboot header repeats the version, and is compared with it before any signature
            patches.append((20, bytes((package.head[20] ^ 1,))))
        file = package.file
        for at, patch in patches:
            file = laid_over(file, at, patch)
        words = f"one bit of {name} changed after signing"
        yield PackageCase(plan.name, words, "SIGNATURE_INVALID", "signatures", package, file)


def two_signatures() -> Iterator[PackageCase]:
    """Bootloader packages: both signatures, each by the key that stands at its place."""
    package = make(bootloader_plan("bootloader-signatures-swapped"))
    swapped = package.head[512:576] + package.head[448:512]
    yield changed(package, SIGNATURE_0, swapped, "signature_0 and signature_1 exchanged")
    package = make(bootloader_plan("bootloader-one-signature-twice"))
    yield changed(package, SIGNATURE_1, package.head[448:512], "signature_1 is a copy of signature_0")
    package = make(bootloader_plan("bootloader-one-key-signs-for-both"))
    again = p256.with_high_s(p256.sign(package.signers[0].private, package.signed_digest))
    yield changed(package, SIGNATURE_1, again, "both signatures are valid, but by the first key")
    package = make(bootloader_plan("bootloader-second-signature-zero"))
    yield changed(package, SIGNATURE_1, bytes(64), "signature_1 is zero")
    package = make(bootloader_plan("bootloader-first-signature-zero"))
    yield changed(package, SIGNATURE_0, bytes(64), "signature_0 is zero")
    package = make(bootloader_plan("bootloader-second-signature-other-head"))
    digest = digest_to_sign(laid_over(package.head, 144, bytes(32)), "SR-pkg-boot-v1", bytes(16))
    other = p256.sign(package.signers[1].private, digest)
    yield changed(package, SIGNATURE_1, other, "signature_1 is over another head")


def cases() -> Iterator[PackageCase]:
    """All of this file."""
    yield from signers()
    yield from contexts()
    yield from uids()
    yield from scalars()
    yield from wrong_digests()
    yield from changed_heads()
    yield from two_signatures()
