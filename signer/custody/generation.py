"""Generating a key with copies on other tokens, a backup file, or both (docs/spec/key-backup.md).

Its copies and its file are finished before the key itself is: so when a key is on its own token, they are there. A kill
at any moment leaves an intent, and a rerun finds one of three states:
- the record: the intent is removed;
- the key on its token, and its copies, and the file of the intent's digest: audited and recorded;
- anything less: all of it is removed, and the key generated anew. No key was ever used before it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pki.errors import ConfigurationError, OutputError, StrongroomError
from pki.key_audit import BACKED_UP_RULES, COPY_RULES, AuditFinding
from pki.key_specs import KEY_SPECS, KeySpec, parse_key_label
from pki.values import PublicKey
from signer.authority.key_generation import KeyRequest, fresh_label, recorded
from signer.custody.backup_disk import read_backup, remove_backup, write_backup
from signer.custody.backup_file import BackupFile
from signer.custody.intents import Act, CustodyIntent, CustodyIntents
from signer.custody.kek import Kek
from signer.custody.plan import BackupPlan, KeyWithBackup, Outcome, require_plan
from signer.custody.remains import dangerously_remove, finished_key, token_of, token_record
from signer.inventory.audit import unavoidable_rules
from signer.inventory.registration import findings_of_new_key, require_sound
from signer.store.custody_values import NewBackup
from signer.store.errors import KeyConflict
from signer.store.key_store import KeyStore
from signer.store.stored_times import time_to_text
from signer.store.values import Change, NewKey

if TYPE_CHECKING:
    import pkcs11

    from signer.tokens.session import Session
    from signer.tokens.wrapping import WrappingKey


def generate_with_backup(
    intents: CustodyIntents,
    store: KeyStore,
    source: Session,
    request: KeyRequest,
    plan: BackupPlan,
    now_change: Callable[[], Change],
) -> KeyWithBackup:
    """Generate and record one key, in state pre-activation, on the token of the writable `source`, as planned.

    Safe to call again after a kill. Raises PolicyViolation KB-01, KB-02, KA-…; KeyConflict for a label in use;
    ConfigurationError when an interrupted generation was planned otherwise; OutputError for the file; TokenError;
    KeyStoreError. After an error nothing is left, or an intent, and the next call ends it.
    """
    require_plan(request.spec, source, plan)
    with intents.exclusively():
        pending = _pending(intents, request)
        label = pending.label if pending else fresh_label(store, request)
        intents.of_keys.refuse_pending(label)
        record = recorded(store, label)
        if record is not None:
            if pending is None:
                raise KeyConflict(f"key {label} exists already; leave the number out for the next one")
            intents.remove(label)
            return KeyWithBackup(record, (), Outcome.RECORDED_BEFORE)
        act = _Generation(intents, store, source, plan, label, now_change)
        if pending is None:
            return act.begin()
        return act.resume(pending)


def _pending(intents: CustodyIntents, request: KeyRequest) -> CustodyIntent | None:
    """The interrupted generation that this request continues."""
    for intent in intents.all():
        parts = parse_key_label(intent.label)
        same_key = (parts.role, parts.product) == (request.role, request.product)
        if intent.act is Act.GENERATE and same_key and request.sequence in (None, parts.sequence):
            return intent
    return None


class _Generation:
    """One run of the act."""

    def __init__(
        self,
        intents: CustodyIntents,
        store: KeyStore,
        source: Session,
        plan: BackupPlan,
        label: str,
        now_change: Callable[[], Change],
    ) -> None:
        self._intents = intents
        self._store = store
        self._source = source
        self._plan = plan
        self._label = label
        self._now_change = now_change
        self._backup: BackupFile | None = None
        change = now_change()
        self._intent = CustodyIntent(
            act=Act.GENERATE,
            label=label,
            token=token_of(source),
            copies_on=tuple(token_of(session) for session in plan.copies_on),
            file=None if plan.file is None else str(plan.file.path.absolute()),
            begun_at=time_to_text(change.now),
            who=change.who,
        )

    @property
    def _path(self) -> Path | None:
        return None if self._plan.file is None else self._plan.file.path

    def begin(self) -> KeyWithBackup:
        for session in (self._source, *self._plan.copies_on):
            if any(item.label == self._label for item in session.objects()):
                raise KeyConflict(
                    f"token {session.token.label!r} has a key {self._label} that the key store does not know; "
                    "`strongroom key audit` shows it"
                )
        if self._path is not None and (self._path.exists() or self._path.is_symlink()):
            raise OutputError(f"{self._path} exists already; remove it or choose another name")
        self._intents.write(self._intent)
        return self._make(Outcome.GENERATED)

    def resume(self, pending: CustodyIntent) -> KeyWithBackup:
        self._require_same(pending)
        self._intent = pending
        public_key = self._whole_key()
        if public_key is None:
            self._remove_everything()
            return self._make(Outcome.CONTINUED)
        with self._nothing_left_on_failure():
            return self._record(public_key, Outcome.ADOPTED)

    def _require_same(self, pending: CustodyIntent) -> None:
        begun, now = ((intent.token, sorted(intent.copies_on), intent.file) for intent in (pending, self._intent))
        if begun != now:
            raise ConfigurationError(
                f"the generation of {self._label} was begun with other tokens or another backup file: "
                f"{self._intents.path(self._label)} says which; resume it with those"
            )

    def _whole_key(self) -> PublicKey | None:
        """The key that a killed run had finished; None unless its copies and its file are there too."""
        public_key = finished_key(self._source, self._label)
        if public_key is None or any(
            finished_key(session, self._label) != public_key for session in self._plan.copies_on
        ):
            return None
        if self._path is not None:
            self._backup = read_backup(self._path)
            if self._backup is None or self._backup.digest.hex() != self._intent.file_digest:
                return None
        return public_key

    def _make(self, outcome: Outcome) -> KeyWithBackup:
        with self._nothing_left_on_failure():
            with self._wrapping_keys() as (for_file, for_copies):
                handle = self._source.generate(
                    self._spec, self._label, protect=lambda *key: self._protect(for_file, for_copies, *key)
                )
            public_key = finished_key(self._source, handle.label)
            if public_key is None:
                raise ConfigurationError(f"key {self._label} is not on its token after it was made there")
            return self._record(public_key, outcome)

    @property
    def _spec(self) -> KeySpec:
        return KEY_SPECS[parse_key_label(self._label).role]

    @contextmanager
    def _wrapping_keys(self) -> Iterator[tuple[Kek | None, list[tuple[WrappingKey, WrappingKey]]]]:
        """The KEK for the file, and a pair of agreed keys for each copy, which end here."""
        from signer.tokens.wrapping import connect

        pairs: list[tuple[WrappingKey, WrappingKey]] = []
        try:
            kek = None if self._plan.file is None else self._plan.file.kek()
            pairs += (connect(self._source, target) for target in self._plan.copies_on)
            yield kek, pairs
        finally:
            for pair in pairs:
                for key in pair:
                    with suppress(StrongroomError):
                        key.destroy()

    def _protect(
        self,
        kek: Kek | None,
        pairs: Sequence[tuple[WrappingKey, WrappingKey]],
        private: pkcs11.PrivateKey,
        public_key: PublicKey,
    ) -> None:
        """While the key can leave its token: first the copies, then the file."""
        for sending, receiving in pairs:
            receiving.restore(sending.wrap(private), public_key, self._spec, self._label)
        if kek is not None and self._path is not None:
            change = self._now_change()
            unsealed = BackupFile(
                label=self._label,
                public_key=public_key,
                wrapped=kek.in_token_of(self._source).wrap(private),
                kek=kek.identity,
                token_serial=self._source.token.serial,
                token_label=self._source.token.label,
                made_at=change.now.astimezone(UTC).replace(microsecond=0),
                made_by=change.who,
                ceremony_digest=self._plan.ceremony_digest,
            )
            self._backup = unsealed.sealed(kek)
            write_backup(self._path, self._backup)
            self._intent = msgspec.structs.replace(self._intent, file_digest=self._backup.digest.hex())
            self._intents.write(self._intent)

    def _record(self, public_key: PublicKey, outcome: Outcome) -> KeyWithBackup:
        """Audit every instance, then record the key with all of them in one transaction."""
        change = self._now_change()
        key = NewKey(self._label, public_key.cka_id, public_key, token_record(self._source), change.now)
        findings = self._audited(self._source, key, BACKED_UP_RULES)
        for session in self._plan.copies_on:
            findings += self._audited(session, key, COPY_RULES)
        backup = None
        if self._backup is not None:
            backup = NewBackup(self._backup.digest, self._backup.kek.kcv, self._backup.ceremony_digest)
        copies_on = [token_record(session) for session in self._plan.copies_on]
        record = self._store.register(key, change, backup=backup, copies_on=copies_on)
        self._intents.remove(self._label)
        return KeyWithBackup(record, findings, outcome)

    def _audited(self, session: Session, key: NewKey, recorded: frozenset[str]) -> tuple[AuditFinding, ...]:
        unavoidable = unavoidable_rules(session.probe_profile())
        findings = findings_of_new_key(session.objects(), key, key.created_at, unavoidable, recorded)
        require_sound(findings, key.label)
        return findings

    @contextmanager
    def _nothing_left_on_failure(self) -> Iterator[None]:
        """Undo what was made, if it was not recorded; if that fails too, the intent stays and the next call does it."""
        try:
            yield
        except BaseException:
            with suppress(StrongroomError):
                if recorded(self._store, self._label) is None:
                    self._remove_everything()
                    self._intents.remove(self._label)
            raise

    def _remove_everything(self) -> None:
        """What the tokens and the path have of a key that is not recorded. Raises TokenError, OutputError."""
        for session in (*self._plan.copies_on, self._source):
            dangerously_remove(session, self._label)
        if self._path is not None:
            remove_backup(self._path, self._label)
        self._backup = None
        if self._intent.file_digest is not None:
            self._intent = msgspec.structs.replace(self._intent, file_digest=None)
            self._intents.write(self._intent)
