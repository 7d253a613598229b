"""Commands about copies and backups of keys outside ceremonies: what a backup file is, and what is lost or destroyed.

Keys with backups are generated, and restored, by ceremonies only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import change_by_operator, now, open_store, pinned_uri, repository_of, site_of
from cli.key_events import key_events, role_of_label
from cli.options import JsonOption, TokenOption
from cli.output import emit
from pki.errors import ConfigurationError, InputRefused
from signer.log.values import EventKind
from signer.store.stored_times import time_to_text

if TYPE_CHECKING:
    from signer.custody.backup_file import BackupFile
    from signer.custody.destruction import Destroyed
    from signer.store.values import Change, KeyRecord

FileArgument = Annotated[Path, typer.Argument(help="A backup file of a key.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stays in the records.")]


def backup_info(context: typer.Context, file: FileArgument, as_json: JsonOption = False) -> None:
    """Show what a backup file says, and whether the key store knows it. Needs no custodian and no token."""
    backup = _read(file)
    with open_store(repository_of(context)) as store:
        recorded = _recorded_as(backup, store.keys())
    shares = backup.kek.shares
    needed = [f"{needed} of {count}" for needed, count in shares.groups]
    data: dict[str, Any] = {
        "label": backup.label,
        "digest": backup.digest.hex(),
        "recorded": recorded,
        "key_id": backup.public_key.key_id.hex(),
        "spki_sha256": backup.public_key.spki_sha256.hex(),
        "kek_check_value": backup.kek.kcv.hex(),
        "share_set": shares.identifier,
        "groups_needed": shares.groups_needed,
        "shares_needed": needed,
        "framing": backup.wrapped.framing.value,
        "token_serial": backup.token_serial,
        "token_label": backup.token_label,
        "made_at": backup.made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "made_by": backup.made_by,
        "ceremony_digest": "" if backup.ceremony_digest is None else backup.ceremony_digest.hex(),
    }
    text = {**data, "shares_needed": f"{', '.join(needed)} ({shares.groups_needed} of {len(needed)} groups)"}
    emit(data, as_json, "\n".join(f"{name}: {value}" for name, value in text.items() if value != ""))


def lost(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The key's label, as `strongroom key list` shows it.")],
    token: TokenOption,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Record that a token which has a key is lost, while the key lives on elsewhere. The token is not asked.

    Whether somebody else has it now is another question: then mark the key as compromised as well.
    """
    from signer.custody.destruction import record_lost

    repository = repository_of(context)
    uri = pinned_uri(site_of(context, repository), token)
    with open_store(repository) as store, key_events(repository, role_of_label(label)) as events:
        record = store.key(label)
        here = [
            item.identity for item in record.tokens if item.serial == uri.serial and uri.token in (None, item.label)
        ]
        if not here:
            raise InputRefused(
                f"key {label} is not recorded on token {token!r}; `strongroom key show` says where it is"
            )
        if len(record.tokens) == 1 and all(backup.ended is not None for backup in record.backups):
            raise InputRefused(f"key {label} is nowhere else: use `strongroom key destroy --token-is-lost`")
        details = {"token": "/".join(here[0]), "reason": reason}
        events.begins(EventKind.KEY_COPY_ENDED, label, **details)
        record = record_lost(store, label, here[0], _change(reason))
        events.is_done(EventKind.KEY_COPY_ENDED, label, **details)
    left = [f"{item.serial}/{item.label}" for item in record.tokens]
    emit(
        {"label": label, "token": token, "tokens": left},
        as_json,
        f"{label} is no longer on {token}; it is on: {', '.join(left) or 'no token, restore it from a backup'}",
    )


def end_backup(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="The backup file, or its digest in hexadecimal.", show_default=False)],
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> None:
    """Record that a backup can restore nothing any more: its media, or enough shares, are destroyed. Done by people."""
    repository = repository_of(context)
    digest = _digest_of(file)
    with open_store(repository) as store:
        records = store.keys()
        owners = [record for record in records if any(item.digest == digest for item in record.backups)]
        if not owners:
            raise InputRefused(f"the key store knows no backup {digest.hex()}; nothing was changed")
        label = owners[0].label
        with key_events(repository, role_of_label(label)) as events:
            details = {"backup_digest": digest.hex(), "reason": reason}
            events.begins(EventKind.KEY_BACKUP_ENDED, label, **details)
            record = store.end_backup(owners[0].cka_id, digest, _change(reason))
            events.is_done(EventKind.KEY_BACKUP_ENDED, label, **details)
    left = [backup.digest.hex() for backup in record.backups if backup.ended is None]
    emit(
        {"label": label, "digest": digest.hex(), "backups": left},
        as_json,
        f"the backup of {label} is ended; it has {len(left)} others",
    )


# What others show of copies and backups


def remaining_of(destroyed: Destroyed | None) -> dict[str, list[str]]:
    """Where a destroyed key remains: tokens and backups."""
    if destroyed is None:
        return {"remaining_tokens": [], "remaining_backups": []}
    return {
        "remaining_tokens": ["/".join(token) for token in destroyed.tokens],
        "remaining_backups": [digest.hex() for digest in destroyed.backups],
    }


def remaining_text(remaining: Mapping[str, list[str]]) -> str:
    """The same for people; empty when nothing remains."""
    lines = [f"\nstill on token {token}: destroy it there too" for token in remaining["remaining_tokens"]]
    lines += [
        f"\nbackup {digest} can restore it: destroy it, then `key end-backup`"
        for digest in remaining["remaining_backups"]
    ]
    return "".join(lines)


def copies_of(record: KeyRecord) -> list[dict[str, str]]:
    """The copies of a key, and that it left its home, as text."""
    return [
        {"origin": copy.origin.value, "token": "/".join(copy.token.identity), **_span(copy.made, copy.ended)}
        for copy in record.copies
    ]


def backups_of(record: KeyRecord) -> list[dict[str, str]]:
    """The backups of a key, as text."""
    return [
        {"digest": backup.digest.hex(), "kek_check_value": backup.kek_kcv.hex(), **_span(backup.made, backup.ended)}
        for backup in record.backups
    ]


def _span(made: Change, ended: Change | None) -> dict[str, str]:
    end = "" if ended is None else f", ended {time_to_text(ended.now)} by {ended.who}: {ended.reason}"
    return {"since": f"{time_to_text(made.now)} by {made.who}: {made.reason}", "end": end}


def _change(reason: str) -> Change:
    return change_by_operator(reason, now())


def _read(path: Path) -> BackupFile:
    from signer.custody.backup_file import BACKUP_SIZE_BYTES_MAX, decode_backup

    try:
        with path.open("rb") as file:
            return decode_backup(file.read(BACKUP_SIZE_BYTES_MAX + 1))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None


def _digest_of(text: str) -> bytes:
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return bytes.fromhex(text)
    return _read(Path(text)).digest


def _recorded_as(backup: BackupFile, records: tuple[KeyRecord, ...]) -> str:
    """Whether the key store knows the file: `yes`, `ended`, `no`, or `of another key`."""
    for record in records:
        for known in record.backups:
            if known.digest == backup.digest:
                if record.label != backup.label:
                    return "of another key"
                return "yes" if known.ended is None else "ended"
    return "no"
