"""The revisions of the schema, known without Alembic, so that the hot path can check them."""

from __future__ import annotations

APPLICATION_ID = 0x5352_4B53
"""`SRKS`, the application_id in the file's header (SQLite file format, section 1.3.17)."""

KNOWN_REVISIONS = ("0001", "0002", "0003")
"""Every revision, oldest first: the Alembic revisions of migrations/versions."""

CURRENT_REVISION = KNOWN_REVISIONS[-1]
"""The only revision this program reads and writes."""
