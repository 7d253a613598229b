"""Beginning a log, and mending one: what a lost index or damaged tiles are made again from.

Nothing is believed that does not lead to the root of a checkpoint which the log's key signed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from pki.errors import AuditError, FormatError, OutputError, PolicyViolation, SignatureInvalid
from pki.values import PublicKey
from signer.durable import sync_folder
from signer.log import index_file
from signer.log.audit_log import TileLog
from signer.log.checkpoint import Checkpoint, log_key_id, parse_checkpoint, verify_log_signature
from signer.log.entry import decode_entry, indexed_values, time_text
from signer.log.files import replace_file
from signer.log.merkle import Frontier
from signer.log.publishing import CHECKPOINT_FILE
from signer.log.signed_by import read_checkpoint
from signer.log.tiles import TILE_WIDTH, TileWriter, read_bundle
from signer.log.values import Event, EventKind
from signer.signing_key import SigningKey

KEY_FILE = "log.pub.pem"
ORIGIN_PREFIX = "strongroom-log/"


def origin_of(first_key: PublicKey) -> str:
    """The origin of a log that begins with this key."""
    return ORIGIN_PREFIX + first_key.spki_sha256[:8].hex()


def begin_log(folder: Path, key: SigningKey, actor: str, now: datetime) -> None:
    """Make a log with its first entry and checkpoint in a new folder: whole, or not at all.

    Raises OutputError if the folder exists or cannot be written, AuditError, TokenError.
    """
    if os.path.lexists(folder):
        raise OutputError(f"{folder} exists already; a log is begun once")
    work = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    origin = origin_of(key.public_key)
    try:
        work.mkdir(parents=True)
        try:
            index_file.create_index(work / index_file.INDEX_FILE, origin)
            replace_file(work / KEY_FILE, public_key_pem(key.public_key))
            with TileLog(work, key) as log:
                details = {"log_key_id": log_key_id(key.public_key).hex(), "origin": origin}
                log.append([Event(kind=EventKind.LOG_BEGUN, actor=actor, details=details)], now)
                log.checkpoint()
            work.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); nothing was left behind") from None


def public_key_pem(key: PublicKey) -> bytes:
    """The PEM file of a public key (RFC 7468)."""
    import base64
    import textwrap

    lines = textwrap.wrap(base64.b64encode(key.spki).decode(), 64)
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()


def rebuild(folder: Path, key: PublicKey) -> str:
    """Make again what is damaged: the tiles from the index, or else the index from the tiles. Says what was done.

    Raises AuditError if neither leads to the root of the newest checkpoint that the log's key signed.
    """
    from_index = _signed_checkpoint_of_index(folder, key)
    shown = _checkpoint_file(folder, key)
    if from_index is not None and (shown is None or shown.head.size <= from_index.head.size):
        _tiles_from_index(folder, from_index)
        return f"tiles of {from_index.head.size} entries were made again from the index"
    if shown is None:
        raise AuditError(f"{folder} has neither an index nor a checkpoint of its key that is whole; restore a backup")
    _index_from_tiles(folder, shown)
    return f"the index of {shown.head.size} entries was made again from the tiles; later entries are lost"


def compare_index(folder: Path, size: int) -> int:
    """Compare the index with the bundles of the first `size` entries; how many more entries the index has.

    Raises AuditError at the first difference.
    """
    with closing(index_file.connect(folder / index_file.INDEX_FILE)) as connection:
        for first in range(0, size, TILE_WIDTH):
            stop = min(first + TILE_WIDTH, size)
            bundle = read_bundle(folder, first // TILE_WIDTH, stop - first)
            for number, (here, there) in enumerate(
                zip(index_file.entries(connection, first, stop), bundle, strict=True), first
            ):
                if here != there:
                    raise AuditError(
                        f"entry {number} in the index of {folder} is not the one in the tree: the index was changed; "
                        "`strongroom audit rebuild` or restore a backup"
                    )
        return index_file.newest(connection)[0] - size


def _signed_checkpoint_of_index(folder: Path, key: PublicKey) -> Checkpoint | None:
    try:
        with closing(index_file.connect(folder / index_file.INDEX_FILE)) as connection:
            note = index_file.newest_checkpoint(connection)
            if note is None or connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return None
        return _verified(parse_checkpoint(note), key)
    except (AuditError, FormatError, sqlite3.Error):
        return None


def _checkpoint_file(folder: Path, key: PublicKey) -> Checkpoint | None:
    try:
        shown = read_checkpoint(folder / CHECKPOINT_FILE)
    except AuditError:
        return None
    return None if shown is None else _verified(shown, key)


def _verified(checkpoint: Checkpoint, key: PublicKey) -> Checkpoint:
    try:
        verify_log_signature(checkpoint, key)
    except SignatureInvalid as error:
        raise PolicyViolation("AL-05", f"{error}; correct `label` in [log] of strongroom.toml") from None
    return checkpoint


def _tiles_from_index(folder: Path, checkpoint: Checkpoint) -> None:
    """Beside the old tiles first: they are only replaced by ones that lead to the root."""
    work = folder / ".rebuilt"
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir()
        writer = TileWriter(work, 0, [])
        with closing(index_file.connect(folder / index_file.INDEX_FILE)) as connection:
            for entry in index_file.entries(connection, 0, checkpoint.head.size):
                writer.add(entry)
        writer.finish()
        if writer.root != checkpoint.head.root:
            raise AuditError(f"the index of {folder} does not lead to the root of its checkpoint; restore a backup")
        shutil.rmtree(folder / "tile", ignore_errors=True)
        (work / "tile").rename(folder / "tile")
        replace_file(folder / CHECKPOINT_FILE, checkpoint.note)
    except OSError as error:
        raise AuditError(f"{folder} cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _index_from_tiles(folder: Path, checkpoint: Checkpoint) -> None:
    path = folder / index_file.INDEX_FILE
    fresh = path.with_name(".rebuilt.sqlite")
    fresh.unlink(missing_ok=True)
    index_file.create_index(fresh, checkpoint.head.origin)
    try:
        with closing(index_file.connect(fresh)) as connection, index_file.explained(fresh, "write to"):
            connection.execute("BEGIN IMMEDIATE")
            root = _fill(connection, folder, checkpoint.head.size)
            if root != checkpoint.head.root:
                raise AuditError(f"the entries of {folder} do not lead to the root of its checkpoint; restore a backup")
            index_file.put_checkpoint(connection, checkpoint.head.size, checkpoint.note)
            connection.execute("COMMIT")
        # The journal goes first: it must never stand beside the new file, to which SQLite would apply it.
        for leftover in (path.with_name(f"{path.name}-journal"), path):
            if leftover.exists():
                leftover.rename(leftover.with_name(f"{leftover.name}.before-rebuild"))
                sync_folder(folder)
        fresh.rename(path)
        sync_folder(folder)
    except (OSError, FormatError) as error:
        raise AuditError(f"the index of {folder} cannot be made again: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)


def _fill(connection: sqlite3.Connection, folder: Path, size: int) -> bytes:
    """Insert the entries of all bundles; the root that they lead to."""
    tree = Frontier()
    for number in range(-(-size // TILE_WIDTH)):
        rows, names = [], []
        for entry in read_bundle(folder, number, min(TILE_WIDTH, size - number * TILE_WIDTH)):
            logged = decode_entry(tree.size, entry)
            event = logged.event
            rows.append((logged.index, time_text(logged.at), entry))
            names += [(name, value, logged.index) for name, value in indexed_values(event)]
            tree.add(logged.leaf_hash)
        index_file.insert(connection, rows, names)
    return tree.root
