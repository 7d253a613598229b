"""The commands of `strongroom grant` from a prepared file to a signed one: request, sign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.grant_make import PackageOption, emit_batch
from cli.commands.package_request import NotAfterOption, PersonOption, SshKeyOption
from cli.context import now, refuse_release_role, repository_of, signing_keys, site_of
from cli.options import JsonOption, OutputOption
from cli.package_keys import PackageKeys

PreparedArgument = Annotated[Path, typer.Argument(metavar="PREPARED", help="The file that `grant prepare` wrote.")]


def request(
    context: typer.Context,
    prepared: PreparedArgument,
    package: PackageOption,
    person: PersonOption,
    ssh_key: SshKeyOption,
    out: OutputOption,
    not_after: NotAfterOption = "7d",
    as_json: JsonOption = False,
) -> None:
    """Ask for the signature of exactly this batch: write a request, signed with your SSH key.

    Every grant is verified first. OUT.sig is what `ssh-keygen -Y sign` makes; `strongroom approve` agrees to it.
    """
    from cli.object_requests import ask
    from signer.grants.signable import GrantBatchReader

    ask(context, GrantBatchReader().prepared([prepared, package]), person, ssh_key, out, not_after, as_json)


def sign(
    context: typer.Context,
    prepared: PreparedArgument,
    out: OutputOption,
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Through the signing service: the signed request (signature in FILE.sig)."),
    ] = None,
    approval: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="With --request: a signed approval (repeat).")
    ] = None,
    package: Annotated[
        Path | None, typer.Option("--package", metavar="PKG", help="With --request: the package that is granted.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a prepared file of grants whole, and sign exactly that, with the key that it names.

    With --request, the signing service decides by the policies, logs and signs; the same call again gives the same
    file. In production nothing else signs.
    """
    if request is None:
        if approval or package is not None:
            raise typer.BadParameter("--approval and --package go with --request")
        _sign_directly(context, prepared, out, as_json)
        return
    if package is None:
        raise typer.BadParameter("--request needs --package, too: what is granted is decided with it")
    _sign_by_request(context, (prepared, package), request, tuple(approval or ()), out, as_json)


def _sign_by_request(
    context: typer.Context, files: tuple[Path, Path], request: Path, approvals: Sequence[Path], out: Path, as_json: bool
) -> None:
    """The service keeps the signed batch; here it is put into the file that it was signed for."""
    from cli.object_requests import emit_signed
    from cli.object_requests import sign as sign_by_service
    from cli.output import read_input
    from pki.values import Digest
    from signer.grants.batch import parse_batch
    from signer.grants.layout import BATCH_SIZE_BYTES
    from signer.grants.signing import sign_prepared
    from signer.new_file import NewFile

    with NewFile(out) as new:
        released = sign_by_service(context, "grant-batch", request, approvals, files)
        signed = parse_batch(read_input(released.path, "the signed batch", BATCH_SIZE_BYTES))
        sign_prepared(files[0], new, lambda _: signed.signature, Digest(released.head_digest))
        new.publish()
    emit_signed(released, out, as_json)


def _sign_directly(context: typer.Context, prepared: Path, out: Path, as_json: bool) -> None:
    from cli.grant_making import grant_key_of_id, product_of_id
    from signer.grants.file import GrantFile
    from signer.grants.signing import sign_prepared
    from signer.new_file import NewFile
    from signer.signing_key import sign_verified

    repository = repository_of(context)
    with GrantFile(prepared) as file:
        named = file.signed_batch.batch
    product = product_of_id(repository, named.product_id, str(prepared))
    with NewFile(out) as new, signing_keys(repository, site_of(context, repository), now()) as opened:
        signer = grant_key_of_id(PackageKeys(repository, product, opened, now()), named.signer_key_id)
        refuse_release_role(repository, signer.label)
        signer.at_hand()
        batch = sign_prepared(prepared, new, lambda one: sign_verified(signer, one.digest), named.digest)
        new.publish()
    emit_batch(batch, product, out, as_json, signed=True)
