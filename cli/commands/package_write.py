"""The commands of `strongroom package` that write packages: prepare, sign, build."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import now, refuse_release_role, repository_of, signing_keys, site_of
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit, progress
from cli.package_keys import ROLE_OF_TYPE, PackageKeys, PermittedKey
from cli.package_terms import (
    CopyChoice,
    PackageOptions,
    TypeChoice,
    image_limits,
    package_request,
    package_terms,
    recipient_of,
    refuse_test_material,
    require_genesis_at_end,
)
from pki.errors import InputRefused, WrongTarget
from signer.packages.firmware_input import FirmwareFormat, open_firmware
from signer.packages.layout import SIGNATURE_OFFSETS, SIGNATURE_SIZE_BYTES
from signer.packages.terms import PackageType

if TYPE_CHECKING:
    from signer.authority.model import Product
    from signer.packages.firmware_input import FirmwareImage
    from signer.packages.prepare import PackageWritten
    from signer.packages.progress import Progress
    from signer.packages.terms import PackageRequest

FirmwareArgument = Annotated[Path, typer.Argument(help="The firmware: ELF, Intel HEX, S-record or raw binary.")]
VersionOption = Annotated[str, typer.Option("--version", help="The image's version, as 1.2.3 or 1.2.3+4.")]
SecurityVersionOption = Annotated[
    int, typer.Option("--security-version", min=0, max=0xFFFFFFFF, help="Devices refuse lower ones once it is in use.")
]
TypeOption = Annotated[TypeChoice, typer.Option("--type", help="What the package carries.")]
CopyOption = Annotated[
    CopyChoice | None, typer.Option("--copy", help="For bootloaders: the copy it is linked for.", show_default=False)
]
DeviceOption = Annotated[
    Path | None, typer.Option("--for-device", help="Bind and encrypt it for the one device of this public file.")
]
FactoryOption = Annotated[
    bool, typer.Option("--for-factory", help="For bootloaders: only for a factory image; no device can decrypt it.")
]
GrantOption = Annotated[
    bool, typer.Option("--grant", help="For every device that is granted it: `strongroom grant` makes the grants.")
]
SbomOption = Annotated[Path | None, typer.Option(help="SBOM or provenance file, whose digest the head will carry.")]
BootloaderMinOption = Annotated[str, typer.Option("--bootloader-version-min", help="The oldest bootloader that fits.")]
BundleMinOption = Annotated[
    int, typer.Option("--trust-bundle-version-min", min=0, max=0xFFFFFFFF, help="The oldest trust bundle that fits.")
]
FormatOption = Annotated[
    FirmwareFormat | None, typer.Option("--format", help="By default found by content.", show_default=False)
]
LoadAddressOption = Annotated[
    str | None, typer.Option("--load-address", help="For raw binaries: where it is linked for; by default the board's.")
]
KeyOption = Annotated[
    list[str] | None, typer.Option("--key", metavar="LABEL", help="Sign with this key (repeat for two).")
]


def prepare(
    context: typer.Context,
    product: ProductOption,
    firmware: FirmwareArgument,
    version: VersionOption,
    security_version: SecurityVersionOption,
    out: OutputOption,
    package_type: TypeOption = TypeChoice.APPLICATION,
    copy: CopyOption = None,
    for_device: DeviceOption = None,
    for_factory: FactoryOption = False,
    by_grant: GrantOption = False,
    sbom: SbomOption = None,
    bootloader_version_min: BootloaderMinOption = "0.0.0",
    trust_bundle_version_min: BundleMinOption = 1,
    firmware_format: FormatOption = None,
    load_address: LoadAddressOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze everything that a signature will cover, so that an approval can bind to exactly that. Signs nothing."""
    from signer.packages.prepare import prepare_package

    options = PackageOptions(
        product, firmware, version, security_version, package_type.package_type, copy, for_device, for_factory, sbom,
        bootloader_version_min, trust_bundle_version_min, firmware_format, load_address, by_grant,
    )  # fmt: skip
    with (
        _keys(context, product) as keys,
        _request(keys, options, key) as (request, image, _),
        _progress("preparing") as report,
    ):
        written = prepare_package(request, image, out, keys.means(request.terms.recipient_mode), sbom, report)
    _emit(written, as_json)


def build(
    context: typer.Context,
    product: ProductOption,
    firmware: FirmwareArgument,
    version: VersionOption,
    security_version: SecurityVersionOption,
    out: OutputOption,
    package_type: TypeOption = TypeChoice.APPLICATION,
    copy: CopyOption = None,
    for_device: DeviceOption = None,
    for_factory: FactoryOption = False,
    by_grant: GrantOption = False,
    sbom: SbomOption = None,
    bootloader_version_min: BootloaderMinOption = "0.0.0",
    trust_bundle_version_min: BundleMinOption = 1,
    firmware_format: FormatOption = None,
    load_address: LoadAddressOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encrypt and sign firmware in one go: `prepare` and `sign` together, with every signer's token at hand.

    For development: in production a package is prepared, asked for, approved, and then signed.
    """
    from signer.packages.build import build_package

    options = PackageOptions(
        product, firmware, version, security_version, package_type.package_type, copy, for_device, for_factory, sbom,
        bootloader_version_min, trust_bundle_version_min, firmware_format, load_address, by_grant,
    )  # fmt: skip
    with _keys(context, product) as keys, _request(keys, options, key) as (request, image, signers):
        for signer in signers:
            refuse_release_role(keys.repository, signer.label)
        compat = keys.compat()
        for signer in (*signers, compat):
            signer.at_hand()
        means = keys.means(request.terms.recipient_mode)
        with _progress("building") as report:
            written = build_package(request, image, out, means, signers, compat, sbom, report)
    _emit(written, as_json)


def sign(
    context: typer.Context,
    prepared: Annotated[
        Path, typer.Argument(help="The package that `package prepare` wrote, or the first signer did.")
    ],
    product: Annotated[
        str | None, typer.Option("--product", "-p", help="The product; with --request, the request's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; with --request, a copy beside what `release` hands out."),
    ] = None,
    key: KeyOption = None,
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Through the signing service: the signed request (signature in FILE.sig)."),
    ] = None,
    approval: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="With --request: a signed approval (repeat).")
    ] = None,
    sbom: Annotated[Path | None, typer.Option(help="With --request: the SBOM that it names.")] = None,
    tests: Annotated[Path | None, typer.Option(help="With --request: the test evidence that it names.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a prepared package and sign exactly that. Two signers of a bootloader may sign one after the other.

    With --request, the signing service decides by the policies, logs, signs and keeps the package for `release`; the
    same call again gives the same package. In production nothing else signs.
    """
    if request is not None:
        from cli.commands.package_release import sign_by_request

        if key:
            raise typer.BadParameter("--key does not go with --request, which names its keys")
        sign_by_request(context, prepared, product, out, request, tuple(approval or ()), sbom, tests, as_json)
        return
    if product is None or out is None or approval or sbom or tests:
        raise typer.BadParameter("give --product and --out; or --request, with its approvals and files")
    _sign_directly(context, prepared, product, out, key, as_json)


def _sign_directly(
    context: typer.Context, prepared: Path, product: str, out: Path, key: list[str] | None, as_json: bool
) -> None:
    from signer.packages.prepared_file import PreparedFile
    from signer.packages.sign import sign_package

    with _keys(context, product) as keys:
        with PreparedFile(prepared) as source:
            manifest, head = source.manifest, source.head
        if manifest.terms.product_id != keys.product.id_bytes:
            raise WrongTarget(f"{prepared} was prepared for product {manifest.terms.product_id.hex()}, not {product!r}")
        named = _named_signers(keys, manifest.terms.package_type, manifest.signer_key_ids)
        chosen = _chosen(_not_yet_signed(named, manifest.signer_key_ids, head), key)
        for signer in chosen:
            refuse_release_role(keys.repository, signer.label)
            signer.at_hand()
        earlier = [signer.public_key for signer in named if signer not in chosen]
        with _progress("signing") as report:
            written = sign_package(prepared, out, chosen, keys.compat(), earlier, report)
    _emit(written, as_json)


def _named_signers(keys: PackageKeys, package_type: PackageType, key_ids: tuple[bytes, ...]) -> list[PermittedKey]:
    """The product's keys that the prepared head names. Raises PolicyViolation, InputRefused if there are none."""
    permitted, refused = keys.permitted(ROLE_OF_TYPE[package_type])
    named = [key for key in permitted if key.public_key.key_id in key_ids]
    if not named:
        raise (
            refused[0]
            if refused
            else InputRefused(
                f"the package names signers that product {keys.product.name!r} does not have; prepare it again"
            )
        )
    return named


def _not_yet_signed(named: list[PermittedKey], key_ids: tuple[bytes, ...], head: bytes) -> list[PermittedKey]:
    """Those whose place in the head is still empty. Raises InputRefused if there are none."""
    empty = {
        key_id
        for key_id, offset in zip(key_ids, SIGNATURE_OFFSETS, strict=False)
        if not any(head[offset : offset + SIGNATURE_SIZE_BYTES])
    }
    waiting = [key for key in named if key.public_key.key_id in empty]
    if not waiting:
        raise InputRefused("this package waits for no signature that a key of the product could make")
    return waiting


def _chosen(named: list[PermittedKey], labels: list[str] | None) -> list[PermittedKey]:
    if not labels:
        return named
    by_label = {key.label: key for key in named}
    for label in labels:
        if label not in by_label:
            raise InputRefused(f"key {label!r} is not asked to sign this package; it waits for {', '.join(by_label)}")
    return [by_label[label] for label in labels]


@contextmanager
def _keys(context: typer.Context, product_name: str) -> Iterator[PackageKeys]:
    repository = repository_of(context)
    site = site_of(context, repository)
    product: Product = repository.product(product_name)
    when = now()
    with signing_keys(repository, site, when) as keys:
        yield PackageKeys(repository, product, keys, when)


@contextmanager
def _request(
    keys: PackageKeys, options: PackageOptions, labels: list[str] | None
) -> Iterator[tuple[PackageRequest, FirmwareImage, list[PermittedKey]]]:
    """Everything that can be refused without a token, in an order that names the cheapest mistake first."""
    refuse_test_material(keys.repository, (options.firmware, options.sbom, options.for_device))
    limits = image_limits(keys.repository, keys.product, options)
    recipient = recipient_of(keys.repository, keys.product, options)
    terms = package_terms(keys.product, options, recipient)
    with open_firmware(options.firmware, limits, options.firmware_format) as image:
        if terms.package_type is PackageType.BOOTLOADER:
            require_genesis_at_end(image, keys.product)
        signers = keys.signers(terms.package_type, labels or ())
        yield package_request(terms, recipient, [signer.public_key for signer in signers]), image, signers


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    with progress(title, 100) as bar:
        yield lambda done, total: bar(done * 100 // max(total, 1))


def _emit(written: PackageWritten, as_json: bool) -> None:
    manifest, terms = written.manifest, written.manifest.terms
    data: dict[str, Any] = {
        "file": str(written.path),
        "size_bytes": written.size_bytes,
        "type": terms.package_type.name.lower().replace("_", "-"),
        "version": str(terms.image_version),
        "security_version": terms.security_version,
        "image_size_bytes": manifest.image_size_bytes,
        "load_address": f"0x{manifest.load_address:08x}",
        "target": terms.target.name.lower().replace("_", "-"),
        "recipient": terms.recipient_mode.name.lower(),
        "signer_key_ids": [key_id.hex() for key_id in manifest.signer_key_ids],
        "signed_digest": written.tbs_digest.value.hex(),
        "complete": written.complete,
    }
    state = "signed" if written.complete else "not signed by all yet: `strongroom package sign` does that"
    text = (
        f"wrote {written.path}: {data['type']} {data['version']}, security version {terms.security_version}, "
        f"{written.size_bytes} bytes, for {data['target']}, {state}\n"
        f"digest that is signed: {data['signed_digest']}"
    )
    emit(data, as_json, text)
