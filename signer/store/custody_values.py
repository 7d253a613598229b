"""Copies and backups of keys, as values free of any database (docs/spec/key-backup.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pki.errors import InputRefused

if TYPE_CHECKING:
    from signer.store.values import Change, TokenRecord

BACKUP_METHOD = "slip39-kek"
"""A file, wrapped under a key-encryption key that custodians hold as SLIP-39 shares; the only method there is."""

DIGEST_SIZE_BYTES = 32
KCV_SIZE_BYTES = 5


class CopyOrigin(StrEnum):
    """How an instance of a key came onto its token. GENERATED is its home; the others are copies."""

    GENERATED = "generated"
    TRANSFERRED = "transferred"
    RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class CopyRecord:
    """A copy of a key on a token, current while `ended` is None.

    With origin GENERATED it says, ended, that the key's home has it no more; there is none of it before.
    """

    token: TokenRecord
    origin: CopyOrigin
    made: Change
    ended: Change | None


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A backup file to record: its SHA-256, the check value of its key-encryption key, and its ceremony if any."""

    digest: bytes
    kek_kcv: bytes
    ceremony_digest: bytes | None

    def __post_init__(self) -> None:
        if len(self.digest) != DIGEST_SIZE_BYTES or len(self.kek_kcv) != KCV_SIZE_BYTES:
            raise InputRefused("a backup has a digest of 32 bytes and a key check value of 5 bytes")
        if self.ceremony_digest is not None and len(self.ceremony_digest) != DIGEST_SIZE_BYTES:
            raise InputRefused("the digest of a ceremony has 32 bytes")


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """A recorded backup file; `ended` when people have said that it can restore nothing any more."""

    digest: bytes
    method: str
    kek_kcv: bytes
    ceremony_digest: bytes | None
    made: Change
    ended: Change | None
