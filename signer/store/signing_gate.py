"""What every signature and every package asks of the key store, by the standard library's sqlite3 alone.

SQLAlchemy costs more to import than a whole package takes to build (docs/adr/0021), so this reads and writes the same
file without it. It does two things and no more: it decides whether a key may sign now, and it claims content keys.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import msgspec

from pki.errors import PolicyViolation
from pki.key_specs import KEY_SPECS, KeyUsage
from pki.key_states import KeyState, may_sign
from pki.roles import Role
from pki.values import PublicKey
from signer.store.errors import KeyStoreDamaged
from signer.store.sqlite_file import connect, explained
from signer.store.stored_times import text_to_time, time_to_text

FINGERPRINT_SIZE_BYTES = 32

_NEWEST_STATE = """
    SELECT k.cka_id, k.label, k.role, k.product, k.spki, k.not_before, k.not_after, t.serial, t.label,
        s.to_state, s.changed_at
    FROM keys AS k JOIN tokens AS t ON t.id = k.token_id JOIN key_state_changes AS s ON s.cka_id = k.cka_id
    WHERE {column} = ? ORDER BY s.sequence DESC LIMIT 1
"""
_BY_CKA_ID = _NEWEST_STATE.format(column="k.cka_id")
_BY_LABEL = _NEWEST_STATE.format(column="k.label")
# A row of origin `generated` says that the key's first token has it no more.
_COPIES = """
    SELECT c.origin, t.serial, t.label FROM key_copies AS c JOIN tokens AS t ON t.id = c.token_id
    WHERE c.cka_id = ? AND (c.ended_at IS NULL OR c.origin = 'generated') ORDER BY c.id
"""
_NO_TOKEN = ("", "")


class SigningPermit(msgspec.Struct, frozen=True):
    """The key that may sign, as the store knows it: which tokens it is on and which public key it has.

    `token_serial` and `token_label` name its first token, or its first current copy's when that has it no more; they
    are empty when no token has it. `other_tokens` are (serial, label) of the remaining current copies.
    """

    cka_id: bytes
    label: str
    public_key: PublicKey
    token_serial: str
    token_label: str
    other_tokens: tuple[tuple[str, str], ...] = ()

    @property
    def tokens(self) -> tuple[tuple[str, str], ...]:
        """Serial and label of every token on which it may sign."""
        first = (self.token_serial, self.token_label)
        return self.other_tokens if first == _NO_TOKEN else (first, *self.other_tokens)

    def require_token(self, serial: str, label: str) -> None:
        """Raise PolicyViolation KS-26 unless the key is recorded on the token that was opened."""
        if (serial, label) not in self.tokens:
            recorded = ", ".join(f"{one[0]} ({one[1]!r})" for one in self.tokens) or "none"
            raise PolicyViolation(
                "KS-26",
                f"key {self.label} is recorded on token {recorded}, and not on {serial} ({label!r}), which was opened; "
                "correct the token's name",
            )

    def require_public_key(self, public_key: PublicKey) -> None:
        """Raise PolicyViolation KS-25 unless the key found on the token is the recorded one."""
        if public_key != self.public_key:
            raise PolicyViolation(
                "KS-25",
                f"key {self.label} on the token has another public key than the key store; "
                "do not use the token, and run `strongroom key audit`",
            )


class GateRecord(msgspec.Struct, frozen=True):
    """What the store knows of a key and its newest state. `permit` is None for a secret key."""

    permit: SigningPermit | None
    cka_id: bytes
    tokens: tuple[tuple[str, str], ...]
    label: str
    role: Role
    product: str | None
    state: KeyState
    state_since: datetime
    not_before: datetime | None
    not_after: datetime | None


def require_may_sign(path: Path, key: bytes | str, role: Role, product: str | None, now: datetime) -> SigningPermit:
    """Raise PolicyViolation unless the key of this CKA_ID (bytes) or label (str) may sign at `now` for this role.

    Rules KS-02 to KS-05 of pki.key_states and KS-20 to KS-24 of docs/spec/key-store.md. `product` None is for work that
    concerns no product. Raises KeyStoreError when the store at `path` cannot be read.
    """
    record = read_gate_record(path, key)
    if record is None:
        name = repr(key) if isinstance(key, str) else f"with id {key.hex()}"
        raise PolicyViolation("KS-20", f"no key {name} is recorded in the key store; check the name, or register it")
    if record.role is not role:
        raise PolicyViolation("KS-21", f"key {record.label} has the role {record.role}, and {role} is needed")
    if record.product is not None and record.product != product:
        raise PolicyViolation(
            "KS-22", f"key {record.label} is for product {record.product}, not for {product or 'none'}"
        )
    if record.permit is None or KeyUsage.SIGN not in KEY_SPECS[role].usages:
        raise PolicyViolation("KS-23", f"keys of role {role} do not sign")
    if now < record.state_since:
        raise PolicyViolation(
            "KS-24",
            f"it is {now.isoformat()}, but key {record.label} became {record.state} at "
            f"{record.state_since.isoformat()}; the clock of this machine is wrong",
        )
    decision = may_sign(record.state, record.not_before, record.not_after, now)
    if not decision.allowed:
        raise PolicyViolation(decision.rule_id, f"key {record.label}: {decision.reason}")
    return record.permit


def read_gate_record(path: Path, key: bytes | str) -> GateRecord | None:
    """The record of the key with this CKA_ID (bytes) or label (str), None if there is none. Raises KeyStoreError."""
    connection = connect(path)
    try:
        with explained(path, "read"):
            row = connection.execute(_BY_LABEL if isinstance(key, str) else _BY_CKA_ID, (key,)).fetchone()
            copies = [] if row is None else connection.execute(_COPIES, (row[0],)).fetchall()
    finally:
        connection.close()
    if row is None:
        return None
    try:
        return _record_of(row, copies)
    except ValueError as error:
        raise KeyStoreDamaged(f"key store {path}: the record of a key is damaged ({error}); restore a backup") from None


def _record_of(
    row: tuple[bytes, str, str, str | None, bytes | None, str | None, str | None, str, str, str, str],
    copies: list[tuple[str, str, str]],
) -> GateRecord:
    """Take a row apart; ValueError for anything that the key store does not write."""
    cka_id, label, role, product, spki, not_before, not_after, token_serial, token_label, state, changed_at = row
    permit = None
    tokens = _tokens_of((token_serial, token_label), copies)
    if spki is not None:
        public_key = PublicKey.from_spki(spki)
        if public_key.cka_id != cka_id:
            raise ValueError("its CKA_ID is not the one derived from its public key")
        first, *others = tokens
        permit = SigningPermit(cka_id, label, public_key, *first, tuple(others))
    return GateRecord(
        permit=permit,
        cka_id=cka_id,
        tokens=tuple(tokens),
        label=label,
        role=Role(role),
        product=product,
        state=KeyState(state),
        state_since=text_to_time(changed_at),
        not_before=None if not_before is None else text_to_time(not_before),
        not_after=None if not_after is None else text_to_time(not_after),
    )


def _tokens_of(home: tuple[str, str], copies: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """The tokens that have the key, its home first; a name of none when there is none."""
    left_home = any(origin == "generated" for origin, *_ in copies)
    current = [(serial, label) for origin, serial, label in copies if origin != "generated"]
    return (current if left_home else [home, *current]) or [_NO_TOKEN]


class ContentKeyLedger:
    """Remembers every content key that has encrypted something, by fingerprint, for ever."""

    __slots__ = ("_now", "_path")

    def __init__(self, path: Path, now: datetime) -> None:
        """The ledger in the key store at `path`; `now` is the time that claims are recorded under."""
        self._path = path
        self._now = time_to_text(now)

    def claim(self, fingerprint: bytes) -> None:
        """Record a content key as used; when this returns, the claim survives a power cut. Call it before encrypting.

        `fingerprint` is the 32-byte one-way fingerprint, not the key. Raises PolicyViolation CEK-REUSE when it was
        claimed before, by whatever process, and KeyStoreError when it cannot be recorded.
        """
        if len(fingerprint) != FINGERPRINT_SIZE_BYTES:
            raise ValueError(f"a content key's fingerprint has {FINGERPRINT_SIZE_BYTES} bytes, not {len(fingerprint)}")
        connection = connect(self._path)
        try:
            with explained(self._path, "write to"):
                _insert(connection, fingerprint, self._now)
        finally:
            connection.close()


def _insert(connection: sqlite3.Connection, fingerprint: bytes, now: str) -> None:
    """In autocommit mode the one statement is the transaction, committed and synced when it returns."""
    try:
        connection.execute("INSERT INTO content_keys_used (fingerprint, claimed_at) VALUES (?, ?)", (fingerprint, now))
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
            raise
        raise PolicyViolation(
            "CEK-REUSE",
            "this content key has encrypted a package before; nothing was encrypted. "
            "The random generator repeats itself: stop using it and have it examined",
        ) from None
