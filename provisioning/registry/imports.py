"""The registry's own list of what was taken, when, and by whom."""

from __future__ import annotations

from sqlalchemy import Connection

from provisioning.registry import tables
from provisioning.registry.rows import next_id


def record_import(connection: Connection, kind: str, sha256: bytes, now: str, who: str, added: int) -> None:
    """One line more; `added` counts what was new: records, devices of a batch, or 1."""
    row = {"id": next_id(connection, tables.imports), "kind": kind, "sha256": sha256.hex()}
    connection.execute(tables.imports.insert(), row | {"taken_at": now, "taken_by": who, "added": added})
