"""The commands of `strongroom audit` that only read: show and verify."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.audit_access import configured_log, log_public_key
from cli.context import open_log, repository_of
from cli.options import JsonOption
from cli.output import emit, read_input
from pki.errors import AuditError, InputRefused
from signer.log.checkpoint import NOTE_SIZE_BYTES_MAX
from signer.log.recovery import compare_index, public_key_pem
from signer.log.values import EventKind, LoggedEntry

_PEM_SIZE_BYTES_MAX = 4096
_EarlierOption = Annotated[
    list[Path] | None, typer.Option("--earlier", help="A checkpoint seen before: it must be a beginning of this log.")
]


def show(
    context: typer.Context,
    kind: Annotated[list[EventKind] | None, typer.Option(help="Only entries of this kind (repeat for more).")] = None,
    product: Annotated[str | None, typer.Option("--product", "-p", help="Only this product.")] = None,
    key: Annotated[str | None, typer.Option(metavar="LABEL", help="Only this key.")] = None,
    person: Annotated[str | None, typer.Option(help="Only what this person or account did.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From this UTC time (or day) on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this UTC time (or day).")] = None,
    first: Annotated[int, typer.Option("--from", min=0, help="From this entry on.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line instead of text.")] = False,
) -> None:
    """Tell what happened, entry by entry."""
    from cli.audit_story import sentence

    begins, ends = _moment(since), _moment(until)
    wanted = {"product": product, "key_label": key}
    repository = repository_of(context)
    with open_log(repository, None) as log:
        for entry in log.entries(first):
            details = entry.event.details
            if (
                (kind and entry.event.kind not in kind)
                or any(value is not None and details.get(name) != value for name, value in wanted.items())
                or (person is not None and entry.event.actor != person)
                or (begins is not None and entry.at < begins)
                or (ends is not None and entry.at >= ends)
            ):
                continue
            sys.stdout.write((_as_line(entry) if as_json else sentence(entry)) + "\n")


def _as_line(entry: LoggedEntry) -> str:
    import json

    from signer.log.entry import time_text

    event = entry.event
    document: dict[str, Any] = {
        "index": entry.index,
        "at": time_text(entry.at),
        "kind": event.kind.value,
        "actor": event.actor,
        "details": event.details,
    }
    return json.dumps(document, ensure_ascii=False)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputRefused(f"{text!r} is no time: write 2026-11-27, or 2026-11-27T14:30:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def verify(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="The log's folder; by default the authority's.", show_default=False)
    ] = None,
    log_key: Annotated[
        Path | None, typer.Option(help="The log's public key, PEM; by default as the key store has it.")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Key of a witness; by default those in strongroom.toml.")
    ] = None,
    earlier: _EarlierOption = None,
    needed: Annotated[int, typer.Option(min=0, help="How many witnesses must have cosigned.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that hash; by default all processors.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify every entry, tile, checkpoint and cosignature, and that older checkpoints are beginnings of this log."""
    from verifiers.audit_log import LogFault, Witness, verify_log

    keys = [log_key_pem(context, log_key)]
    try:
        witnesses = [Witness.parse(text) for text in witness or _configured_witnesses(context, folder, log_key)]
    except ValueError as error:
        raise InputRefused(f"a witness's key cannot be used: {error}") from None
    seen = [(str(path), read_input(path, "checkpoint", NOTE_SIZE_BYTES_MAX)) for path in earlier or ()]
    where = folder or configured_log(repository_of(context))[1]
    begun = time.monotonic()
    try:
        newest, newest_time, cosigned = verify_log(where, keys, witnesses, seen, needed, processes or _processors())
    except LogFault as fault:
        raise AuditError(f"the audit log {where} is NOT sound: {fault}") from None
    seconds = time.monotonic() - begun
    uncovered = compare_index(where, newest.size) if folder is None else 0
    data = {
        "sound": True,
        "origin": newest.origin,
        "size": newest.size,
        "root": newest.root.hex(),
        "newest_time": newest_time,
        "entries_after_checkpoint": uncovered,
        "entries_per_second": round(newest.size / seconds),
        "witnesses": [
            {"name": name, "size": size, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}"} for name, (size, at) in cosigned.items()
        ],
    }
    emit(data, as_json, "\n".join(_report(data, seconds)))


def log_key_pem(context: typer.Context, path: Path | None) -> bytes:
    """The log's public key from a file, or from the key store."""
    if path is not None:
        return read_input(path, "public key", _PEM_SIZE_BYTES_MAX)
    return public_key_pem(log_public_key(repository_of(context)))


def _configured_witnesses(context: typer.Context, folder: Path | None, log_key: Path | None) -> list[str]:
    """Those of [log]; none where the log and its key were given, so that no authority is needed."""
    if folder is not None and log_key is not None:
        return []
    return configured_log(repository_of(context))[0].witnesses


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _report(data: dict[str, Any], seconds: float) -> Iterator[str]:
    yield f"sound: {data['size']} entries of {data['origin']}, the newest of {data['newest_time']}"
    yield f"root {data['root']}"
    yield f"verified in {seconds:.1f} s, {data['entries_per_second']} entries/s"
    if data["entries_after_checkpoint"]:
        yield f"{data['entries_after_checkpoint']} entries are under no checkpoint yet: `strongroom audit checkpoint`"
    for item in data["witnesses"]:
        yield f"witness {item['name']} saw the first {item['size']} entries at {item['at']}"
    if not data["witnesses"]:
        yield "no witness: whoever has the log's key could have written another log; `strongroom audit witness`"
