"""The revisions of the registry's schema, known without Alembic."""

from __future__ import annotations

APPLICATION_ID = 0x5352_5247
"""`SRRG`, the application_id in the header of a SQLite file (SQLite file format, section 1.3.17)."""

KNOWN_REVISIONS = ("registry_0001",)
"""Every revision, oldest first. The prefix tells our `alembic_version` from another program's in the same database."""

CURRENT_REVISION = KNOWN_REVISIONS[-1]
"""The only revision this program reads and writes."""
