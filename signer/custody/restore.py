"""Restoring a recorded key from its backup file into another token, and proving that it is the same key.

A kill at any moment leaves an intent, and a rerun one of three states: the copy is recorded; or the key is finished on
the token, and is tried, audited and recorded; or what is there is removed and the key restored anew.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pki.errors import ConfigurationError, StrongroomError
from pki.key_audit import COPY_RULES, AuditFinding
from pki.key_states import KeyState
from pki.values import Digest, Scheme, Signature
from signer.custody.backup_file import BackupFile, decode_backup
from signer.custody.events import key_event, token_name
from signer.custody.intents import Act, CustodyIntent, CustodyIntents
from signer.custody.kek import Kek
from signer.custody.remains import dangerously_remove, finished_key, token_of, token_record
from signer.custody.rules import violation
from signer.inventory.audit import unavoidable_rules
from signer.inventory.registration import findings_of_new_key, require_sound
from signer.log.values import Event, EventKind
from signer.store.key_store import KeyStore
from signer.store.stored_times import time_to_text
from signer.store.values import Change, KeyRecord, NewKey
from signer.tokens import KeyRef
from signer.tokens.errors import KeyInconsistent

if TYPE_CHECKING:
    from signer.tokens.session import Session

_CHECKED = Digest.of(b"strongroom: this restored key signs")


class Outcome(StrEnum):
    """What this call did."""

    RESTORED = "restored"
    CONTINUED = "continued after an interruption: restored anew"
    ADOPTED = "continued after an interruption: the key was on the token"
    RECORDED_BEFORE = "continued after an interruption: the copy was recorded"


@dataclass(frozen=True, slots=True)
class SignCheck:
    """A signature over a fixed message by one instance of a key, verified under the recorded public key."""

    token: tuple[str, str]
    digest: Digest
    signature: Signature


@dataclass(frozen=True, slots=True)
class RestoredKey:
    """The key as recorded with its new copy, the backup it came from, its signature, and what the audit tolerated."""

    record: KeyRecord
    backup_digest: bytes
    check: SignCheck
    findings: tuple[AuditFinding, ...]
    outcome: Outcome

    def events(self, actor: str) -> tuple[Event, ...]:
        """For the audit log."""
        details = {"token": token_name(self.check.token), "backup_digest": self.backup_digest.hex()}
        return (key_event(EventKind.KEY_RESTORED, actor, self.record, **details),)


def sign_check(session: Session, record: KeyRecord) -> SignCheck:
    """Let a recorded key on this token sign under the recorded public key; raises PolicyViolation KB-09, TokenError."""
    handle = session.find(KeyRef(record.label, record.cka_id))
    if handle.public_key != record.public_key:
        raise violation("KB-09", f"key {record.label} on token {session.token.label!r} is another key than recorded")
    # It verifies in software before it returns.
    signature = handle.sign(_CHECKED, Scheme.ECDSA_P256_SHA256_RAW)
    return SignCheck(token_of(session), _CHECKED, signature)


def restore_key(
    intents: CustodyIntents,
    store: KeyStore,
    target: Session,
    backup: bytes,
    kek: Callable[[], Kek],
    now_change: Callable[[], Change],
) -> RestoredKey:
    """Restore the key of a backup file, given as its bytes, into the token of the writable `target`, and record it.

    `kek` is called when the key is to be unwrapped, and not when an interrupted run had done it; the KEK must be in the
    target's token. Raises FormatError; PolicyViolation KB-06 to KB-11, KA-…; KeyUnknown; ConfigurationError when an
    interrupted act with this key was another; TokenError; KeyStoreError. After an error the token has nothing of it, or
    an intent is left, and the next call ends it.
    """
    file = decode_backup(backup)
    record = store.key(file.label)
    _require_recorded(record, file)
    with intents.exclusively():
        act = _Restoration(intents, store, target, file, now_change)
        pending = intents.of(file.label)
        if pending is None:
            return act.begin(store.key(file.label), kek)
        return act.resume(store.key(file.label), pending, kek)


def _require_recorded(record: KeyRecord, file: BackupFile) -> None:
    known = [backup for backup in record.backups if hmac.compare_digest(backup.digest, file.digest)]
    if not known:
        raise violation("KB-07", f"this backup of key {record.label} is not in the key store; take one that is")
    if known[0].ended is not None:
        raise violation("KB-07", f"this backup of key {record.label} was ended: {known[0].ended.reason}")
    if (file.public_key, file.kek.kcv) != (record.public_key, known[0].kek_kcv):
        raise violation("KB-08", f"the backup and the key store say different things of key {record.label}")
    if record.state in (KeyState.DESTROYED, KeyState.COMPROMISED):
        raise violation("KB-10", f"key {record.label} is {record.state}; it is not restored")


class _Restoration:
    """One run of the act."""

    def __init__(
        self,
        intents: CustodyIntents,
        store: KeyStore,
        target: Session,
        file: BackupFile,
        now_change: Callable[[], Change],
    ) -> None:
        self._intents = intents
        self._store = store
        self._target = target
        self._file = file
        self._now_change = now_change
        change = now_change()
        self._intent = CustodyIntent(
            act=Act.RESTORE,
            label=file.label,
            token=token_of(target),
            file_digest=file.digest.hex(),
            begun_at=time_to_text(change.now),
            who=change.who,
        )

    def begin(self, record: KeyRecord, kek: Callable[[], Kek]) -> RestoredKey:
        self._refuse_present(record)
        self._intents.of_keys.refuse_pending(record.label)
        return self._restore(record, kek, Outcome.RESTORED)

    def resume(self, record: KeyRecord, pending: CustodyIntent, kek: Callable[[], Kek]) -> RestoredKey:
        self._require_same(pending)
        if record.origin_on(token_of(self._target)) is not None:
            check = sign_check(self._target, record)
            self._intents.remove(record.label)
            return RestoredKey(record, self._file.digest, check, (), Outcome.RECORDED_BEFORE)
        if finished_key(self._target, record.label) == record.public_key:
            with self._nothing_left_on_failure(record):
                return self._record(record, Outcome.ADOPTED)
        dangerously_remove(self._target, record.label)
        return self._restore(record, kek, Outcome.CONTINUED)

    def _refuse_present(self, record: KeyRecord) -> None:
        token = self._target.token.label
        if record.origin_on(token_of(self._target)) is not None:
            raise violation("KB-11", f"key {record.label} is on token {token!r} already; restore it to another")
        if any(item.label == record.label or item.cka_id == record.cka_id for item in self._target.objects()):
            raise violation(
                "KB-11",
                f"token {token!r} has objects of key {record.label} that are not recorded; audit it first",
            )

    def _require_same(self, pending: CustodyIntent) -> None:
        mine = self._intent
        if (pending.act, pending.token, pending.file_digest) != (mine.act, mine.token, mine.file_digest):
            raise ConfigurationError(
                f"another act with key {mine.label} was interrupted: {self._intents.path(mine.label)} says which; "
                "end that first"
            )

    def _restore(self, record: KeyRecord, get_kek: Callable[[], Kek], outcome: Outcome) -> RestoredKey:
        if record.public_key is None:
            raise violation("KB-08", f"key {record.label} has no public key")
        kek = get_kek()
        self._file.require_made_under(kek)
        wrapping_key = kek.in_token_of(self._target)
        self._intents.write(self._intent)
        with self._nothing_left_on_failure(record):
            try:
                wrapping_key.restore(self._file.wrapped, record.public_key, record.spec, record.label)
            except KeyInconsistent as error:
                raise violation("KB-09", f"the backup holds another key than {record.label}: {error}") from None
            return self._record(record, outcome)

    def _record(self, record: KeyRecord, outcome: Outcome) -> RestoredKey:
        check = sign_check(self._target, record)
        change = self._now_change()
        key = NewKey(record.label, record.cka_id, record.public_key, token_record(self._target), record.created_at)
        unavoidable = unavoidable_rules(self._target.probe_profile())
        findings = findings_of_new_key(self._target.objects(), key, change.now, unavoidable, COPY_RULES)
        require_sound(findings, record.label)
        record = self._store.add_restored(record.cka_id, key.token, change)
        self._intents.remove(record.label)
        return RestoredKey(record, self._file.digest, check, findings, outcome)

    @contextmanager
    def _nothing_left_on_failure(self, record: KeyRecord) -> Iterator[None]:
        """Undo what was made, if it was not recorded; if that fails too, the intent stays and the next call does it."""
        try:
            yield
        except BaseException:
            with suppress(StrongroomError):
                if self._store.key(record.cka_id).origin_on(token_of(self._target)) is None:
                    dangerously_remove(self._target, record.label)
                    self._intents.remove(record.label)
            raise
