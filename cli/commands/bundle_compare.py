"""`strongroom bundle diff`, `verify` and `impact`: trust bundles compared, followed, and what they do to a fleet."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import board_of, open_store, repository_of
from cli.exit_codes import ExitCode
from cli.options import JsonOption, ProductOption
from cli.output import emit, progress
from pki.errors import InputRefused

if TYPE_CHECKING:
    from cli.trust_bundle_chain import ProductFacts
    from signer.authority.repository import AuthorityRepository
    from signer.trust_bundles.succession_rules import SuccessionFacts

FileArgument = Annotated[Path, typer.Argument(help="The trust bundle (.srb).")]
AfterOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="A version that comes before it, oldest first (repeat for each)."),
]
OptionalProduct = Annotated[
    str | None, typer.Option("--product", "-p", help="Also demand that it is this product's, and name keys by label.")
]


def diff(
    context: typer.Context,
    before: Annotated[Path, typer.Argument(metavar="A", help="The earlier trust bundle.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The later one.")],
    product: Annotated[str | None, typer.Option("--product", "-p", help="Name keys by their labels too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say in words what changes from one trust bundle to another: keys, revocations, thresholds, limits."""
    from cli.trust_bundle_chain import read_bundle_file
    from signer.trust_bundles.difference import bundle_differences
    from signer.trust_bundles.encoding import decode_bundle

    old, new = (decode_bundle(read_bundle_file(path))[0] for path in (before, after))
    facts = None if product is None else _facts(repository_of(context), product)
    found = bundle_differences(old, new, facts)
    report = {
        "from_version": old.version,
        "to_version": new.version,
        "same_product": old.product_id == new.product_id,
        "differences": [
            {"what": item.what, "key_id": item.key_id.hex() if item.key_id else None, "text": item.text}
            for item in found
        ],
    }
    lines = [f"from version {old.version} to version {new.version}:"]
    if not report["same_product"]:
        lines.append("they are of different products")
    emit(report, as_json, "\n".join(lines + ([item.text for item in found] or ["nothing else differs"])))


def verify(
    context: typer.Context,
    file: FileArgument,
    after: AfterOption = None,
    product: OptionalProduct = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a device would take this bundle, by its own reader and rules. Exit code 11 if not.

    With --after: link by link, from the oldest given. Without: genesis by the genesis rule, a later version by the
    signatures of its own roots only. With a product, its built-in bootloader-release keys are asked too.
    """
    from cli.trust_bundle_chain import follow_chain

    paths = [*(after or ()), file]
    taken, refused = follow_chain(paths, None if product is None else _product_facts(repository_of(context), product))
    links = [{"version": bundle.version, "digest": bundle.digest.hex()} for bundle in taken]
    if refused is not None:
        code, detail = refused.refusal.code, refused.refusal.detail
        report = {"accepted": False, "code": int(code), "name": code.name, "reason": detail, "file": str(refused.path)}
        where = "" if len(paths) == 1 else f"{refused.path}: "
        emit({**report, "links": links}, as_json, f"REFUSED, {where}{refused.refusal}")
        raise typer.Exit(ExitCode.REFUSED_BY_DEVICE)
    report = {"accepted": True, "code": 0, "name": "OK", **links[-1], "links": links}
    lines = [f"follows: version {bundle.version}, digest {bundle.digest.hex()}" for bundle in taken[1:-1]]
    lines.append(f"accepted: version {taken[-1].version}, digest {links[-1]['digest']}")
    emit(report, as_json, "\n".join(lines))


def impact(
    context: typer.Context,
    file: FileArgument,
    product: ProductOption,
    after: AfterOption = None,
    package: Annotated[
        list[Path] | None, typer.Option(metavar="PKG", help="A package that devices may have or get (repeat for more).")
    ] = None,
    device: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A simulated device, or a JSON file of `device status` (repeat for more)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which packages install no more, which devices stop, and which links each device has to be sent.

    The reference bootloader is asked, on scratch copies; no file is changed.
    """
    from cli.trust_bundle_chain import follow_chain
    from cli.trust_bundle_impact import Links, device_impact, impact_text, package_impact

    if not after:
        raise typer.BadParameter("give the versions before it with --after: an impact is a difference")
    repository = repository_of(context)
    config = repository.product(product)
    facts = _product_facts(repository, product)
    taken, refused = follow_chain([*after, file], facts)
    if refused is not None:
        raise InputRefused(f"{refused.path}: no device of product {product!r} follows this chain ({refused.refusal})")
    links = Links(taken, config, board_of(repository, config.board), tuple(facts.built_in_keys()))
    packages, devices = [], []
    with progress("asking", len(package or ()) + len(device or ())) as bar:
        for path in package or ():
            packages.append(package_impact(links, path))
            bar(len(packages))
        for path in device or ():
            devices.append(device_impact(links, path))
            bar(len(packages) + len(devices))
    report = {
        "from_version": taken[0].version,
        "to_version": taken[-1].version,
        "packages": packages,
        "devices": devices,
    }
    emit(report, as_json, impact_text(packages, devices))


def _product_facts(repository: AuthorityRepository, product: str) -> ProductFacts:
    """What devices of the product know: its id, and the three bootloader-release keys built into them."""
    from cli.trust_bundle_chain import ProductFacts

    config = repository.product(product)

    @cache
    def built_in_keys() -> tuple[bytes, ...]:
        with open_store(repository) as store:
            records = [store.key(key.label) for key in config.keys.bootloader_release]
        return tuple(record.public_key.point for record in records if record.public_key is not None)

    return ProductFacts(config.id_bytes, built_in_keys)


def _facts(repository: AuthorityRepository, product: str) -> SuccessionFacts:
    from cli.trust_bundle_content import known_keys
    from signer.trust_bundles.succession_rules import SuccessionFacts

    repository.product(product)
    with open_store(repository) as store:
        return SuccessionFacts(keys=known_keys(store))
