"""The commands of `strongroom grant` that make files of grants: issue, prepare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import now, refuse_release_role, repository_of, signing_keys, site_of
from cli.options import JsonOption, OutputOption
from cli.output import emit
from cli.package_keys import PackageKeys
from signer.grants.batch import GrantBatch

if TYPE_CHECKING:
    from cli.grant_making import GrantInputs
    from signer.authority.model import Product
    from signer.grants.grantable import GrantablePackage

PackageOption = Annotated[Path, typer.Option("--package", metavar="PKG", help="The signed package to grant.")]
DevicesOption = Annotated[
    Path,
    typer.Option("--devices", metavar="CSV", help="uid,agreement_public_key in the first line, then a device a line."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, help="Processes that work side by side; by default all cores."),
]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="LABEL", help="The grant key; by default the first that may sign.")
]


def issue(
    context: typer.Context,
    package: PackageOption,
    devices: DevicesOption,
    out: OutputOption,
    key: KeyOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Grant a package to all devices of a list: one file, one signature, however many they are.

    For development: in production a batch is prepared, asked for, approved, and then signed.
    """
    from cli.grant_making import GrantInputs, grant_key, make
    from signer.signing_key import sign_verified

    inputs = GrantInputs(package, devices, out, workers)
    with _package_and_keys(context, inputs) as (found, keys):
        signer = grant_key(keys, key)
        refuse_release_role(keys.repository, signer.label)
        signer.at_hand()
        batch = make(keys, found, inputs, signer.public_key, lambda one: sign_verified(signer, one.digest))
    emit_batch(batch, keys.product, out, as_json, signed=True)


def prepare(
    context: typer.Context,
    package: PackageOption,
    devices: DevicesOption,
    out: OutputOption,
    key: KeyOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make everything but the signature, so that an approval can bind to exactly that. No device takes it so."""
    from cli.grant_making import GrantInputs, grant_key, make
    from signer.grants.making import not_signed

    inputs = GrantInputs(package, devices, out, workers)
    with _package_and_keys(context, inputs) as (found, keys):
        batch = make(keys, found, inputs, grant_key(keys, key).public_key, not_signed)
    emit_batch(batch, keys.product, out, as_json, signed=False)


@contextmanager
def _package_and_keys(context: typer.Context, inputs: GrantInputs) -> Iterator[tuple[GrantablePackage, PackageKeys]]:
    """The package, verified, and the keys of its product. Raises what can be refused without a token first."""
    from cli.grant_making import product_of_id, signed_package
    from signer.grants.grantable import grantable_package

    repository = repository_of(context)
    product = product_of_id(repository, grantable_package(inputs.package).product_id, str(inputs.package))
    package = signed_package(repository, product, inputs.package)
    when = now()
    with signing_keys(repository, site_of(context, repository), when) as opened:
        yield package, PackageKeys(repository, product, opened, when)


def emit_batch(batch: GrantBatch, product: Product, out: Path, as_json: bool, *, signed: bool) -> None:
    """What was written."""
    from cli.grant_words import batch_data

    data: dict[str, Any] = {"file": str(out), "product": product.name, **batch_data(batch), "signed": signed}
    state = "signed" if signed else "not signed yet: `strongroom grant sign` does that"
    text = f"wrote {out}: {batch.tree_size:,} grants of {product.name}, package {batch.head_hash.hex()[:16]}; {state}"
    emit(data, as_json, text)
