"""Tokens, keys, their states and certificates."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def _time(column: str) -> str:
    """A check that a column is NULL or has the form of a time in stored_times.py."""
    return f"CHECK ({column} GLOB '????-??-??T??:??:??.??????Z')"


_TABLES = (
    """
    CREATE TABLE tokens (
        id INTEGER NOT NULL PRIMARY KEY,
        serial TEXT NOT NULL CHECK (length(serial) BETWEEN 1 AND 64),
        label TEXT NOT NULL CHECK (length(label) <= 64),
        module_path TEXT NOT NULL CHECK (length(module_path) BETWEEN 1 AND 4096),
        UNIQUE (serial, label)
    ) STRICT
    """,
    f"""
    CREATE TABLE keys (
        cka_id BLOB NOT NULL PRIMARY KEY CHECK (length(cka_id) = 20),
        label TEXT NOT NULL UNIQUE CHECK (length(label) BETWEEN 1 AND 61),
        role TEXT NOT NULL CHECK (length(role) BETWEEN 1 AND 32),
        product TEXT CHECK (length(product) BETWEEN 1 AND 32),
        algorithm TEXT NOT NULL CHECK (algorithm IN ('ec-p256', 'aes-256')),
        spki BLOB UNIQUE CHECK (length(spki) = 91),
        token_id INTEGER NOT NULL REFERENCES tokens (id),
        created_at TEXT NOT NULL {_time("created_at")},
        not_before TEXT {_time("not_before")},
        not_after TEXT {_time("not_after")},
        CHECK ((algorithm = 'ec-p256') = (spki IS NOT NULL)),
        CHECK ((not_before IS NULL) = (not_after IS NULL)),
        CHECK (not_before IS NULL OR not_before < not_after)
    ) STRICT
    """,
    # The state of a key is its newest entry here; it is written nowhere else. Transitions: SP 800-57 Part 1 Rev 5, 7.
    f"""
    CREATE TABLE key_state_changes (
        cka_id BLOB NOT NULL REFERENCES keys (cka_id),
        sequence INTEGER NOT NULL CHECK (sequence >= 1),
        from_state TEXT,
        to_state TEXT NOT NULL,
        changed_at TEXT NOT NULL {_time("changed_at")},
        changed_by TEXT NOT NULL CHECK (length(changed_by) BETWEEN 1 AND 128),
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 512),
        PRIMARY KEY (cka_id, sequence),
        CHECK ((sequence = 1) = (from_state IS NULL)),
        CHECK (coalesce(from_state, 'none') || ' > ' || to_state IN (
            'none > pre-activation',
            'pre-activation > active', 'pre-activation > compromised', 'pre-activation > destroyed',
            'active > suspended', 'active > deactivated', 'active > compromised', 'active > destroyed',
            'suspended > active', 'suspended > deactivated', 'suspended > compromised', 'suspended > destroyed',
            'deactivated > compromised', 'deactivated > destroyed',
            'compromised > destroyed'))
    ) STRICT, WITHOUT ROWID
    """,
    f"""
    CREATE TABLE certificates (
        sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
        cka_id BLOB NOT NULL REFERENCES keys (cka_id),
        der BLOB NOT NULL CHECK (length(der) BETWEEN 1 AND 16384),
        serial_number TEXT NOT NULL CHECK (length(serial_number) BETWEEN 1 AND 40),
        subject TEXT NOT NULL CHECK (length(subject) <= 2048),
        issuer TEXT NOT NULL CHECK (length(issuer) <= 2048),
        not_before TEXT NOT NULL {_time("not_before")},
        not_after TEXT NOT NULL {_time("not_after")},
        added_at TEXT NOT NULL {_time("added_at")},
        added_by TEXT NOT NULL CHECK (length(added_by) BETWEEN 1 AND 128),
        reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 512),
        ended_at TEXT {_time("ended_at")}
    ) STRICT
    """,
    "CREATE INDEX certificates_of_key ON certificates (cka_id)",
    "CREATE UNIQUE INDEX one_current_certificate ON certificates (cka_id) WHERE ended_at IS NULL",
)

_TRIGGERS = (
    """
    CREATE TRIGGER keys_stay BEFORE DELETE ON keys
    BEGIN SELECT raise(ABORT, 'a key is never taken out of the store'); END
    """,
    """
    CREATE TRIGGER keys_are_fixed BEFORE UPDATE ON keys
    WHEN OLD.not_before IS NOT NULL
        OR (OLD.cka_id, OLD.label, OLD.role, OLD.product, OLD.algorithm, OLD.spki, OLD.token_id, OLD.created_at)
            IS NOT
            (NEW.cka_id, NEW.label, NEW.role, NEW.product, NEW.algorithm, NEW.spki, NEW.token_id, NEW.created_at)
    BEGIN SELECT raise(ABORT, 'only the time window of a key is set later, and only once'); END
    """,
    """
    CREATE TRIGGER key_state_changes_stay BEFORE DELETE ON key_state_changes
    BEGIN SELECT raise(ABORT, 'the history of a key is append-only'); END
    """,
    """
    CREATE TRIGGER key_state_changes_are_fixed BEFORE UPDATE ON key_state_changes
    BEGIN SELECT raise(ABORT, 'the history of a key is append-only'); END
    """,
    """
    CREATE TRIGGER key_state_changes_follow BEFORE INSERT ON key_state_changes
    WHEN NEW.sequence <> 1 + (SELECT count(*) FROM key_state_changes WHERE cka_id = NEW.cka_id)
        OR EXISTS (
            SELECT 1 FROM key_state_changes
            WHERE cka_id = NEW.cka_id AND sequence = NEW.sequence - 1
                AND (to_state IS NOT NEW.from_state OR changed_at > NEW.changed_at))
    BEGIN SELECT raise(ABORT, 'a state change follows from the newest one, and is not dated before it'); END
    """,
    """
    CREATE TRIGGER certificates_stay BEFORE DELETE ON certificates
    BEGIN SELECT raise(ABORT, 'a certificate is never taken out of the store'); END
    """,
    """
    CREATE TRIGGER certificates_are_fixed BEFORE UPDATE ON certificates
    WHEN OLD.ended_at IS NOT NULL
        OR (OLD.sha256, OLD.cka_id, OLD.der, OLD.serial_number, OLD.subject, OLD.issuer, OLD.not_before,
            OLD.not_after, OLD.added_at, OLD.added_by, OLD.reason)
            IS NOT
            (NEW.sha256, NEW.cka_id, NEW.der, NEW.serial_number, NEW.subject, NEW.issuer, NEW.not_before,
            NEW.not_after, NEW.added_at, NEW.added_by, NEW.reason)
    BEGIN SELECT raise(ABORT, 'a certificate can only be ended, and only once'); END
    """,
)


def upgrade() -> None:
    """Make the tables, then the triggers that keep what is written."""
    for statement in _TABLES + _TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    """Refused: nothing is before the first revision."""
    raise NotImplementedError("key stores are not downgraded")
