"""The commands of `strongroom grant` that read: show, verify, extract. They need no token, and no server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import JsonOption, OutputOption
from cli.output import emit, progress, say, write_new_file
from pki.errors import ConfigurationError, InputRefused

if TYPE_CHECKING:
    from pki.values import PublicKey
    from signer.grants.batch import GrantBatch

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file of grants (.srg).")]
UidText = Annotated[str, typer.Option("--uid", help="The device's UID, in hexadecimal digits.")]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="PEM", help="The grant key's public half; by default from the authority repository."),
]


def show(
    context: typer.Context,
    file: FileArgument,
    uid: Annotated[
        str | None, typer.Option("--uid", help="Show this device's grant, found and proven without reading the rest.")
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a file of grants is for; with --uid, whether and how one device stands in it."""
    from cli.grant_words import batch_data, batch_lines
    from signer.grants.file import GrantFile
    from signer.grants.lookup import find_grant

    with GrantFile(file) as opened:
        signed = opened.signed_batch
    public_key = _grant_key(context, signed.batch, key)
    verified = public_key is not None and signed.is_signed
    if public_key is not None and signed.is_signed:
        signed.verify(public_key)
    data = {**batch_data(signed.batch), "signed": signed.is_signed, "signature_verified": verified}
    lines = batch_lines(signed.batch)
    lines.append(f"signature {_signature_words(signed.is_signed, verified)}")
    if uid is not None:
        grant = find_grant(file, _uid(uid), public_key)
        data["grant"] = {
            "uid": uid,
            "index": grant.index,
            "recipient_key_id": grant.leaf[16:24].hex(),
            "proof": [one.hex() for one in grant.proof],
            "size_bytes": len(grant.encode()),
        }
        lines.append(
            f"device    {uid}: grant {grant.index:,}, for agreement key {grant.leaf[16:24].hex()}; its proof of "
            f"{len(grant.proof)} hashes leads to the root"
        )
    emit(data, as_json, "\n".join(lines))


def verify(
    context: typer.Context,
    file: FileArgument,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify all of a file of grants: digest, order of the devices, every hash of the tree, and the signature."""
    from cli.grant_words import batch_data
    from signer.grants.file import GrantFile
    from signer.packages.progress import ProgressCount

    with GrantFile(file) as opened:
        signed, size_bytes = opened.signed_batch, opened.layout.size_bytes
        public_key = _grant_key(context, signed.batch, key)
        if public_key is None:
            raise ConfigurationError("name the grant key's public half with --key, or work in the authority repository")
        signed.verify(public_key)
        total = size_bytes + size_bytes // 2
        with progress("verifying", total) as bar:
            opened.require_whole(ProgressCount(lambda done, _: bar(done), total).advance)
    data = {"file": str(file), **batch_data(signed.batch), "verified": True}
    emit(
        data, as_json, f"{file}: {signed.batch.tree_size:,} grants, whole and genuine, by key {public_key.key_id.hex()}"
    )


def extract(
    context: typer.Context,
    file: FileArgument,
    uid: UidText,
    out: OutputOption,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one device's grant, as the device takes it."""
    from signer.grants.file import GrantFile
    from signer.grants.lookup import find_grant

    with GrantFile(file) as opened:
        batch = opened.signed_batch.batch
    grant = find_grant(file, _uid(uid), _grant_key(context, batch, key))
    data = grant.encode()
    write_new_file(out, data)
    report = {"file": str(out), "uid": uid, "index": grant.index, "size_bytes": len(data)}
    emit(report, as_json, f"wrote {out}: the grant of device {uid}, {len(data):,} bytes")


def _uid(text: str) -> bytes:
    try:
        uid = bytes.fromhex(text)
    except ValueError:
        uid = b""
    if not uid or uid.hex() != text:
        raise InputRefused(f"{text[:40]!r} is no UID: give it in lower-case hexadecimal digits")
    return uid


def _grant_key(context: typer.Context, batch: GrantBatch, path: Path | None) -> PublicKey | None:
    """The key of --key; else that of the batch's key id, if there is an authority repository with it; else None."""
    from cli.context import repository_of
    from cli.grant_making import grant_public_keys, product_of_id
    from signer.authority.public_key_files import read_public_key

    if path is not None:
        return read_public_key(path)
    try:
        repository = repository_of(context)
    except ConfigurationError:
        say("note: the signature is not verified; name the grant key's public half with --key")
        return None
    product = product_of_id(repository, batch.product_id, "the file")
    known = grant_public_keys(repository, product)
    if batch.signer_key_id not in known:
        raise InputRefused(
            f"the batch names grant key {batch.signer_key_id.hex()}, which the file of product {product.name!r} does "
            "not have; name its public half with --key"
        )
    return known[batch.signer_key_id]


def _signature_words(is_signed: bool, verified: bool) -> str:
    if not is_signed:
        return "none yet"
    return "genuine" if verified else "not verified"
