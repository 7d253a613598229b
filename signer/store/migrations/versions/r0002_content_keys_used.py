"""The ledger of content keys that have encrypted a package."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_STATEMENTS = (
    """
    CREATE TABLE content_keys_used (
        fingerprint BLOB NOT NULL PRIMARY KEY CHECK (length(fingerprint) = 32),
        claimed_at TEXT NOT NULL CHECK (claimed_at GLOB '????-??-??T??:??:??.??????Z')
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TRIGGER content_keys_used_stay BEFORE DELETE ON content_keys_used
    BEGIN SELECT raise(ABORT, 'a content key is never forgotten'); END
    """,
    """
    CREATE TRIGGER content_keys_used_are_fixed BEFORE UPDATE ON content_keys_used
    BEGIN SELECT raise(ABORT, 'a content key is never forgotten'); END
    """,
)


def upgrade() -> None:
    """Make the ledger."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Refused: without the ledger a content key could be used again."""
    raise NotImplementedError("key stores are not downgraded")
