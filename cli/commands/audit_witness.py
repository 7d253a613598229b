"""`strongroom audit witness`: what a witness does, and what is done with its cosignatures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.audit_access import configured_log, log_public_key
from cli.context import now, open_log, repository_of
from cli.options import JsonOption, OutputOption
from cli.output import emit, read_input
from pki.errors import AuditError, InputRefused
from signer.log.checkpoint import NOTE_SIZE_BYTES_MAX, parse_checkpoint

_PAPER_SIZE_BYTES_MAX = 4096
WitnessArgument = Annotated[Path, typer.Argument(metavar="WITNESS", help="The witness's folder.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    epilog="Example: strongroom audit witness cosign witness --log /media/usb/log --log-key log.pub.pem -o cosigned",
)


@app.callback()
def witness() -> None:
    """Witness the log on another machine, or on paper."""


@app.command("new", epilog="Example: strongroom audit witness new witness --name lab.example/witness-1")
def new(
    folder: WitnessArgument,
    name: Annotated[str, typer.Option(help="The witness's name, without spaces; best one under a domain of yours.")],
    as_json: JsonOption = False,
) -> None:
    """Make a witness: a key of its own, in a new folder on a machine that is not the log's."""
    from signer.log.witness import make_witness

    key = make_witness(folder, name)
    text = f"made the witness {name} in {folder}; write its key under `witnesses` in [log] of strongroom.toml:"
    emit({"folder": str(folder), "name": name, "key": key.text}, as_json, f"{text}\n{key.text}")


@app.command(
    "cosign",
    epilog="Example: strongroom audit witness cosign witness --log /media/usb/log --log-key log.pub.pem -o cosigned",
)
def cosign(
    folder: WitnessArgument,
    log: Annotated[Path, typer.Option(help="The log's folder, or a copy of it.")],
    log_key: Annotated[Path, typer.Option(help="The log's public key, PEM, that the witness was given at first.")],
    out: OutputOption,
    as_json: JsonOption = False,
) -> None:
    """Cosign the log's newest checkpoint, if it continues what this witness saw before."""
    from signer.authority.public_key_files import read_public_key
    from signer.log.witness import cosign as cosign_log
    from signer.new_file import NewFile

    with NewFile(out) as file:
        done = cosign_log(folder, log, read_public_key(log_key), now())
        file.write_at(0, done.checkpoint.note)
        file.publish()
    head = done.checkpoint.head
    before = "it saw this log for the first time" if done.size_before is None else f"it saw {done.size_before} before"
    data = {"file": str(out), "origin": head.origin, "size": head.size, "size_before": done.size_before}
    emit(data, as_json, f"wrote {out}: the witness saw {head.size} entries; {before}")


@app.command("add", epilog="Example: strongroom audit witness add cosigned")
def add(
    context: typer.Context,
    cosigned: Annotated[Path, typer.Argument(help="The cosigned checkpoint that `audit witness cosign` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Put a witness's cosignature into the log, after verifying it against the witnesses in strongroom.toml."""
    from signer.log.cosignature import WitnessKey, verify_cosignature

    repository = repository_of(context)
    config, _ = configured_log(repository)
    checkpoint = parse_checkpoint(read_input(cosigned, "checkpoint", NOTE_SIZE_BYTES_MAX))
    keys = [WitnessKey.parse(text) for text in config.witnesses]
    names = {(signature.name, signature.key_id) for signature in checkpoint.signatures}
    there = [key for key in keys if (key.name, key.key_id) in names]
    if not there:
        known = ", ".join(key.name for key in keys) or "none"
        raise InputRefused(f"{cosigned} has no cosignature of a witness of [log] (there: {known})")
    with open_log(repository, None) as log:
        for key in there:
            signature, at = verify_cosignature(checkpoint, key)
            log.add_cosignature(checkpoint.head, signature)
    data = {"size": checkpoint.head.size, "witnesses": [key.name for key in there]}
    emit(data, as_json, f"{', '.join(key.name for key in there)} saw the first {checkpoint.head.size} entries at {at}")


@app.command("paper", epilog="Example: strongroom audit witness paper")
def paper(context: typer.Context, as_json: JsonOption = False) -> None:
    """Print the newest checkpoint as six lines to write down; `compare` reads them back."""
    from signer.log.paper import paper_lines

    with open_log(repository_of(context), None) as log:
        checkpoint = log.newest_checkpoint()
    if checkpoint is None:
        raise InputRefused("the log has no checkpoint yet; `strongroom audit checkpoint` signs one")
    lines = paper_lines(checkpoint.head)
    data = {"origin": checkpoint.head.origin, "size": checkpoint.head.size, "lines": lines}
    emit(data, as_json, "\n".join(lines))


@app.command("compare", epilog="Example: strongroom audit witness compare --paper paper.txt")
def compare(
    context: typer.Context,
    paper_file: Annotated[Path, typer.Option("--paper", help="What is on the paper, typed in; - reads it from here.")],
    as_json: JsonOption = False,
) -> None:
    """Compare what was written on paper with the log as it is now."""
    from signer.log.beginnings import is_beginning
    from signer.log.checkpoint import verify_log_signature
    from signer.log.paper import parse_paper

    text = sys.stdin.read(_PAPER_SIZE_BYTES_MAX) if str(paper_file) == "-" else _read_text(paper_file)
    head = parse_paper(text)
    repository = repository_of(context)
    with open_log(repository, None) as log:
        checkpoint = log.newest_checkpoint()
        if checkpoint is None:
            raise InputRefused("the log has no checkpoint yet; `strongroom audit checkpoint` signs one")
        verify_log_signature(checkpoint, log_public_key(repository))
        if not is_beginning(log.folder, head, checkpoint.head):
            raise AuditError(
                f"the log's first {head.size} entries are NOT those on the paper: it was truncated, changed or forked; "
                "keep both as evidence"
            )
    data = {"same": True, "size": head.size, "size_now": checkpoint.head.size}
    emit(data, as_json, f"the same: the log's first {head.size} entries are those on the paper")


def _read_text(path: Path) -> str:
    try:
        return read_input(path, "paper", _PAPER_SIZE_BYTES_MAX).decode("utf-8")
    except UnicodeDecodeError:
        raise InputRefused(f"{path} is no text") from None
