"""The commands of `strongroom audit` that copy log and key store, and put a copy back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.audit_access import configured_log, log_public_key
from cli.context import now, open_log, operator, repository_of, signing_keys, site_of
from cli.options import JsonOption
from cli.output import emit, read_input
from pki.errors import AuditError
from signer.log.checkpoint import NOTE_SIZE_BYTES_MAX, parse_checkpoint, verify_log_signature
from signer.log.values import Event, EventKind

if TYPE_CHECKING:
    from pki.values import PublicKey
    from signer.authority.repository import AuthorityRepository
    from signer.log.backup import Backup
    from signer.log.checkpoint import Checkpoint

BackupArgument = Annotated[Path, typer.Argument(metavar="BACKUP", help="The backup's folder.")]


def backup(context: typer.Context, folder: BackupArgument, as_json: JsonOption = False) -> None:
    """Copy the audit log and the key store, as one pair of one moment, into a new folder."""
    from signer.log.backup import back_up

    repository = repository_of(context)
    configured_log(repository)
    when = now()
    with signing_keys(repository, site_of(context, repository), when) as keys, open_log(repository, keys) as log:
        head = back_up(log, repository.key_store_path, folder, when)
    data = {"backup": str(folder), "origin": head.origin, "size": head.size, "root": head.root.hex()}
    emit(data, as_json, f"wrote {folder}: the log with {head.size} entries, and the key store of the same moment")


def restore(
    context: typer.Context,
    folder: BackupArgument,
    seen: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that a witness keeps; the backup must continue it.")
    ] = None,
    only_store: Annotated[
        bool, typer.Option("--only-store", help="Put back the key store alone: the log is sound, and newer.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put back a backup of log and key store, unless that would undo what was logged, or what a witness saw."""
    from signer.log.backup import put_in_place, read_backup, refuse_rollback, require_beginning_of_present

    repository = repository_of(context)
    _, log_folder = configured_log(repository)
    source = read_backup(folder)
    key = log_public_key(repository, source.key_store)
    _verify(source, key)
    known = [_seen_checkpoint(path, key) for path in seen or ()]
    targets = [(source.key_store, repository.key_store_path)]
    if only_store:
        require_beginning_of_present(source, log_folder)
    else:
        refuse_rollback(source, log_folder, known)
        targets.insert(0, (source.log, log_folder))
    kept = [str(path) for path in (put_in_place(*pair) for pair in targets) if path is not None]
    redo = _log_restored(context, repository, source, only_store=only_store)
    data = {"size": source.head.size, "kept": kept, "changes_to_redo": redo}
    lines = [f"restored {'the key store' if only_store else 'log and key store'} of {folder}"]
    lines += [f"what was there before is kept as {path}" for path in kept]
    lines += [f"logged after the backup, so do it again: {text}" for text in redo]
    emit(data, as_json, "\n".join(lines))


def _verify(source: Backup, key: PublicKey) -> None:
    from signer.log.recovery import compare_index, public_key_pem
    from verifiers.audit_log import LogFault, verify_log

    try:
        verify_log(source.log, [public_key_pem(key)])
    except LogFault as fault:
        raise AuditError(f"the log in backup {source.folder} is NOT sound: {fault}; take another backup") from None
    compare_index(source.log, source.head.size)


def _seen_checkpoint(path: Path, key: PublicKey) -> Checkpoint:
    checkpoint = parse_checkpoint(read_input(path, "checkpoint", NOTE_SIZE_BYTES_MAX))
    verify_log_signature(checkpoint, key)
    return checkpoint


def _log_restored(
    context: typer.Context, repository: AuthorityRepository, source: Backup, *, only_store: bool
) -> list[str]:
    """Log what was put back, under a checkpoint; the key changes that the restored key store has forgotten."""
    from cli.audit_story import sentence

    details = {"origin": source.head.origin, "root": source.head.root.hex(), "size": source.head.size}
    kinds = [EventKind.STORE_RESTORED] if only_store else [EventKind.LOG_RESTORED, EventKind.STORE_RESTORED]
    events = [Event(kind=kind, actor=operator(), details=details) for kind in kinds]
    when = now()
    with signing_keys(repository, site_of(context, repository), when) as keys, open_log(repository, keys) as log:
        forgotten = [entry for entry in log.entries(source.head.size) if _changed_a_key(entry.event)]
        log.append(events, when)
        log.checkpoint()
    return [sentence(entry) for entry in forgotten]


def _changed_a_key(event: Event) -> bool:
    kinds = (EventKind.KEY_GENERATED, EventKind.KEY_STATE_CHANGED, EventKind.KEY_DESTROYED)
    return event.kind in kinds and event.details.get("stage") != "intent"
