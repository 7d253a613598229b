"""Backups of keys, and copies of keys on further tokens."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

_TIME = "GLOB '????-??-??T??:??:??.??????Z'"

# Made, and perhaps ended: when, by whom, why.
_SPAN = f"""
        made_at TEXT NOT NULL CHECK (made_at {_TIME}),
        made_by TEXT NOT NULL CHECK (length(made_by) BETWEEN 1 AND 128),
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 512),
        ended_at TEXT CHECK (ended_at {_TIME}),
        ended_by TEXT CHECK (length(ended_by) BETWEEN 1 AND 128),
        end_reason TEXT CHECK (length(end_reason) BETWEEN 1 AND 512),
        CHECK ((ended_at IS NULL) = (ended_by IS NULL) AND (ended_at IS NULL) = (end_reason IS NULL)),
        CHECK (ended_at IS NULL OR made_at <= ended_at)
"""

_TABLES = (
    f"""
    CREATE TABLE key_backups (
        digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
        cka_id BLOB NOT NULL REFERENCES keys (cka_id),
        method TEXT NOT NULL CHECK (method = 'slip39-kek'),
        kek_kcv BLOB NOT NULL CHECK (length(kek_kcv) = 5),
        ceremony_digest BLOB CHECK (length(ceremony_digest) = 32),
        {_SPAN}
    ) STRICT
    """,
    "CREATE INDEX backups_of_key ON key_backups (cka_id)",
    # A row of origin `generated` is written when nothing is on the key's first token any more, and says so.
    f"""
    CREATE TABLE key_copies (
        id INTEGER NOT NULL PRIMARY KEY,
        cka_id BLOB NOT NULL REFERENCES keys (cka_id),
        token_id INTEGER NOT NULL REFERENCES tokens (id),
        origin TEXT NOT NULL CHECK (origin IN ('generated', 'transferred', 'restored')),
        {_SPAN},
        CHECK (origin <> 'generated' OR ended_at IS NOT NULL)
    ) STRICT
    """,
    "CREATE INDEX copies_of_key ON key_copies (cka_id)",
    "CREATE UNIQUE INDEX one_current_copy ON key_copies (cka_id, token_id) WHERE ended_at IS NULL",
    "CREATE UNIQUE INDEX one_end_of_home ON key_copies (cka_id) WHERE origin = 'generated'",
)

_TRIGGERS = (
    """
    CREATE TRIGGER key_backups_are_made_with_the_key BEFORE INSERT ON key_backups
    WHEN NEW.made_at IS NOT (SELECT created_at FROM keys WHERE cka_id = NEW.cka_id)
    BEGIN SELECT raise(ABORT, 'a backup is made when its key is generated, and never later'); END
    """,
    """
    CREATE TRIGGER key_copies_have_their_origin BEFORE INSERT ON key_copies
    WHEN NEW.origin <> 'restored' AND NEW.made_at IS NOT (SELECT created_at FROM keys WHERE cka_id = NEW.cka_id)
        OR NEW.origin = 'generated' AND NEW.token_id IS NOT (SELECT token_id FROM keys WHERE cka_id = NEW.cka_id)
        OR NEW.origin = 'transferred' AND NEW.token_id IS (SELECT token_id FROM keys WHERE cka_id = NEW.cka_id)
    BEGIN SELECT raise(ABORT, 'a key is generated on its first token, and transferred when it is generated'); END
    """,
    """
    CREATE TRIGGER key_backups_stay BEFORE DELETE ON key_backups
    BEGIN SELECT raise(ABORT, 'a backup is never taken out of the store'); END
    """,
    """
    CREATE TRIGGER key_backups_are_fixed BEFORE UPDATE ON key_backups
    WHEN OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL
        OR (OLD.digest, OLD.cka_id, OLD.method, OLD.kek_kcv, OLD.ceremony_digest, OLD.made_at, OLD.made_by, OLD.reason)
            IS NOT
            (NEW.digest, NEW.cka_id, NEW.method, NEW.kek_kcv, NEW.ceremony_digest, NEW.made_at, NEW.made_by, NEW.reason)
    BEGIN SELECT raise(ABORT, 'a backup can only be ended, and only once'); END
    """,
    """
    CREATE TRIGGER key_copies_stay BEFORE DELETE ON key_copies
    BEGIN SELECT raise(ABORT, 'a copy is never taken out of the store'); END
    """,
    """
    CREATE TRIGGER key_copies_are_fixed BEFORE UPDATE ON key_copies
    WHEN OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL
        OR (OLD.id, OLD.cka_id, OLD.token_id, OLD.origin, OLD.made_at, OLD.made_by, OLD.reason)
            IS NOT
            (NEW.id, NEW.cka_id, NEW.token_id, NEW.origin, NEW.made_at, NEW.made_by, NEW.reason)
    BEGIN SELECT raise(ABORT, 'a copy can only be ended, and only once'); END
    """,
)


def upgrade() -> None:
    """Make the tables, then the triggers that keep what is written."""
    for statement in _TABLES + _TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    """Refused: without these tables nobody would know where copies of a key are."""
    raise NotImplementedError("key stores are not downgraded")
