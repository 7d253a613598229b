"""The commands of `strongroom audit` that make the log, sign its checkpoints, prove its entries and mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.audit_access import configured_log, log_public_key
from cli.context import now, open_log, operator, repository_of, signing_keys, site_of
from cli.options import JsonOption
from cli.output import emit


def init(context: typer.Context, as_json: JsonOption = False) -> None:
    """Begin the audit log that strongroom.toml names: its first entry, and the first checkpoint."""
    from signer.log.recovery import begin_log, origin_of

    repository = repository_of(context)
    config, folder = configured_log(repository)
    when = now()
    with signing_keys(repository, site_of(context, repository), when) as keys:
        key = keys.log_key(config.token, config.label)
        begin_log(folder, key, operator(), when)
    origin = origin_of(key.public_key)
    data = {"log": str(folder), "origin": origin, "key_label": config.label, "size": 1}
    emit(data, as_json, f"began the audit log {origin} in {folder}\nnow give it a witness: `strongroom audit witness`")


def checkpoint(context: typer.Context, as_json: JsonOption = False) -> None:
    """Sign a checkpoint over every entry so far, and print it."""
    from signer.log.checkpoint import parse_checkpoint

    repository = repository_of(context)
    configured_log(repository)
    with signing_keys(repository, site_of(context, repository), now()) as keys, open_log(repository, keys) as log:
        note = log.checkpoint()
    head = parse_checkpoint(note).head
    data = {"origin": head.origin, "size": head.size, "root": head.root.hex(), "checkpoint": note.decode()}
    emit(data, as_json, note.decode())


def prove(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=0, help="The entry's number, as `strongroom audit show` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Prove that an entry stands in the log: its bytes, the hashes up to the root, and the signed checkpoint."""
    from signer.log.checkpoint import parse_checkpoint

    repository = repository_of(context)
    with open_log(repository, None) as log:
        proof = log.prove(number)
    hashes = [item.hex() for item in proof.hashes]
    data = {
        "index": proof.index,
        "entry": proof.entry.decode(),
        "hashes": hashes,
        "checkpoint": proof.checkpoint.decode(),
    }
    size = parse_checkpoint(proof.checkpoint).head.size
    lines = [f"entry {number} of {size}:", proof.entry.decode(), "hashes from the leaf to the root:", *hashes, ""]
    emit(data, as_json, "\n".join(lines) + proof.checkpoint.decode())


def rebuild(context: typer.Context, as_json: JsonOption = False) -> None:
    """Mend a damaged log: tiles from the index, or a lost index from the tiles, up to the newest checkpoint."""
    from signer.log.recovery import rebuild as rebuild_log

    repository = repository_of(context)
    _, folder = configured_log(repository)
    done = rebuild_log(folder, log_public_key(repository))
    emit({"log": str(folder), "done": done}, as_json, done)
