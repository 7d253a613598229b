"""Requests and packages as most tests need them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from signer.packages.build import build_package
from signer.packages.encryption import PackagingMeans
from signer.packages.firmware_input import FirmwareFormat, FirmwareImage, open_firmware
from signer.packages.image_parts import ImageLimits
from signer.packages.prepare import PackageWritten, prepare_package
from signer.packages.terms import (
    ImageVersion,
    PackageRequest,
    PackageTerms,
    PackageType,
    RecipientMode,
    Target,
    padded_uid,
)
from tests.unit.packages.fake.means import MemoryVault, means_with
from tests.unit.packages.fake.software_keys import SoftwareKey

LOAD_ADDRESS = 0x08020400
PRODUCT_ID = bytes.fromhex("5f0c6a3e1b2d4c7f8a9b0c1d2e3f4051")
UID = padded_uid(bytes.fromhex("31ff6b064d4e383012471843"))

APP_KEY = SoftwareKey("application-release")
BOOT_KEYS = tuple(SoftwareKey(f"bootloader-release {number}") for number in range(3))
PRODUCTION_KEY = SoftwareKey("production")
COMPAT_KEY = SoftwareKey("compat")
GROUP_KEY = SoftwareKey("group agreement")
DEVICE_KEY = SoftwareKey("device agreement")


def terms(**changes: Any) -> PackageTerms:
    """An application for any device, encrypted for the group, unless changed."""
    values: dict[str, Any] = {
        "package_type": PackageType.APPLICATION,
        "product_id": PRODUCT_ID,
        "hardware_revision_min": 2,
        "hardware_revision_max": 0x0304,
        "image_version": ImageVersion(1, 2, 0x0304, 0x05060708),
        "security_version": 0x11121314,
        "bootloader_version_min": ImageVersion(2, 1, 0, 7),
        "trust_bundle_version_min": 0x21222324,
        "target": Target.ANY_DEVICE,
        "recipient_mode": RecipientMode.GROUP,
    }
    return PackageTerms(**(values | changes))


def request(**changes: Any) -> PackageRequest:
    """The usual keys for the terms: group or device key as recipient, the type's signers."""
    asked = terms(**changes)
    recipients = {RecipientMode.GROUP: GROUP_KEY, RecipientMode.DEVICE: DEVICE_KEY}
    recipient = recipients.get(asked.recipient_mode)
    return PackageRequest(
        asked, recipient.public_key if recipient else None, tuple(key.public_key for key in signers(asked.package_type))
    )


def signers(package_type: PackageType) -> tuple[SoftwareKey, ...]:
    return {
        PackageType.APPLICATION: (APP_KEY,),
        PackageType.BOOTLOADER: BOOT_KEYS[:2],
        PackageType.FACTORY_TEST: (PRODUCTION_KEY,),
    }[package_type]


def open_binary(path: Path, size_bytes_max: int = 64 << 20) -> FirmwareImage:
    return open_firmware(path, ImageLimits(LOAD_ADDRESS, size_bytes_max), FirmwareFormat.BINARY)


def build(
    folder: Path,
    image: bytes,
    asked: PackageRequest | None = None,
    means: PackagingMeans | None = None,
    name: str = "p.srp",
) -> PackageWritten:
    """A complete package of `image` in `folder`."""
    asked = asked or request()
    source = folder / "image.bin"
    source.write_bytes(image)
    with open_binary(source) as firmware:
        return build_package(
            asked, firmware, folder / name, means or random_means(), signers(asked.terms.package_type), COMPAT_KEY
        )


def prepare(
    folder: Path,
    image: bytes,
    asked: PackageRequest | None = None,
    means: PackagingMeans | None = None,
    name: str = "p.srp",
) -> PackageWritten:
    """A prepared package of `image` in `folder`."""
    source = folder / "image.bin"
    source.write_bytes(image)
    with open_binary(source) as firmware:
        return prepare_package(asked or request(), firmware, folder / name, means or random_means())


def random_means() -> PackagingMeans:
    return means_with(os.urandom, vault=MemoryVault())


def left_in(folder: Path) -> set[str]:
    """The names of everything in a folder, hidden files included."""
    return {entry.name for entry in folder.iterdir()}
