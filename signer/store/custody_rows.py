"""Writing what the key store knows of copies and backups; called by key_store.py inside its transactions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from signer.store.custody_values import BACKUP_METHOD, CopyOrigin, NewBackup
from signer.store.errors import KeyConflict
from signer.store.key_rules import require_not_backdated
from signer.store.tables import KeyBackupRow, KeyCopyRow, KeyRow, TokenRow
from signer.store.values import Change


def ever_on(serial: str, label: str) -> ColumnElement[bool]:
    """Keys that are or were on the token of this serial and label."""
    here = (TokenRow.serial == serial) & (TokenRow.label == label)
    of_copies = KeyRow.cka_id.in_(_ids_of_copies(here))
    return or_(KeyRow.token.has(here), of_copies)


def _ids_of_copies(here: ColumnElement[bool]) -> Any:
    return select(KeyCopyRow.cka_id).join(TokenRow, TokenRow.id == KeyCopyRow.token_id).where(here)


def add_backup(session: Session, row: KeyRow, backup: NewBackup, change: Change) -> None:
    """Record a backup file of a key that is being registered."""
    row.backups.append(
        KeyBackupRow(
            digest=backup.digest,
            method=BACKUP_METHOD,
            kek_kcv=backup.kek_kcv,
            ceremony_digest=backup.ceremony_digest,
            made_at=change.now,
            made_by=change.who,
            reason=change.reason,
        )
    )
    session.flush()


def add_copies(session: Session, row: KeyRow, tokens: Iterable[TokenRow], origin: CopyOrigin, change: Change) -> None:
    """Record copies; raises KeyConflict when a token has one already."""
    for token in tokens:
        session.flush()
        if any(copy.token is token and copy.ended_at is None for copy in row.copies):
            raise KeyConflict(f"key {row.label} is recorded on token {token.serial} ({token.label!r}) already")
        made = {"made_at": change.now, "made_by": change.who, "reason": change.reason}
        row.copies.append(KeyCopyRow(token=token, origin=origin, **made))
    session.flush()


def end_instance(session: Session, row: KeyRow, token: tuple[str, str], change: Change) -> None:
    """Record that a token has the key no more: its current copy there ends, or it has left its home.

    Raises KeyConflict when no instance is recorded there, PolicyViolation KS-31 for a date before it was made.
    """
    for copy in row.copies:
        if copy.ended_at is None and (copy.token.serial, copy.token.label) == token:
            _end(copy, change)
            break
    else:
        _leave_home(row, token, change)
    session.flush()


def _leave_home(row: KeyRow, token: tuple[str, str], change: Change) -> None:
    left = any(copy.origin is CopyOrigin.GENERATED for copy in row.copies)
    if left or (row.token.serial, row.token.label) != token:
        raise KeyConflict(f"key {row.label} is not recorded on token {token[0]} ({token[1]!r}), or is no more")
    first = row.changes[0]
    made = {"made_at": row.created_at, "made_by": first.changed_by, "reason": first.reason}
    gone = KeyCopyRow(token=row.token, origin=CopyOrigin.GENERATED, **made)
    _end(gone, change)
    row.copies.append(gone)


def end_backup(session: Session, row: KeyRow, digest: bytes, change: Change) -> None:
    """Record that a backup can restore nothing any more; raises KeyConflict for one unknown or ended, KS-31."""
    for backup in row.backups:
        if backup.digest == digest and backup.ended_at is None:
            _end(backup, change)
            session.flush()
            return
    raise KeyConflict(f"key {row.label} has no backup {digest.hex()} that could be ended")


def _end(made: KeyCopyRow | KeyBackupRow, change: Change) -> None:
    require_not_backdated(made.made_at, change.now)
    made.ended_at, made.ended_by, made.end_reason = change.now, change.who, change.reason
