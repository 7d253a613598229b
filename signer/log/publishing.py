"""What a checkpoint publishes: tiles from the index, and the checkpoint's files. Called under the log's lock."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pki.errors import AuditError
from signer.log import index_file
from signer.log.checkpoint import Checkpoint
from signer.log.files import replace_file
from signer.log.signed_by import read_checkpoint
from signer.log.tiles import TILE_WIDTH, TileWriter

CHECKPOINT_FILE = "checkpoint"
WITNESSED_FILE = "witnessed"


def at_right_edge(folder: Path, connection: sqlite3.Connection, last: Checkpoint | None) -> TileWriter:
    """Where the tiles end, if they lead to the root of the last checkpoint. Raises AuditError."""
    size = 0 if last is None else last.head.size
    tail = list(index_file.entries(connection, size - size % TILE_WIDTH, size))
    writer = TileWriter(folder, size, tail)
    if last is not None and writer.root != last.head.root:
        raise AuditError(
            f"the tiles of the audit log {folder} do not lead to the root of its checkpoint; "
            "`strongroom audit verify` says where, `strongroom audit rebuild` makes them again from the index"
        )
    return writer


def write_tiles(folder: Path, connection: sqlite3.Connection, last: Checkpoint | None, size: int) -> TileWriter:
    """Grow the tiles from the last checkpoint's size to `size`, durably. Raises AuditError."""
    writer = at_right_edge(folder, connection, last)
    try:
        for entry in index_file.entries(connection, 0 if last is None else last.head.size, size):
            writer.add(entry)
        writer.finish()
    except OSError as error:
        raise AuditError(
            f"the tiles of the audit log {folder} cannot be written ({error.strerror}); nothing was released"
        ) from None
    return writer


def publish(folder: Path, checkpoint: Checkpoint) -> None:
    """Put the newest checkpoint in its place. Raises AuditError."""
    _replace(folder / CHECKPOINT_FILE, checkpoint.note)


def publish_witnessed(folder: Path, checkpoint: Checkpoint) -> None:
    """Put a cosigned checkpoint in its place, unless a newer one is there. Raises AuditError."""
    shown = read_checkpoint(folder / WITNESSED_FILE)
    if shown is None or shown.head.size <= checkpoint.head.size:
        _replace(folder / WITNESSED_FILE, checkpoint.note)


def unfinished_files(folder: Path) -> list[Path]:
    """What a kill left of a tile or a checkpoint being written; whoever holds the log's lock may remove it."""
    return sorted(folder.glob(".*.part"))


def _replace(path: Path, note: bytes) -> None:
    try:
        replace_file(path, note)
    except OSError as error:
        raise AuditError(f"{path} cannot be written ({error.strerror}); nothing was released") from None
