"""What is asked for when a key is generated with a backup, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pki.key_audit import AuditFinding
from pki.key_specs import KeySpec
from signer.custody.events import key_event, token_name
from signer.custody.kek import Kek
from signer.custody.remains import token_of
from signer.custody.rules import violation
from signer.log.values import Event, EventKind
from signer.store.values import KeyRecord

if TYPE_CHECKING:
    from signer.tokens.session import Session


class Outcome(StrEnum):
    """What this call did."""

    GENERATED = "generated"
    CONTINUED = "continued after an interruption: generated anew"
    ADOPTED = "continued after an interruption: the key and all that belongs to it were there"
    RECORDED_BEFORE = "continued after an interruption: the key was recorded"


@dataclass(frozen=True, slots=True)
class FileBackup:
    """A backup file to write. `kek` is called when a key is to be made; the KEK must be in the source's token."""

    path: Path
    kek: Callable[[], Kek]


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """What shall outlive the key's own token: writable sessions with the tokens of its copies, a file, or both."""

    copies_on: tuple[Session, ...] = ()
    file: FileBackup | None = None
    ceremony_digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeyWithBackup:
    """The key as recorded, with its copies and its backup; what the audit found tolerable; how it came about."""

    record: KeyRecord
    findings: tuple[AuditFinding, ...]
    outcome: Outcome

    def events(self, actor: str) -> tuple[Event, ...]:
        """For the audit log: that the key was generated, and each way in which it was backed up."""
        record = self.record
        home = token_name(record.token.identity)
        copies = [
            key_event(EventKind.KEY_BACKED_UP, actor, record, token=home, copy_on=token_name(copy.token.identity))
            for copy in record.copies
        ]
        files = [
            key_event(
                EventKind.KEY_BACKED_UP,
                actor,
                record,
                token=home,
                backup_digest=backup.digest.hex(),
                kek_kcv=backup.kek_kcv.hex(),
                ceremony_digest=None if backup.ceremony_digest is None else backup.ceremony_digest.hex(),
            )
            for backup in record.backups
        ]
        return (key_event(EventKind.KEY_GENERATED, actor, record, token=home), *copies, *files)


def require_plan(spec: KeySpec, source: Session, plan: BackupPlan) -> None:
    """Raise PolicyViolation KB-01 or KB-02 for a plan that cannot be."""
    if not spec.backup_permitted:
        raise violation("KB-01", f"keys of role {spec.role} have no backup and no copy; replace what is lost")
    if plan.file is not None and not spec.backup_file_permitted:
        raise violation("KB-01", f"keys of role {spec.role} have copies on other tokens, and no backup file")
    tokens = [token_of(session) for session in (source, *plan.copies_on)]
    if len(tokens) == 1 and plan.file is None:
        raise violation("KB-02", "the plan has neither a copy nor a backup file")
    if len(set(tokens)) != len(tokens):
        raise violation("KB-02", "a copy goes to another token than the key, and to each token once")
