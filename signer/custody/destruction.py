"""Destroying a key everywhere, and recording what is lost. The key store is the intent: what it still names, remains.

Calling again, with other sessions or after a kill, continues: an instance that is gone from its token is only recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pki.errors import InputRefused
from pki.key_states import KeyState
from signer.custody.events import key_event, token_name
from signer.custody.remains import dangerously_remove, is_on_token, token_of
from signer.log.values import Event, EventKind
from signer.store.key_store import KeyStore
from signer.store.values import MAX_REASON_LENGTH, Change, KeyRecord

if TYPE_CHECKING:
    from signer.tokens.session import Session


@dataclass(frozen=True, slots=True)
class Destroyed:
    """The key as recorded now, and what this call destroyed and ended.

    `tokens` and `backups` remain: (serial, label) of tokens that are recorded to have it still, and digests.
    """

    record: KeyRecord
    destroyed_on: tuple[tuple[str, str], ...]
    lost: tuple[tuple[str, str], ...]
    ended_backups: tuple[bytes, ...]

    @property
    def tokens(self) -> tuple[tuple[str, str], ...]:
        """Where it remains to be destroyed."""
        return tuple(token.identity for token in self.record.tokens)

    @property
    def backups(self) -> tuple[bytes, ...]:
        """Digests of the backups that can restore it still."""
        return tuple(backup.digest for backup in self.record.backups if backup.ended is None)

    def events(self, actor: str) -> tuple[Event, ...]:
        """For the audit log: one event for each instance and backup that this call ended."""
        ended = [{"token": token_name(token)} for token in self.destroyed_on]
        ended += [{"token": token_name(token), "lost": True} for token in self.lost]  # type: ignore[dict-item]
        ended += [{"backup_digest": digest.hex()} for digest in self.ended_backups]
        return tuple(key_event(EventKind.KEY_DESTROYED, actor, self.record, **details) for details in ended)


def destroy_everywhere(
    store: KeyStore,
    label: str,
    sessions: Sequence[Session],
    change: Change,
    *,
    lost: Collection[tuple[str, str]] = (),
    backups_destroyed: Collection[bytes] = (),
) -> Destroyed:
    """Record that a key is destroyed; then destroy its instance on the token of each writable session.

    `lost` are tokens (serial, label) that nobody has any more, `backups_destroyed` digests of backups of which people
    say that they can restore nothing. Raises InputRefused for a token or backup that was never this key's, before
    anything is done, KeyUnknown; PolicyViolation KS-11, KS-31; TokenError.
    """
    record = store.key(label)
    _require_its_own(record, sessions, lost, backups_destroyed)
    if record.state is not KeyState.DESTROYED:
        record = store.change_state(record.cka_id, KeyState.DESTROYED, change)
    destroyed_on = []
    for session in sessions:
        was_there = is_on_token(session, record)
        if was_there:
            dangerously_remove(session, label)
        if _end(store, label, token_of(session), change) or was_there:
            destroyed_on.append(token_of(session))
    lost_change = replace(change, reason=f"token lost: {change.reason}"[:MAX_REASON_LENGTH].rstrip())
    lost_now = tuple(token for token in lost if _end(store, label, token, lost_change))
    open_backups = {backup.digest for backup in store.key(label).backups if backup.ended is None}
    ended = tuple(digest for digest in backups_destroyed if digest in open_backups)
    for digest in ended:
        store.end_backup(record.cka_id, digest, change)
    return Destroyed(store.key(label), tuple(destroyed_on), lost_now, ended)


def record_lost(store: KeyStore, label: str, token: tuple[str, str], change: Change) -> KeyRecord:
    """Record that a token (serial, label) which has a key is lost; whether the key is compromised is another decision.

    Raises KeyConflict when the key is not recorded there (any more), KeyUnknown, PolicyViolation KS-31.
    """
    return store.end_instance(store.key(label).cka_id, token, change)


def _require_its_own(
    record: KeyRecord,
    sessions: Sequence[Session],
    lost: Collection[tuple[str, str]],
    backups_destroyed: Collection[bytes],
) -> None:
    ever_on = {record.token.identity, *(copy.token.identity for copy in record.copies)}
    for token in (*(token_of(session) for session in sessions), *lost):
        if token not in ever_on:
            raise InputRefused(f"key {record.label} was never on token {token_name(token)}; nothing was destroyed")
    unknown = set(backups_destroyed) - {backup.digest for backup in record.backups}
    if unknown:
        raise InputRefused(f"key {record.label} has no backup {min(unknown).hex()}; nothing was destroyed")


def _end(store: KeyStore, label: str, token: tuple[str, str], change: Change) -> bool:
    """Record that a token has the key no more; False if that was recorded already."""
    record = store.key(label)
    if record.origin_on(token) is None:
        return False
    store.end_instance(record.cka_id, token, change)
    return True
