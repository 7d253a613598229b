"""Packages a device takes: every type, mode and target, and the sizes around a chunk's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.vectors.generator import p256
from tests.vectors.generator.keys import ephemeral_key, key
from tests.vectors.generator.package import PackagePlan, laid_over, make, wrap_pad
from tests.vectors.generator.package_case import PackageCase, case, with_fields
from tests.vectors.generator.world import (
    BOOTLOADER_A,
    BOOTLOADER_B,
    DEVICE_1_UID,
    DEVICE_2_UID,
    INSTALLED_VERSION,
    RUNNING_BOOTLOADER_VERSION,
    app_plan,
    complete_bootloader_plan,
    device_mode_plan,
    factory_test_plan,
    firmware_image,
    installed_application,
)


def accepted(plan: PackagePlan, description: str, device: str = "operational") -> PackageCase:
    """A vector that must install."""
    plan = replace(plan, has_trailer=True)
    return case(plan, description, "OK", "complete", device)


def with_trailer_of(plan: PackagePlan, size_bytes: int) -> PackagePlan:
    """The plan with a trailer filled up to exactly this size."""
    plan = replace(plan, has_trailer=True)
    return replace(plan, trailer_filler_bytes=size_bytes - len(make(plan).trailer))


def kinds() -> Iterator[PackageCase]:
    """Each legal combination of type, target and recipient mode but the grants (a later format)."""
    sbom = b'{"bomFormat": "CycloneDX", "specVersion": "1.5"}\n'
    yield accepted(
        replace(device_mode_plan("app-device-mode", firmware_image("application", 5000)), sbom=sbom),
        "application for one UID, encrypted for the device's own key; the SBOM digest is over a small file",
    )
    yield accepted(app_plan("app-group-mode"), "application for any device of the product, for the group's key")
    yield accepted(
        replace(app_plan("app-group-mode-one-uid"), target=1, target_uid=DEVICE_1_UID),
        "application for one UID, encrypted for the group's key: the UID is signed and stands in the wrap's info",
    )
    yield accepted(
        replace(app_plan("app-second-signer"), signers=("app-release-2",)),
        "any one current key of the role signs for it",
    )
    yield accepted(factory_test_plan("factory-test-plaintext"), "factory test, authenticated plaintext", "locked")
    yield accepted(
        replace(factory_test_plan("factory-test-plaintext-one-uid"), target=1, target_uid=DEVICE_1_UID),
        "factory test for one UID, authenticated plaintext",
        "rma",
    )
    yield accepted(
        replace(
            device_mode_plan("factory-test-device-mode"), package_type=3, signers=("production-1",), security_version=9
        ),
        "factory test for one UID, encrypted for the device's own key; security version at the bundle's maximum",
        "rma",
    )
    yield accepted(
        complete_bootloader_plan("bootloader-copy-b", BOOTLOADER_B),
        "bootloader for the copy that does not run, two signatures; the same version is how the second copy follows",
    )
    yield accepted(
        replace(
            complete_bootloader_plan("bootloader-device-mode"),
            target=1,
            target_uid=DEVICE_1_UID,
            recipient_mode=1,
            recipient="device-1-agreement",
            image_version=(3, 1, 5, 0),
            security_version=50,
        ),
        "bootloader for one UID and its own key, newer, security version at the bundle's maximum",
    )
    installed = installed_application()
    yield accepted(installed.plan, "the application that the device `operational-with-application` runs")


def sizes() -> Iterator[PackageCase]:
    """One byte, and around one and two chunks."""
    for size_bytes in (1, 4095, 4096, 4097, 8192, 8193):
        chunk_count = -(-size_bytes // 4096)
        last_size_bytes = size_bytes - 4096 * (chunk_count - 1)
        yield accepted(
            app_plan(f"app-image-{size_bytes}-bytes", firmware_image("application", size_bytes)),
            f"image of {size_bytes} bytes, {chunk_count} chunk(s), the last with {last_size_bytes}",
        )


def limits() -> Iterator[PackageCase]:
    """Values at the edge of what is allowed."""
    yield accepted(
        replace(app_plan("app-hardware-range-of-one"), hardware_revisions=(3, 3)),
        "hardware range of exactly the device's revision",
    )
    yield accepted(
        replace(app_plan("app-hardware-range-whole"), hardware_revisions=(0, 0xFFFF)), "the whole hardware range"
    )
    yield accepted(
        replace(app_plan("app-version-greatest"), image_version=(255, 255, 0xFFFF, 0xFFFFFFFF)),
        "greatest image version; every byte of the field is 0xFF",
    )
    yield accepted(replace(app_plan("app-security-version-at-minimum"), security_version=7), "at the bundle's minimum")
    yield accepted(
        replace(app_plan("app-security-version-at-maximum"), security_version=100), "at the bundle's maximum"
    )
    yield accepted(
        replace(
            app_plan("app-needs-exactly-this-device"),
            bootloader_version_min=RUNNING_BOOTLOADER_VERSION,
            trust_bundle_version_min=1,
        ),
        "needs exactly the bootloader and the trust bundle that the device has",
    )
    yield accepted(with_trailer_of(app_plan("app-trailer-of-512-bytes"), 512), "the largest trailer")
    bare = make(app_plan("app-without-trailer"))
    words = "no trailer at all: a device counts and ignores it"
    yield PackageCase(bare.plan.name, words, "OK", "complete", bare, bare.file)
    major, minor, revision, build = INSTALLED_VERSION
    for name, version, words in (
        ("build", (major, minor, revision, build + 1), "newer by its build number alone"),
        (
            "revision",
            (major, minor, revision + 1, 0),
            "revision 0x0100 after 0x00FF: fields are numbers, not byte strings",
        ),
        ("major", (major + 1, 0, 0, 0), "newer by its major number"),
    ):
        yield accepted(
            replace(app_plan(f"app-newer-{name}"), image_version=version), words, "operational-with-application"
        )


def signatures_and_keys() -> Iterator[PackageCase]:
    """Forms of signature, key wrap and target that are unusual and right."""
    package = make(app_plan("app-signature-low-s"))
    for name, form, words in (
        ("low", p256.with_low_s, "s at most n / 2"),
        ("high", p256.with_high_s, "s above n / 2: both are accepted"),
    ):
        plan = replace(package.plan, name=f"app-signature-{name}-s")
        made = make(plan)
        file = laid_over(made.file, 448, form(made.head[448:512]))
        yield PackageCase(plan.name, f"signature with {words}", "OK", "complete", made, file)
    yield accepted(
        replace(app_plan("app-target-uid-not-compared"), target=1, target_uid=DEVICE_2_UID, bound_uid=DEVICE_1_UID),
        "the head names another UID, but signature and wrap are over this device's own: a device never compares",
    )
    plan = app_plan("app-wrapped-cek-zero")
    pad = wrap_pad(plan, ephemeral_key(plan.name), key("group-lot-1-agreement").public)
    yield accepted(
        replace(plan, content_key=pad),
        "the content key equals the wrap's pad, so that wrapped_cek is zero: legal with a recipient",
    )
    yield accepted(
        with_fields(app_plan("app-sbom-digest-zero"), sbom_digest=bytes(32)),
        "sbom_digest is zero: a device does not judge it",
    )


def cases() -> Iterator[PackageCase]:
    """All of this file."""
    yield accepted(
        complete_bootloader_plan("bootloader-copy-a", BOOTLOADER_A), "bootloader that runs as copy A", "running-copy-b"
    )
    yield from kinds()
    yield from sizes()
    yield from limits()
    yield from signatures_and_keys()
