"""Heads that a parser must refuse, each properly signed over its wrong content: checks 1 to 15 of the specification."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.vectors.generator.package import PackagePlan, Value, make
from tests.vectors.generator.package_case import PackageCase, case, with_fields
from tests.vectors.generator.primitives import derived_bytes
from tests.vectors.generator.world import (
    DEVICE_1_UID,
    app_plan,
    bootloader_plan,
    device_mode_plan,
    factory_test_plan,
)

IMAGE_SIZE_BYTES_MAX = 64 * 1024 * 1024


def refused(plan: PackagePlan, description: str, code: str) -> PackageCase:
    """A vector that a parser must refuse."""
    return case(plan, description, code, "head")


def truncated() -> Iterator[PackageCase]:
    """Check 1."""
    for size_bytes in (0, 32, 1023):
        package = make(app_plan(f"head-of-{size_bytes}-bytes"))
        yield PackageCase(
            package.plan.name,
            f"only {size_bytes} bytes of the package",
            "HEAD_TRUNCATED",
            "head",
            package,
            package.file[:size_bytes],
        )


def mcuboot_header() -> Iterator[PackageCase]:
    """Check 2, field by field; the manifest's own fields stay right."""
    payload_size_bytes = 100 + 32
    rows: tuple[tuple[str, str, Value], ...] = (
        ("ih_magic", "one bit off", 0x96F3B83C),
        ("ih_load_addr", "not zero", 0x08040400),
        ("ih_hdr_size", "512", 512),
        ("ih_protect_tlv_size", "not zero", 8),
        ("ih_img_size", "one more than payload_size_bytes", payload_size_bytes + 1),
        ("ih_img_size", "the image size, without the link", 100),
        ("ih_flags", "ENCRYPTED_AES256 set", 0x8),
        ("ih_ver", "another build number than image_version", (1, 2, 3, 5)),
        ("_pad1", "not zero", 0x01000000),
    )
    for number, (name, words, value) in enumerate(rows):
        plan = app_plan(f"mcuboot-{number}-{name.strip('_').replace('_', '-')}")
        yield refused(replace(plan, mcuboot={name: value}), f"{name}: {words}", "MCUBOOT_HEADER")


def constants() -> Iterator[PackageCase]:
    """Checks 3 to 6 and 8, 13."""
    rows: tuple[tuple[str, str, Value, str], ...] = (
        ("magic-of-bundle", "magic", b"SRB1", "MANIFEST_MAGIC"),
        ("magic-reversed", "magic", b"1MRS", "MANIFEST_MAGIC"),
        ("format-version-0", "format_version", 0, "FORMAT_VERSION"),
        ("format-version-2", "format_version", 2, "FORMAT_VERSION"),
        ("format-version-high-byte", "format_version", 0x0101, "FORMAT_VERSION"),
        ("package-type-0", "package_type", 0, "PACKAGE_TYPE"),
        ("package-type-4", "package_type", 4, "PACKAGE_TYPE"),
        ("package-type-255", "package_type", 255, "PACKAGE_TYPE"),
        ("suite-0", "suite", 0, "SUITE"),
        ("suite-2", "suite", 2, "SUITE"),
        ("product-id-zero", "product_id", bytes(16), "PRODUCT_ID"),
        ("chunk-size-0", "chunk_size_bytes", 0, "CHUNK_SIZE"),
        ("chunk-size-2048", "chunk_size_bytes", 2048, "CHUNK_SIZE"),
        ("chunk-size-4097", "chunk_size_bytes", 4097, "CHUNK_SIZE"),
    )
    for name, field_name, value, code in rows:
        yield refused(with_fields(app_plan(name), **{field_name: value}), f"{field_name} is {_shown(value)}", code)


def reserved() -> Iterator[PackageCase]:
    """Check 7: both reserved fields and the padding, at their first and last bytes."""
    for offset, value in ((94, 0x01), (95, 0x80), (400, 0x01), (447, 0x80), (576, 0x01), (1023, 0x80)):
        plan = replace(app_plan(f"reserved-byte-{offset}"), raw=((offset, bytes((value,))),))
        yield refused(plan, f"byte {offset} of the head is {value:#04x}", "RESERVED_NOT_ZERO")


def hardware_and_target() -> Iterator[PackageCase]:
    """Checks 9 and 10."""
    plan = replace(app_plan("hardware-range-empty"), hardware_revisions=(4, 3))
    yield refused(plan, "hardware_revision_min is above hardware_revision_max", "HARDWARE_RANGE")
    plan = replace(app_plan("hardware-range-empty-high-byte"), hardware_revisions=(0x0100, 0x00FF))
    yield refused(plan, "0x0100 above 0x00FF: they are numbers, not byte strings", "HARDWARE_RANGE")
    for target in (3, 255):
        plan = with_fields(app_plan(f"target-{target}"), target=target)
        yield refused(plan, f"unknown target {target}", "TARGET")
    rows = (
        ("target-any-with-uid", app_plan, 0, DEVICE_1_UID, "any device, but a UID is given"),
        ("target-any-with-last-byte", app_plan, 0, bytes(15) + b"\x01", "any device, but the UID's last byte is set"),
        ("target-one-without-uid", device_mode_plan, 1, bytes(16), "one UID, but it is zero"),
    )
    for name, base, target, uid, words in rows:
        yield refused(replace(base(name), target=target, target_uid=uid), words, "TARGET")
    plan = replace(grant_plan("target-grant-with-uid"), target_uid=DEVICE_1_UID)
    yield refused(plan, "a grant is required, but a UID is given", "TARGET")


def grant_plan(name: str) -> PackagePlan:
    """A well-formed package that needs a grant: its content key comes later, in another format."""
    return replace(app_plan(name), target=2, recipient_mode=3, recipient=None)


def recipient_pairs() -> Iterator[PackageCase]:
    """Check 11, first half: the mode is known and goes with type and target."""
    rows: tuple[tuple[str, PackagePlan, str], ...] = (
        ("mode-4", with_fields(app_plan("mode-4"), recipient_mode=4), "unknown recipient mode"),
        ("plain-application", replace(app_plan(""), recipient_mode=0, recipient=None), "an application in plaintext"),
        (
            "plain-bootloader",
            replace(bootloader_plan(""), recipient_mode=0, recipient=None),
            "a bootloader in plaintext",
        ),
        (
            "factory-test-group",
            replace(app_plan(""), package_type=3, signers=("production-1",)),
            "a factory test in group mode",
        ),
        (
            "factory-test-grant",
            replace(grant_plan(""), package_type=3, signers=("production-1",)),
            "a factory test by grant",
        ),
        (
            "device-mode-any-device",
            replace(device_mode_plan(""), target=0, target_uid=bytes(16)),
            "device mode, target any",
        ),
        (
            "device-mode-grant",
            replace(device_mode_plan(""), target=2, target_uid=bytes(16)),
            "device mode, target grant",
        ),
        ("group-mode-grant", replace(app_plan(""), target=2), "group mode, target grant"),
        ("grant-mode-any-device", replace(grant_plan(""), target=0), "grant mode, target any"),
        (
            "grant-mode-one-uid",
            replace(grant_plan(""), target=1, target_uid=DEVICE_1_UID),
            "grant mode, target one UID",
        ),
        ("plain-factory-test-grant", replace(factory_test_plan(""), target=2), "plaintext factory test, target grant"),
    )
    for name, plan, words in rows:
        yield refused(replace(plan, name=f"recipient-{name}"), words, "RECIPIENT_MODE")


def recipient_fields() -> Iterator[PackageCase]:
    """Check 11, second half: each field is zero exactly where it must be."""
    some = derived_bytes("where zero belongs", 64)
    rows: tuple[tuple[str, PackagePlan, dict[str, Value]], ...] = (
        ("plain-commitment", factory_test_plan(""), {"cek_commitment": some[:32]}),
        ("plain-ephemeral", factory_test_plan(""), {"ephemeral_public_key": some}),
        ("plain-wrapped-cek", factory_test_plan(""), {"wrapped_cek": some[:32]}),
        ("plain-key-id", factory_test_plan(""), {"recipient_key_id": some[:8]}),
        ("group-commitment-zero", app_plan(""), {"cek_commitment": bytes(32)}),
        ("group-ephemeral-zero", app_plan(""), {"ephemeral_public_key": bytes(64)}),
        ("group-key-id-zero", app_plan(""), {"recipient_key_id": bytes(8)}),
        ("device-ephemeral-zero", device_mode_plan(""), {"ephemeral_public_key": bytes(64)}),
        ("device-key-id-zero", device_mode_plan(""), {"recipient_key_id": bytes(8)}),
        ("grant-commitment-zero", grant_plan(""), {"cek_commitment": bytes(32)}),
        ("grant-ephemeral", grant_plan(""), {"ephemeral_public_key": some}),
        ("grant-wrapped-cek", grant_plan(""), {"wrapped_cek": bytes(31) + b"\x01"}),
        ("grant-key-id", grant_plan(""), {"recipient_key_id": some[:8]}),
    )
    for name, plan, fields in rows:
        words = f"{next(iter(fields))} is {'not ' if any(next(iter(fields.values()))) else ''}zero"  # type: ignore[arg-type]
        yield refused(with_fields(replace(plan, name=f"recipient-{name}"), **fields), words, "RECIPIENT_MODE")


def sizes() -> Iterator[PackageCase]:
    """Checks 12 and 14."""
    for name, size_bytes in (("zero", 0), ("above-limit", IMAGE_SIZE_BYTES_MAX + 1), ("greatest", 0xFFFFFFFF)):
        payload_size_bytes = (size_bytes + 32 * -(-size_bytes // 4096)) & 0xFFFFFFFF
        plan = app_plan(f"image-size-{name}")
        plan = with_fields(plan, image_size_bytes=size_bytes, payload_size_bytes=payload_size_bytes)
        yield refused(plan, f"image_size_bytes is {size_bytes}, the rest fits it", "IMAGE_SIZE")
    rows = (
        ("one-more", 100, 133, "one more than it must be"),
        ("one-less", 100, 131, "one less than it must be"),
        ("without-links", 100, 100, "the image's, without links"),
        ("link-too-many", 4096, 4096 + 64, "one link too many for exactly one chunk"),
        ("link-too-few", 4097, 4097 + 32, "one link too few for two chunks"),
    )
    for name, size_bytes, payload_size_bytes, words in rows:
        plan = app_plan(f"payload-size-{name}")
        plan = with_fields(plan, image_size_bytes=size_bytes, payload_size_bytes=payload_size_bytes)
        yield refused(plan, f"payload_size_bytes is {words}; ih_img_size is the same", "PAYLOAD_SIZE")


def signer_ids() -> Iterator[PackageCase]:
    """Check 15."""
    first, second = (entry.key_id for entry in make(bootloader_plan("signer-ids")).signers)
    rows: tuple[tuple[str, PackagePlan, str], ...] = (
        ("zero", with_fields(app_plan(""), signer_key_id_0=bytes(8)), "signer_key_id_0 is zero"),
        (
            "second-for-application",
            with_fields(app_plan(""), signer_key_id_1=second),
            "an application names two signers",
        ),
        (
            "second-signature-for-application",
            replace(app_plan(""), raw=((512, b"\x01"),)),
            "signature_1 of an application is not zero",
        ),
        ("one-for-bootloader", replace(bootloader_plan(""), signers=("bootloader-release-1",)), "one signer"),
        ("equal", replace(bootloader_plan(""), signers=("bootloader-release-1",) * 2), "one signer twice"),
        (
            "descending",
            with_fields(bootloader_plan(""), signer_key_id_0=second, signer_key_id_1=first),
            "signer_key_id_1 is the lesser",
        ),
        ("first-zero", with_fields(bootloader_plan(""), signer_key_id_0=bytes(8)), "signer_key_id_0 is zero"),
    )
    for name, plan, words in rows:
        yield refused(replace(plan, name=f"signer-ids-{name}"), words, "SIGNER_IDS")


@dataclass(frozen=True, slots=True)
class Defect:
    """One way to fail one check, that leaves every earlier check content."""

    code: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    mcuboot: Mapping[str, Value] = field(default_factory=dict)
    raw: tuple[tuple[int, bytes], ...] = ()


DEFECTS_IN_ORDER = (
    Defect("MCUBOOT_HEADER", mcuboot={"ih_flags": 1}),
    Defect("MANIFEST_MAGIC", fields={"magic": b"SRM0"}),
    Defect("FORMAT_VERSION", fields={"format_version": 2}),
    Defect("PACKAGE_TYPE", fields={"package_type": 9}),
    Defect("SUITE", fields={"suite": 2}),
    Defect("RESERVED_NOT_ZERO", raw=((400, b"\x01"),)),
    Defect("PRODUCT_ID", fields={"product_id": bytes(16)}),
    Defect("HARDWARE_RANGE", fields={"hardware_revision_min": 9, "hardware_revision_max": 8}),
    Defect("TARGET", fields={"target": 3}),
    Defect("RECIPIENT_MODE", fields={"recipient_mode": 4}),
    Defect("IMAGE_SIZE", fields={"image_size_bytes": 0}),
    Defect("CHUNK_SIZE", fields={"chunk_size_bytes": 512}),
    Defect("PAYLOAD_SIZE", fields={"payload_size_bytes": 7}),
    Defect("SIGNER_IDS", fields={"signer_key_id_0": bytes(8)}),
)


def order_of_checks() -> Iterator[PackageCase]:
    """Two neighbouring checks fail at once, and then all: the first one is reported."""
    groups = [*itertools.pairwise(DEFECTS_IN_ORDER), DEFECTS_IN_ORDER]
    for number, defects in enumerate(groups):
        fields: dict[str, Value] = {}
        mcuboot: dict[str, Value] = {}
        raw: tuple[tuple[int, bytes], ...] = ()
        for defect in defects:
            fields |= defect.fields
            mcuboot |= defect.mcuboot
            raw += defect.raw
        words = " and ".join(defect.code for defect in defects) if len(defects) == 2 else "every check from 2 to 15"
        name = f"order-{number:02}-{defects[0].code.lower().replace('_', '-')}"
        plan = replace(app_plan(name), fields=fields, mcuboot=mcuboot, raw=raw)
        yield refused(plan, f"fails {words}: the first is reported", defects[0].code)


def _shown(value: Value) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


def cases() -> Iterator[PackageCase]:
    """All of this file."""
    yield from truncated()
    yield from mcuboot_header()
    yield from constants()
    yield from reserved()
    yield from hardware_and_target()
    yield from recipient_pairs()
    yield from recipient_fields()
    yield from sizes()
    yield from signer_ids()
    yield from order_of_checks()
