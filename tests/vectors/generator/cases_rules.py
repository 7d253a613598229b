"""Authentic heads that this device must refuse all the same: `docs/spec/device-state.md`, section 5, step 1."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.vectors.generator.cases_shape import IMAGE_SIZE_BYTES_MAX, grant_plan
from tests.vectors.generator.cases_valid import with_trailer_of
from tests.vectors.generator.package import PackagePlan, Value, Version, make
from tests.vectors.generator.package_case import PackageCase, case, with_fields
from tests.vectors.generator.world import (
    APPLICATION,
    BOOTLOADER_A,
    HEAD_SIZE_BYTES,
    INSTALLED_VERSION,
    OTHER_PRODUCT,
    app_plan,
    bootloader_plan,
    device_mode_plan,
    factory_test_plan,
)


def product_and_place() -> Iterator[PackageCase]:
    """WRONG_PRODUCT to PACKAGE_SIZE."""
    plan = replace(app_plan("product-of-another"), product_id=OTHER_PRODUCT)
    yield case(plan, "product id differs in its last byte", "WRONG_PRODUCT", "rules")
    for name, revisions in (("above", (4, 9)), ("below", (0, 2)), ("high-byte", (0x0300, 0x0300))):
        plan = replace(app_plan(f"hardware-range-{name}"), hardware_revisions=revisions)
        yield case(
            plan, f"for revisions {revisions[0]} to {revisions[1]}, this is 3", "WRONG_HARDWARE_REVISION", "rules"
        )
    for name, offset in (("without-head", 0), ("next-slot", 2 * HEAD_SIZE_BYTES), ("zero", -APPLICATION[0])):
        plan = replace(app_plan(f"load-address-{name}"), load_address=APPLICATION[0] + offset)
        yield case(plan, f"linked for {plan.load_address:#010x}", "WRONG_LOAD_ADDRESS", "rules")
    yield case(
        bootloader_plan("load-address-of-running-copy", BOOTLOADER_A),
        "a bootloader for the region of the running copy",
        "WRONG_LOAD_ADDRESS",
        "rules",
    )
    for name, size_bytes in (
        ("by-one-byte", APPLICATION[1] - HEAD_SIZE_BYTES + 1),
        ("by-its-head", APPLICATION[1]),
        ("at-the-format-limit", IMAGE_SIZE_BYTES_MAX),
    ):
        plan = with_fields(
            app_plan(f"image-too-large-{name}"),
            image_size_bytes=size_bytes,
            payload_size_bytes=size_bytes + 32 * -(-size_bytes // 4096),
        )
        yield case(plan, f"an image of {size_bytes} bytes does not fit its region", "IMAGE_TOO_LARGE", "rules")


def announced_size() -> Iterator[PackageCase]:
    """PACKAGE_SIZE: the announced size is that of the file."""
    plan = with_trailer_of(app_plan("trailer-of-513-bytes"), 513)
    yield case(plan, "one byte of trailer too many", "PACKAGE_SIZE", "rules")
    package = make(app_plan("payload-short-of-one-byte"))
    end = HEAD_SIZE_BYTES + sum(map(len, package.chunks))
    for name, size_bytes, words in (
        ("payload-short-of-one-byte", end - 1, "the last byte of the payload is missing"),
        ("payload-missing", HEAD_SIZE_BYTES, "nothing but the head"),
    ):
        package = make(replace(package.plan, name=name))
        yield PackageCase(name, words, "PACKAGE_SIZE", "rules", package, package.file[:size_bytes])


def lifecycle() -> Iterator[PackageCase]:
    """LIFECYCLE: type 1 and 2 only in OPERATIONAL, type 3 only in LOCKED and RMA."""
    rows = (
        (app_plan("lifecycle-application-when-locked"), "locked"),
        (app_plan("lifecycle-application-in-rma"), "rma"),
        (bootloader_plan("lifecycle-bootloader-when-locked"), "locked"),
        (bootloader_plan("lifecycle-bootloader-in-rma"), "rma"),
        (factory_test_plan("lifecycle-factory-test-when-operational"), "operational"),
    )
    for plan, device in rows:
        yield case(
            plan, f"package type {plan.package_type} on a device that is `{device}`", "LIFECYCLE", "rules", device
        )


def versions() -> Iterator[PackageCase]:
    """BOOTLOADER_TOO_OLD and TRUST_BUNDLE_TOO_OLD."""
    needs: tuple[tuple[str, Version], ...] = (
        ("build", (3, 1, 4, 2)),
        ("revision-high-byte", (3, 1, 0x0100, 0)),
        ("major", (4, 0, 0, 0)),
    )
    for name, version in needs:
        plan = replace(app_plan(f"bootloader-too-old-{name}"), bootloader_version_min=version)
        yield case(plan, f"needs bootloader {version}, this is (3, 1, 4, 1)", "BOOTLOADER_TOO_OLD", "rules")
    plan = replace(app_plan("trust-bundle-too-old"), trust_bundle_version_min=2)
    yield case(plan, "needs trust bundle 2, the device has 1", "TRUST_BUNDLE_TOO_OLD", "rules")


def security_versions() -> Iterator[PackageCase]:
    """BELOW_FLOOR, BELOW_MINIMUM and ABOVE_MAXIMUM, for each package type."""
    app, boot, test = app_plan(""), bootloader_plan(""), factory_test_plan("")
    rows: tuple[tuple[str, PackagePlan, int, str, str], ...] = (
        ("below-floor", app, 4, "floor 5", "BELOW_FLOOR"),
        ("below-minimum", app, 6, "floor 5, minimum 7", "BELOW_MINIMUM"),
        ("above-maximum", app, 101, "maximum 100", "ABOVE_MAXIMUM"),
        ("floor-lock-out", app, 0xFFFFFFFF, "maximum 100", "ABOVE_MAXIMUM"),
        ("bootloader-below-floor", boot, 2, "floor 3", "BELOW_FLOOR"),
        ("bootloader-above-maximum", boot, 51, "maximum 50", "ABOVE_MAXIMUM"),
        ("factory-test-below-floor", test, 0, "floor 1", "BELOW_FLOOR"),
        ("factory-test-above-maximum", test, 10, "maximum 9", "ABOVE_MAXIMUM"),
    )
    for name, base, security_version, words, code in rows:
        plan = replace(base, name=name, security_version=security_version)
        device = "locked" if plan.package_type == 3 else "operational"
        yield case(plan, f"security version {security_version}, {words}", code, "rules", device)


def not_newer() -> Iterator[PackageCase]:
    """VERSION_NOT_NEWER, against the confirmed application 1.2.255+7 and the running bootloader 3.1.4+1."""
    major, minor, revision, build = INSTALLED_VERSION
    rows: tuple[tuple[str, Version], ...] = (
        ("same", INSTALLED_VERSION),
        ("older-build", (major, minor, revision, build - 1)),
        ("older-minor", (major, minor - 1, 0xFFFF, 0xFFFFFFFF)),
        ("older-major", (major - 1, 255, 0xFFFF, 0xFFFFFFFF)),
    )
    for name, version in rows:
        plan = replace(app_plan(f"version-{name}"), image_version=version)
        words = f"{version}, installed and confirmed {INSTALLED_VERSION}"
        yield case(plan, words, "VERSION_NOT_NEWER", "rules", "operational-with-application")
    plan = replace(bootloader_plan("bootloader-version-older"), image_version=(3, 1, 4, 0))
    yield case(plan, "a bootloader older than the running copy", "VERSION_NOT_NEWER", "rules")


def recipients() -> Iterator[PackageCase]:
    """GRANT_REQUIRED and RECIPIENT_UNKNOWN."""
    yield case(grant_plan("grant-required"), "a grant is required and there is none", "GRANT_REQUIRED", "recipient")
    rows = (
        (replace(app_plan("recipient-another-group"), recipient="group-lot-2-agreement"), "operational"),
        (replace(device_mode_plan("recipient-another-device"), recipient="device-2-agreement"), "operational"),
        (app_plan("recipient-group-key-missing"), "operational-without-group-key"),
        (
            replace(device_mode_plan("recipient-device-mode-with-group-key"), recipient="group-lot-1-agreement"),
            "operational",
        ),
        (replace(app_plan("recipient-group-mode-with-device-key"), recipient="device-1-agreement"), "operational"),
    )
    for plan, device in rows:
        words = f"mode {plan.recipient_mode}, encrypted for {plan.recipient}"
        yield case(plan, words, "RECIPIENT_UNKNOWN", "recipient", device)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break one rule, that leaves every earlier rule content."""

    code: str
    changes: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, Value] = field(default_factory=dict)


FAULTS_IN_ORDER = (
    Fault("WRONG_PRODUCT", {"product_id": OTHER_PRODUCT}),
    Fault("WRONG_HARDWARE_REVISION", {"hardware_revisions": (7, 7)}),
    Fault("WRONG_LOAD_ADDRESS", {"load_address": APPLICATION[0]}),
    Fault("IMAGE_TOO_LARGE", fields={"image_size_bytes": 1 << 20, "payload_size_bytes": (1 << 20) + 32 * 256}),
    Fault("PACKAGE_SIZE", {"has_trailer": True, "trailer_filler_bytes": 600}),
    Fault("BOOTLOADER_TOO_OLD", {"bootloader_version_min": (9, 0, 0, 0)}),
    Fault("TRUST_BUNDLE_TOO_OLD", {"trust_bundle_version_min": 9}),
    Fault("BELOW_FLOOR", {"security_version": 1}),
    Fault("VERSION_NOT_NEWER", {"image_version": (1, 0, 0, 0)}),
    Fault("RECIPIENT_UNKNOWN", {"recipient": "group-lot-2-agreement"}),
)


def order_of_rules() -> Iterator[PackageCase]:
    """Two neighbouring rules broken at once, and then all: the first one is reported."""
    for number, faults in enumerate([*itertools.pairwise(FAULTS_IN_ORDER), FAULTS_IN_ORDER]):
        changes: dict[str, object] = {}
        fields: dict[str, Value] = {}
        for fault in faults:
            changes |= fault.changes
            fields |= fault.fields
        first = faults[0].code
        plan = app_plan(f"rule-order-{number:02}-{first.lower().replace('_', '-')}")
        plan = replace(plan, fields=fields, **changes)  # type: ignore[arg-type]
        words = " and ".join(fault.code for fault in faults) if len(faults) == 2 else "every rule here"
        yield case(plan, f"breaks {words}: the first is reported", first, "rules", "operational-with-application")


def cases() -> Iterator[PackageCase]:
    """All of this file."""
    yield from product_and_place()
    yield from announced_size()
    yield from lifecycle()
    yield from versions()
    yield from security_versions()
    yield from not_newer()
    yield from recipients()
    yield from order_of_rules()
