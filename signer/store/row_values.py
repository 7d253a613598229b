"""Rows of the tables as frozen values."""

from __future__ import annotations

from pki.values import PublicKey
from signer.store.custody_values import BackupRecord, CopyRecord
from signer.store.tables import CertificateRow, KeyBackupRow, KeyCopyRow, KeyRow, StateChangeRow, TokenRow
from signer.store.values import CertificateRecord, Change, KeyRecord, StateChange, TokenRecord


def token_record(row: TokenRow) -> TokenRecord:
    """A token."""
    return TokenRecord(row.serial, row.label, row.module_path)


def state_change(row: StateChangeRow) -> StateChange:
    """One entry of a history."""
    return StateChange(row.sequence, row.from_state, row.to_state, Change(row.changed_at, row.changed_by, row.reason))


def certificate_record(row: CertificateRow) -> CertificateRecord:
    """A certificate."""
    return CertificateRecord(
        der=row.der,
        sha256=row.sha256,
        serial_number=row.serial_number,
        subject=row.subject,
        issuer=row.issuer,
        not_before=row.not_before,
        not_after=row.not_after,
        added=Change(row.added_at, row.added_by, row.reason),
        ended_at=row.ended_at,
    )


def copy_record(row: KeyCopyRow) -> CopyRecord:
    """A copy."""
    made = Change(row.made_at, row.made_by, row.reason)
    return CopyRecord(token_record(row.token), row.origin, made, _end(row))


def backup_record(row: KeyBackupRow) -> BackupRecord:
    """A backup."""
    made = Change(row.made_at, row.made_by, row.reason)
    return BackupRecord(row.digest, row.method, row.kek_kcv, row.ceremony_digest, made, _end(row))


def _end(row: KeyCopyRow | KeyBackupRow) -> Change | None:
    if row.ended_at is None or row.ended_by is None or row.end_reason is None:
        return None
    return Change(row.ended_at, row.ended_by, row.end_reason)


def key_record(row: KeyRow) -> KeyRecord:
    """A key with its current state and certificate; ValueError for one without a history or with a bad public key."""
    if not row.changes:
        raise ValueError(f"key {row.label} has no state")
    newest = row.changes[-1]
    current = next((certificate for certificate in row.certificates if certificate.ended_at is None), None)
    return KeyRecord(
        cka_id=row.cka_id,
        label=row.label,
        role=row.role,
        product=row.product,
        algorithm=row.algorithm,
        public_key=None if row.spki is None else PublicKey.from_spki(row.spki),
        token=token_record(row.token),
        created_at=row.created_at,
        not_before=row.not_before,
        not_after=row.not_after,
        state=newest.to_state,
        state_since=newest.changed_at,
        certificate=None if current is None else certificate_record(current),
        copies=tuple(copy_record(copy) for copy in row.copies),
        backups=tuple(backup_record(backup) for backup in row.backups),
    )
