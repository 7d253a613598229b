"""The key store: what every key is, where it is, and in which state; through SQLAlchemy, for everything but signing.

Every write is one transaction, synced when the call returns. Importing this costs as much as SQLAlchemy does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from pki.errors import InputRefused, PolicyViolation
from pki.key_specs import MAX_SEQUENCE, KeySpec, key_label, parse_key_label
from pki.key_states import KeyState, may_change_state
from pki.roles import Role
from signer.store import custody_rows
from signer.store.certificate_facts import read_certificate
from signer.store.custody_values import CopyOrigin, NewBackup
from signer.store.errors import KeyConflict, KeyStoreDamaged, KeyUnknown
from signer.store.key_rules import require_not_backdated, require_window
from signer.store.row_values import certificate_record, key_record, state_change
from signer.store.sqlite_file import connect, explain
from signer.store.tables import CertificateRow, KeyRow, StateChangeRow, TokenRow
from signer.store.values import CertificateRecord, Change, KeyRecord, NewKey, StateChange, TokenRecord

_BEGIN = "strongroom_begin"


def open_key_store(path: Path) -> KeyStore:
    """Open the key store at `path`; raises what `sqlite_file.connect` does: an older or newer schema is refused."""
    connect(path).close()
    return KeyStore(path)


class KeyStore:
    """An open key store; use it in a `with` statement. Errors are KeyStoreError, PolicyViolation or InputRefused."""

    def __init__(self, path: Path) -> None:
        """For `open_key_store`, which checks the file first."""
        self._path = path
        self._reading = _engine(path)
        self._writing = self._reading.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._reading.dispose()

    # Reading

    def keys(self, *, token: tuple[str, str] | None = None, role: Role | None = None) -> tuple[KeyRecord, ...]:
        """Every key, or those that are or were on one token (serial, label), or those of one role, sorted by label."""
        query = select(KeyRow).order_by(KeyRow.label)
        if token is not None:
            query = query.where(custody_rows.ever_on(*token))
        if role is not None:
            query = query.where(KeyRow.role == role)
        with self._transaction(self._reading, "read") as session:
            return tuple(key_record(row) for row in session.scalars(query))

    def key(self, name: bytes | str) -> KeyRecord:
        """The key of this CKA_ID (bytes) or label (str); raises KeyUnknown."""
        with self._transaction(self._reading, "read") as session:
            return key_record(_row_of(session, name))

    def state_history(self, cka_id: bytes) -> tuple[StateChange, ...]:
        """Every state change of a key, oldest first; raises KeyUnknown."""
        with self._transaction(self._reading, "read") as session:
            return tuple(state_change(row) for row in _row_of(session, cka_id).changes)

    def certificate_history(self, cka_id: bytes) -> tuple[CertificateRecord, ...]:
        """Every certificate a key has had, oldest first; raises KeyUnknown."""
        with self._transaction(self._reading, "read") as session:
            return tuple(certificate_record(row) for row in _row_of(session, cka_id).certificates)

    def next_label(self, spec: KeySpec, product: str | None) -> str:
        """The label for the next key of a role and product: one above the highest sequence number ever used."""
        query = select(KeyRow.label).where(KeyRow.role == spec.role, KeyRow.product.is_(product))
        with self._transaction(self._reading, "read") as session:
            used = [parse_key_label(label).sequence for label in session.scalars(query)]
        sequence = max(used, default=0) + 1
        if sequence > MAX_SEQUENCE:
            raise KeyConflict(
                f"all {MAX_SEQUENCE} labels for role {spec.role} and product {product or 'none'} are used up"
            )
        return key_label(spec, product, sequence)

    # Writing

    def register(
        self, key: NewKey, change: Change, *, backup: NewBackup | None = None, copies_on: Sequence[TokenRecord] = ()
    ) -> KeyRecord:
        """Record a new key in state pre-activation, with its backup and its copies on further tokens.

        Raises KeyConflict when its label or CKA_ID is known, or its backup. A key with either was created at
        `change.now`.
        """
        with self._transaction(self._writing, "write to") as session:
            _refuse_known(session, key)
            row = KeyRow(
                cka_id=key.cka_id,
                label=key.label,
                role=key.spec.role,
                product=key.product,
                algorithm=key.spec.algorithm,
                spki=None if key.public_key is None else key.public_key.spki,
                token=_token_row(session, key.token),
                created_at=key.created_at,
            )
            session.add(row)
            session.flush()
            _append(session, row, None, KeyState.PRE_ACTIVATION, change)
            if backup is not None:
                custody_rows.add_backup(session, row, backup, change)
            tokens = [_token_row(session, token) for token in copies_on]
            custody_rows.add_copies(session, row, tokens, CopyOrigin.TRANSFERRED, change)
            return key_record(row)

    def activate(self, cka_id: bytes, not_before: datetime, not_after: datetime, change: Change) -> KeyRecord:
        """Set the time window, once and for ever, and make the key active. Both ends are inclusive.

        Raises PolicyViolation KS-11 (not pre-activation), KS-30 (window) or KS-31 (backdated), or KeyUnknown.
        """
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            if row.not_before is not None:
                may_change_state(row.changes[-1].to_state, KeyState.ACTIVE).require()
                raise PolicyViolation("KS-33", f"key {row.label} has its time window already; it is never changed")
            require_window(key_record(row).spec, not_before, not_after, change.now)
            row.not_before, row.not_after = not_before, not_after
            _change_state(session, row, KeyState.ACTIVE, change)
            return key_record(row)

    def change_state(self, cka_id: bytes, wanted: KeyState, change: Change) -> KeyRecord:
        """Append a state change; raises PolicyViolation KS-11, KS-31 or KS-32 (first activation), or KeyUnknown."""
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            if wanted is KeyState.ACTIVE and row.not_before is None:
                may_change_state(row.changes[-1].to_state, wanted).require()
                raise PolicyViolation("KS-32", f"key {row.label} has no time window yet; activate it with one")
            _change_state(session, row, wanted, change)
            return key_record(row)

    def set_certificate(self, cka_id: bytes, der: bytes, change: Change) -> KeyRecord:
        """Make a DER certificate the key's current one; the one before goes to the history.

        Raises InputRefused for a certificate that is not for this key, KeyConflict for one recorded before, KeyUnknown.
        """
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            public_key = key_record(row).public_key
            if public_key is None:
                raise InputRefused(f"key {row.label} is a secret key; it has no certificate")
            facts = read_certificate(der, row.label, public_key)
            if session.get(CertificateRow, facts.sha256) is not None:
                raise KeyConflict(f"this certificate of key {row.label} is recorded already")
            _end_certificate(session, row, change)
            added = {"added_at": change.now, "added_by": change.who, "reason": change.reason}
            names = {"serial_number": facts.serial_number, "subject": facts.subject, "issuer": facts.issuer}
            validity = {"not_before": facts.not_before, "not_after": facts.not_after}
            session.add(CertificateRow(sha256=facts.sha256, cka_id=cka_id, der=der, **names, **validity, **added))
            return _fresh(session, row)

    def end_certificate(self, cka_id: bytes, change: Change) -> KeyRecord:
        """Leave the key without a current certificate (revoked, say); raises KeyConflict if it has none, KeyUnknown."""
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            if not _end_certificate(session, row, change):
                raise KeyConflict(f"key {row.label} has no current certificate")
            return _fresh(session, row)

    def add_restored(self, cka_id: bytes, token: TokenRecord, change: Change) -> KeyRecord:
        """Record that a key was restored to a token; raises KeyConflict when it is recorded there, KeyUnknown."""
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            if key_record(row).origin_on(token.identity) is not None:
                raise KeyConflict(f"key {row.label} is recorded on token {token.serial} ({token.label!r}) already")
            custody_rows.add_copies(session, row, [_token_row(session, token)], CopyOrigin.RESTORED, change)
            return key_record(row)

    def end_instance(self, cka_id: bytes, token: tuple[str, str], change: Change) -> KeyRecord:
        """A token (serial, label) has a key no more; raises KeyConflict, KeyUnknown, PolicyViolation KS-31."""
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            custody_rows.end_instance(session, row, token, change)
            return key_record(row)

    def end_backup(self, cka_id: bytes, digest: bytes, change: Change) -> KeyRecord:
        """Record that a backup can restore nothing any more; raises KeyConflict, PolicyViolation KS-31, KeyUnknown."""
        with self._transaction(self._writing, "write to") as session:
            row = _row_of(session, cka_id)
            custody_rows.end_backup(session, row, digest, change)
            return key_record(row)

    @contextmanager
    def _transaction(self, engine: Engine, doing: str) -> Iterator[Session]:
        """Committed at the end, or rolled back with an error of ours."""
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.Error):
                raise explain(error.orig, self._path, doing) from error
            raise
        except ValueError as error:
            raise KeyStoreDamaged(f"key store {self._path}: a record is damaged ({error}); restore a backup") from error


def _engine(path: Path) -> Engine:
    """Connections are made by `connect`, so that both ways of access have the same settings; one per transaction."""
    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _row_of(session: Session, name: bytes | str) -> KeyRow:
    column = KeyRow.label if isinstance(name, str) else KeyRow.cka_id
    row = session.scalars(select(KeyRow).where(column == name)).one_or_none()
    if row is None:
        shown = repr(name) if isinstance(name, str) else f"with id {name.hex()}"
        raise KeyUnknown(f"no key {shown} is recorded; `strongroom key list` shows those that are")
    return row


def _refuse_known(session: Session, key: NewKey) -> None:
    query = select(KeyRow).where((KeyRow.label == key.label) | (KeyRow.cka_id == key.cka_id))
    known = session.scalars(query).first()
    if known is None:
        return
    if known.cka_id == key.cka_id:
        raise KeyConflict(f"the key with id {key.cka_id.hex()} is recorded already, as {known.label}")
    raise KeyConflict(f"the label {key.label} belongs to the key with id {known.cka_id.hex()}; take the next number")


def _token_row(session: Session, token: TokenRecord) -> TokenRow:
    """The row of the token, made if need be; the module's path is the newest one given."""
    query = select(TokenRow).where(TokenRow.serial == token.serial, TokenRow.label == token.label)
    row = session.scalars(query).one_or_none()
    if row is None:
        row = TokenRow(serial=token.serial, label=token.label)
        session.add(row)
    row.module_path = token.module_path
    return row


def _change_state(session: Session, row: KeyRow, wanted: KeyState, change: Change) -> None:
    newest = row.changes[-1]
    may_change_state(newest.to_state, wanted).require()
    require_not_backdated(newest.changed_at, change.now)
    _append(session, row, newest, wanted, change)


def _append(session: Session, row: KeyRow, newest: StateChangeRow | None, wanted: KeyState, change: Change) -> None:
    row.changes.append(
        StateChangeRow(
            sequence=1 if newest is None else newest.sequence + 1,
            from_state=None if newest is None else newest.to_state,
            to_state=wanted,
            changed_at=change.now,
            changed_by=change.who,
            reason=change.reason,
        )
    )
    session.flush()


def _end_certificate(session: Session, row: KeyRow, change: Change) -> bool:
    """True if there was a current one. Flushed at once, since two current ones may not exist even for a moment."""
    for certificate in row.certificates:
        if certificate.ended_at is None:
            certificate.ended_at = change.now
            session.flush()
            return True
    return False


def _fresh(session: Session, row: KeyRow) -> KeyRecord:
    session.flush()
    session.refresh(row)
    return key_record(row)
