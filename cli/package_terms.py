"""From the options of `package prepare` and `package build` to a request: product file, board, device, keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cli.context import board_of
from cli.output import say
from pki.errors import InputRefused, WrongTarget
from signer.authority.development_material import refuse_fake_path, refuse_known_test_key, refuse_simulated_device
from signer.authority.model import LimitConfig, Product, RecipientKind
from signer.authority.repository import AuthorityRepository
from signer.packages.firmware_input import FirmwareFormat, FirmwareImage
from signer.packages.image_parts import ImageLimits
from signer.packages.layout import HEAD_SIZE_BYTES
from signer.packages.terms import (
    ImageVersion,
    PackageRequest,
    PackageTerms,
    PackageType,
    RecipientMode,
    Target,
    padded_uid,
)

if TYPE_CHECKING:
    from bootloader.reference.flash import Region
    from pki.values import PublicKey


class TypeChoice(StrEnum):
    """Package types as the command line names them."""

    APPLICATION = "application"
    BOOTLOADER = "bootloader"
    FACTORY_TEST = "factory-test"

    @property
    def package_type(self) -> PackageType:
        """The number in the head."""
        return PackageType[self.name]


class CopyChoice(StrEnum):
    """The two copies of the bootloader."""

    A = "A"
    B = "B"


class PackageOptions(msgspec.Struct, frozen=True):
    """What the command line asked for, unchecked."""

    product: str
    firmware: Path
    version: str
    security_version: int
    package_type: PackageType
    bootloader_copy: CopyChoice | None
    for_device: Path | None
    for_factory: bool
    sbom: Path | None
    bootloader_version_min: str
    trust_bundle_version_min: int
    firmware_format: FirmwareFormat | None
    load_address: str | None
    by_grant: bool = False


class Recipient(msgspec.Struct, frozen=True):
    """Whom a package is for and encrypted for; `uid` is padded to 16 bytes, zero for every device."""

    target: Target
    mode: RecipientMode
    uid: bytes
    key: PublicKey | None


def image_limits(repository: AuthorityRepository, product: Product, options: PackageOptions) -> ImageLimits:
    """Where the image stands on the product's board, and its largest size. Raises ConfigurationError, InputRefused."""
    region = _region(repository, product, options)
    address = region.address + HEAD_SIZE_BYTES
    if options.load_address is not None:
        _require_linked_for(address, options)
    return ImageLimits(address, region.size_bytes - HEAD_SIZE_BYTES)


def package_terms(product: Product, options: PackageOptions, recipient: Recipient) -> PackageTerms:
    """The terms, and a word on stderr where no device would take them. Raises InputRefused."""
    limit = _limit_of(product, options.package_type)
    if not limit.minimum <= options.security_version <= limit.maximum:
        say(
            f"note: security version {options.security_version} is outside {limit.minimum} to {limit.maximum}, which "
            "the product's file allows for this type: devices with such a trust bundle refuse the package"
        )
    return PackageTerms(
        package_type=options.package_type,
        product_id=product.id_bytes,
        hardware_revision_min=product.hardware_revision_min,
        hardware_revision_max=product.hardware_revision_max,
        image_version=ImageVersion.parse(options.version),
        security_version=options.security_version,
        bootloader_version_min=ImageVersion.parse(options.bootloader_version_min),
        trust_bundle_version_min=options.trust_bundle_version_min,
        target=recipient.target,
        recipient_mode=recipient.mode,
        target_uid=recipient.uid,
    )


def package_request(terms: PackageTerms, recipient: Recipient, signers: Sequence[PublicKey]) -> PackageRequest:
    """Terms with the keys they need. Raises InputRefused."""
    return PackageRequest(terms, recipient.key, tuple(signers))


def recipient_of(repository: AuthorityRepository, product: Product, options: PackageOptions) -> Recipient:
    """One named device, or what the product's file says. Raises InputRefused, WrongTarget, PolicyViolation."""
    if options.for_factory:
        return _factory(options)
    if options.by_grant and (options.for_device is not None or options.package_type is PackageType.FACTORY_TEST):
        raise InputRefused("--grant goes with applications and bootloaders, and not with --for-device")
    if options.for_device is not None:
        return _one_device(repository, product, options.for_device)
    if options.package_type is PackageType.FACTORY_TEST:
        return Recipient(Target.ANY_DEVICE, RecipientMode.NONE, bytes(16), None)
    if options.by_grant or product.encryption.recipient is RecipientKind.GRANT:
        return Recipient(Target.GRANT_REQUIRED, RecipientMode.GRANT, bytes(16), None)
    if product.encryption.recipient is RecipientKind.GROUP and product.encryption.group_public_key is not None:
        return _group(repository, product.encryption.group_public_key)
    raise InputRefused(
        f"product {product.name!r} encrypts for one device: name it with --for-device device.json; or say --grant, and "
        'grant it to devices; or give the product `recipient = "group"` and a group key; or say --for-factory for a '
        "bootloader that goes into a factory image"
    )


def refuse_test_material(repository: AuthorityRepository, paths: Sequence[Path | None]) -> None:
    """Raise PolicyViolation DEV-02 in production if any of these files is test material."""
    for path in paths:
        if path is not None:
            refuse_fake_path(repository.authority.environment, path)


def require_genesis_at_end(firmware: FirmwareImage, product: Product) -> None:
    """A bootloader image ends with the genesis bundle (docs/spec/trust-bundle.md). Raises InputRefused."""
    from pki.errors import FormatError
    from signer.trust_bundles.encoding import decode_bundle
    from signer.trust_bundles.layout import BUNDLE_SIZE_BYTES

    data = bytearray(BUNDLE_SIZE_BYTES)
    try:
        if firmware.size_bytes <= BUNDLE_SIZE_BYTES:
            raise FormatError("image", 0, "it is shorter than a trust bundle")
        firmware.read_into(firmware.size_bytes - BUNDLE_SIZE_BYTES, memoryview(data))
        content, _ = decode_bundle(bytes(data))
    except FormatError as error:
        raise InputRefused(
            f"the bootloader image does not end with a genesis trust bundle ({error}); link it with trust-1.srb"
        ) from None
    if content.version != 1 or content.product_id != product.id_bytes:
        raise InputRefused(
            f"the trust bundle at the end of the bootloader image is not the genesis of product {product.name!r}"
        )


def _region(repository: AuthorityRepository, product: Product, options: PackageOptions) -> Region:
    is_bootloader = options.package_type is PackageType.BOOTLOADER
    if is_bootloader is not (options.bootloader_copy is not None):
        raise InputRefused("--copy A or --copy B goes with --type bootloader: each copy is linked for its own place")
    board = board_of(repository, product.board)
    if options.bootloader_copy is None:
        return board.application
    return board.bootloader_a if options.bootloader_copy is CopyChoice.A else board.bootloader_b


def _require_linked_for(address: int, options: PackageOptions) -> None:
    if options.firmware_format is not FirmwareFormat.BINARY:
        raise InputRefused("--load-address goes with --format binary: the other formats say where they are linked for")
    try:
        given = int(options.load_address or "", 0)
    except ValueError:
        raise InputRefused(f"--load-address {options.load_address!r} is not a number; write it as 0x08020400") from None
    if given != address:
        raise InputRefused(
            f"{options.firmware} is linked for 0x{given:08X}, but the board's image begins at 0x{address:08X}; "
            "link it for that address, or choose the right board"
        )


def _one_device(repository: AuthorityRepository, product: Product, path: Path) -> Recipient:
    from cli.device_public import read_public_device

    device = read_public_device(path)
    environment = repository.authority.environment
    refuse_simulated_device(environment, device.simulation_only, device.uid)
    refuse_known_test_key(environment, device.agreement)
    if str(device.product_id) != product.id:
        raise WrongTarget(f"device {device.uid.hex()} is of product {device.product_id}, not of {product.name!r}")
    return Recipient(Target.ONE_UID, RecipientMode.DEVICE, padded_uid(device.uid), device.agreement)


def _factory(options: PackageOptions) -> Recipient:
    """For any device, encrypted for a key that is thrown away here: of such a package only the signed head is used."""
    from signer.packages.encryption import software_ephemeral_key

    if options.package_type is not PackageType.BOOTLOADER or options.for_device is not None or options.by_grant:
        raise InputRefused("--for-factory goes with --type bootloader, and not with --for-device or --grant")
    return Recipient(Target.ANY_DEVICE, RecipientMode.GROUP, bytes(16), software_ephemeral_key(os.urandom).public_key)


def _group(repository: AuthorityRepository, key_file: str) -> Recipient:
    from signer.authority.public_key_files import read_public_key

    path = repository.resolve(key_file)
    environment = repository.authority.environment
    refuse_fake_path(environment, path)
    key = read_public_key(path)
    refuse_known_test_key(environment, key)
    return Recipient(Target.ANY_DEVICE, RecipientMode.GROUP, bytes(16), key)


def _limit_of(product: Product, package_type: PackageType) -> LimitConfig:
    limits = product.trust.limits
    return {
        PackageType.APPLICATION: limits.application,
        PackageType.BOOTLOADER: limits.bootloader,
        PackageType.FACTORY_TEST: limits.factory_test,
    }[package_type]
