"""Reads a whole key store and says what contradicts itself: beyond what its constraints and triggers keep out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from pki.errors import ConfigurationError
from pki.key_specs import KEY_SPECS, parse_key_label
from pki.key_states import ALLOWED_TRANSITIONS, KeyState
from pki.roles import Role
from pki.values import PublicKey
from signer.store.stored_times import text_to_time

MAX_PROBLEMS = 100


def problems_in(connection: sqlite3.Connection) -> tuple[str, ...]:
    """At most MAX_PROBLEMS contradictions, one line each; none in a good store. Reads one consistent state."""
    found: list[str] = []
    connection.execute("BEGIN")
    try:
        for problem in _problems(connection):
            found.append(problem)
            if len(found) == MAX_PROBLEMS:
                break
    finally:
        connection.execute("ROLLBACK")
    return tuple(found)


def _problems(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})").fetchall()
    if rows != [("ok",)]:
        yield from (f"SQLite says {row[0]}" for row in rows)
        return
    for table, *_ in connection.execute("PRAGMA foreign_key_check"):
        yield f"a row of {table} refers to nothing"
    for row in connection.execute("SELECT cka_id, label, role, product, algorithm, spki FROM keys ORDER BY label"):
        yield from _key_problems(*row)
        yield from _history_problems(connection, row[0], row[1])
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'key_copies'").fetchone() is not None:
        yield from _custody_problems(connection)


def _key_problems(
    cka_id: bytes, label: str, role: str, product: str | None, algorithm: str, spki: bytes | None
) -> Iterator[str]:
    try:
        parts = parse_key_label(label)
    except ConfigurationError as error:
        yield str(error)
        return
    if (parts.role.value, parts.product) != (role, product):
        yield f"key {label} has role {role} and product {product}, unlike its label"
    if KEY_SPECS[parts.role].algorithm.value != algorithm:
        yield f"key {label} has algorithm {algorithm}, unlike its role"
    if spki is not None:
        try:
            expected = PublicKey.from_spki(spki).cka_id
        except ValueError as error:
            yield f"key {label}: {error}"
        else:
            if expected != cka_id:
                yield f"key {label}: its CKA_ID is not the one derived from its public key"


def _custody_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Copies and backups of keys that cannot have any; a restored copy of a key that never had a backup."""
    query = """
        SELECT k.label, k.role, count(DISTINCT b.digest), count(CASE c.origin WHEN 'restored' THEN 1 END)
        FROM keys AS k LEFT JOIN key_backups AS b ON b.cka_id = k.cka_id
            LEFT JOIN key_copies AS c ON c.cka_id = k.cka_id AND c.origin <> 'generated'
        WHERE b.digest IS NOT NULL OR c.id IS NOT NULL GROUP BY k.cka_id ORDER BY k.label
    """
    for label, role, backups, restored in connection.execute(query):
        if role in {item.value for item in KEY_SPECS} and not KEY_SPECS[Role(role)].backup_permitted:
            yield f"key {label} has a copy or a backup, and keys of role {role} have none"
        if restored and not backups:
            yield f"key {label} was restored, and never had a backup"


def _history_problems(connection: sqlite3.Connection, cka_id: bytes, label: str) -> Iterator[str]:
    query = (
        "SELECT sequence, from_state, to_state, changed_at FROM key_state_changes WHERE cka_id = ? ORDER BY sequence"
    )
    state: KeyState | None = None
    newest = ""
    count = 0
    for count, (sequence, from_state, to_state, changed_at) in enumerate(connection.execute(query, (cka_id,)), start=1):
        try:
            text_to_time(changed_at)
            following = KeyState(to_state)
        except ValueError as error:
            yield f"key {label}: state change {sequence}: {error}"
            return
        allowed = {KeyState.PRE_ACTIVATION} if state is None else ALLOWED_TRANSITIONS[state]
        if sequence != count or from_state != state or following not in allowed or changed_at < newest:
            yield f"key {label}: state change {sequence} to {to_state} does not follow from what is before it"
            return
        state, newest = following, changed_at
    if count == 0:
        yield f"key {label} has no state"
