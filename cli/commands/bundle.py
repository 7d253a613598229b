"""`strongroom bundle`: make, follow, compare and show trust bundles. Here: genesis and show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands import bundle_compare, bundle_rotate
from cli.context import now, open_store, repository_of, signing_keys, site_of
from cli.options import JsonOption, OutputOption, ProductOption
from cli.output import emit, read_input, say
from pki.errors import InputRefused
from pki.roles import Role

if TYPE_CHECKING:
    from cli.context import SigningKeys
    from signer.authority.model import KeyConfig, Product, Site

app = typer.Typer(no_args_is_help=True, add_completion=False, epilog="Example: strongroom bundle show trust-1.srb")

FileArgument = Annotated[Path, typer.Argument(help="The trust bundle (.srb).")]
_FILE_SIZE_BYTES_MAX = 64 * 1024


@app.callback()
def bundle() -> None:
    """Make trust bundles, succeed them, and say what they do."""


@app.command("genesis", epilog="Example: strongroom bundle genesis -p pump-x2 -o trust-1.srb")
def genesis(
    context: typer.Context,
    product: ProductOption,
    out: OutputOption,
    root_token: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN", help="Sign with this root token only (repeat for more); by default all at hand."),
    ] = None,
    add_to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add the signatures to this partly signed genesis bundle.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make version 1 of a product's trust bundle from its file, signed by its roots: all at hand, or one at a time."""
    from cli.trust_bundle_content import genesis_content
    from signer.new_file import NewFile
    from signer.trust_bundles.encoding import unsigned_bundle

    repository = repository_of(context)
    site = site_of(context, repository)
    config = repository.product(product)
    roots = _chosen_roots(config, root_token)
    with NewFile(out) as file:
        with open_store(repository) as store:
            content = genesis_content(config, store, repository.authority.environment)
        begun = _begun(add_to, unsigned_bundle(content)) if add_to is not None else unsigned_bundle(content)
        with signing_keys(repository, site, now()) as keys:
            data, signed_by = _signed(begun, keys, site, config, roots)
        _require_enough(data, signed_by, partial_is_wanted=root_token is not None or add_to is not None)
        file.write_at(0, data)
        file.publish()
    _report_signed(out, data, signed_by, as_json)


def _chosen_roots(product: Product, tokens: list[str] | None) -> list[KeyConfig]:
    """The product's roots on these tokens, or all of them. Raises InputRefused for a token that holds none."""
    if tokens is None:
        return list(product.keys.root)
    have = {key.token for key in product.keys.root}
    for token in tokens:
        if token not in have:
            raise InputRefused(
                f"product {product.name!r} has no root on token {token!r} (there: {', '.join(sorted(have))})"
            )
    return [key for key in product.keys.root if key.token in tokens]


def _begun(path: Path, expected: bytes) -> bytes:
    """A partly signed bundle, if it says exactly what the product's file says here: nothing else is signed."""
    from signer.trust_bundles.encoding import decode_bundle, unsigned_bundle

    data = read_input(path, "trust bundle", _FILE_SIZE_BYTES_MAX)
    content, _ = decode_bundle(data)
    if unsigned_bundle(content) != expected:
        raise InputRefused(
            f"{path} does not say what the product's file and the key store say here; compare `strongroom bundle show` "
            "with the product's file before anybody signs"
        )
    return data


def _signed(
    data: bytes, keys: SigningKeys, site: Site, product: Product, roots: list[KeyConfig]
) -> tuple[bytes, list[str]]:
    """Add one signature per root whose token is at hand; the others are named on stderr."""
    from signer.tokens.errors import TokenNotFound
    from signer.trust_bundles.signing import add_signature

    signed_by = []
    for config in roots:
        if config.token not in site.tokens:
            say(f"root {config.label}: site {site.name!r} has no token {config.token!r}; it did not sign")
            continue
        try:
            key = keys.key(config, Role.ROOT, product.name)
        except TokenNotFound:
            say(f"root {config.label}: token {config.token!r} is not at hand; it did not sign")
            continue
        data = add_signature(data, key)
        signed_by.append(config.label)
    return data, signed_by


def _require_enough(data: bytes, signed_by: list[str], *, partial_is_wanted: bool) -> None:
    from signer.trust_bundles.signing import signature_status

    if not signed_by:
        raise InputRefused("no root token is at hand: insert one, or work at the site that has it")
    status = signature_status(data)
    if not status.complete and not partial_is_wanted:
        raise InputRefused(
            f"{len(signed_by)} of the {status.own_threshold} roots needed are at hand; to sign one at a time, "
            "name each with --root-token, and pass the file on with --add-to"
        )


def _report_signed(out: Path, data: bytes, signed_by: list[str], as_json: bool) -> None:
    from signer.trust_bundles.encoding import bundle_digest
    from signer.trust_bundles.signing import signature_status

    status = signature_status(data)
    count, needed = len(status.own_signers), status.own_threshold
    report: dict[str, Any] = {
        "file": str(out),
        "digest": bundle_digest(data).value.hex(),
        "signed_now": signed_by,
        "signature_count": count,
        "signatures_needed": needed,
        "complete": status.complete,
    }
    state = "complete" if status.complete else f"not complete: add more with --add-to {out}"
    lines = [f"wrote {out}: {count} signatures, {needed} needed ({state})", f"digest {report['digest']}"]
    emit(report, as_json, "\n".join(lines + [f"signed by {label}" for label in signed_by]))


@app.command("show", epilog="Example: strongroom bundle show trust-1.srb --json")
def show(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show every field of a trust bundle. The format is checked, signatures are not: that is `bundle verify`."""
    from bootloader.reference.codes import Refused
    from bootloader.reference.trust_bundle import parse_trust_bundle
    from cli.trust_bundle_report import bundle_fields, bundle_text

    try:
        parsed = parse_trust_bundle(read_input(file, "trust bundle", _FILE_SIZE_BYTES_MAX))
    except Refused as refusal:
        raise InputRefused(f"{file} is not a trust bundle: {refusal}") from None
    fields = bundle_fields(parsed)
    emit(fields, as_json, bundle_text(fields))


app.command("rotate", epilog="Example: strongroom bundle rotate -p pump-x2 --previous trust-1.srb -o trust-2.srb")(
    bundle_rotate.rotate
)
app.command("verify", epilog="Example: strongroom bundle verify trust-2.srb --after trust-1.srb -p pump-x2")(
    bundle_compare.verify
)
app.command("diff", epilog="Example: strongroom bundle diff trust-1.srb trust-2.srb")(bundle_compare.diff)
app.command(
    "impact",
    epilog="Example: strongroom bundle impact trust-2.srb -p pump-x2 --after trust-1.srb --package app-1.0.0.srp "
    "--device device.img",
)(bundle_compare.impact)
