"""Backup and restore of audit log and key store together, as one pair of one moment (docs/spec/audit-log.md, 7).

BACKUP/backup.json   what it is: origin, size and root, and SHA-256 of the two databases
BACKUP/log/          the log
BACKUP/keys.sqlite   the key store
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pki.errors import AuditError, FormatError, InputRefused, OutputError, PolicyViolation
from signer.durable import sync_folder
from signer.log import index_file
from signer.log.audit_log import TileLog
from signer.log.beginnings import is_beginning
from signer.log.checkpoint import Checkpoint, TreeHead, parse_checkpoint
from signer.log.entry import time_text
from signer.log.files import replace_file
from signer.log.publishing import CHECKPOINT_FILE, WITNESSED_FILE
from signer.log.recovery import KEY_FILE
from signer.log.signed_by import read_checkpoint

BACKUP_FORMAT = "strongroom-backup-1"
_DESCRIPTION = "backup.json"
_LOG = "log"
_KEY_STORE = "keys.sqlite"
_DESCRIPTION_SIZE_BYTES_MAX = 64 * 1024
_KEPT_MAX = 100


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was read: where it is, and the checkpoint up to which its log goes."""

    folder: Path
    head: TreeHead

    @property
    def log(self) -> Path:
        """The log's copy."""
        return self.folder / _LOG

    @property
    def key_store(self) -> Path:
        """The key store's copy."""
        return self.folder / _KEY_STORE


def back_up(log: TileLog, key_store: Path, out: Path, now: datetime) -> TreeHead:
    """Copy both into the new folder `out`, durably, whole or not at all; the tree head that the copy goes up to.

    Nobody writes to the log meanwhile, so no key changes: a change is logged before it is made. Raises OutputError,
    AuditError, KeyStoreError, TokenError.
    """
    from signer.store.maintenance import backup_key_store

    if os.path.lexists(out):
        raise OutputError(f"{out} exists already; choose a new folder")
    work = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        (work / _LOG).mkdir(parents=True)
        work.chmod(0o700)
        with log.held_at_checkpoint() as (checkpoint, _):
            _copy_log(log.folder, work / _LOG)
            backup_key_store(key_store, work / _KEY_STORE)
        _describe(work, checkpoint.head, now)
        _sync_all(work)
        work.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); nothing was left behind") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return checkpoint.head


def _copy_log(folder: Path, out: Path) -> None:
    # Read by a connection of its own: SQLite copies from none that holds a writing transaction, it waits for ever.
    source = f"{(folder / index_file.INDEX_FILE).absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(source, uri=True, isolation_level=None)) as reading,
        closing(sqlite3.connect(out / index_file.INDEX_FILE, isolation_level=None)) as copy,
    ):
        reading.backup(copy)
    (out / index_file.INDEX_FILE).chmod(0o600)
    shutil.copytree(folder / "tile", out / "tile")
    for name in (CHECKPOINT_FILE, WITNESSED_FILE, KEY_FILE):
        if (folder / name).exists():
            shutil.copy(folder / name, out / name)


def _describe(work: Path, head: TreeHead, now: datetime) -> None:
    names = (_KEY_STORE, f"{_LOG}/{index_file.INDEX_FILE}")
    description = {
        "format": BACKUP_FORMAT,
        "taken_at": time_text(now),
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "sha256": {name: _sha256_of(work / name) for name in names},
    }
    replace_file(work / _DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_all(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    sync_folder(folder)


def read_backup(folder: Path) -> Backup:
    """Check that the backup is whole, key store included. The log's tiles are the verifier's to check.

    Raises InputRefused, KeyStoreError.
    """
    from signer.store.maintenance import check_key_store

    path = folder / _DESCRIPTION
    try:
        with path.open("rb") as stream:
            described: dict[str, Any] = json.loads(stream.read(_DESCRIPTION_SIZE_BYTES_MAX))
        head = TreeHead(str(described["origin"]), int(described["size"]), bytes.fromhex(described["root"]))
        if described["format"] != BACKUP_FORMAT or parse_checkpoint_file(folder / _LOG).head != head:
            raise ValueError("its checkpoint is another one")
        for name in (_KEY_STORE, f"{_LOG}/{index_file.INDEX_FILE}"):
            if _sha256_of(folder / name) != described["sha256"][name]:
                raise ValueError(f"{name} was changed")
    except OSError as error:
        raise InputRefused(f"backup {folder}: {error.filename} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, FormatError, AuditError) as error:
        raise InputRefused(f"backup {folder} is not whole: {error}; take another one") from None
    check_key_store(folder / _KEY_STORE)
    return Backup(folder, head)


def parse_checkpoint_file(folder: Path) -> Checkpoint:
    """The checkpoint in a log's folder. Raises FormatError, OSError."""
    return parse_checkpoint((folder / CHECKPOINT_FILE).read_bytes())


def refuse_rollback(backup: Backup, present: Path, seen: list[Checkpoint]) -> None:
    """Raise PolicyViolation AL-03 if the backup's log does not continue the log in `present` and all of `seen`.

    `seen` are checkpoints that witnesses keep. Of a present log that is damaged, what can be read counts.
    """
    known = list(seen)
    for name in (CHECKPOINT_FILE, WITNESSED_FILE):
        try:
            shown = read_checkpoint(present / name)
        except AuditError:
            continue
        known += [] if shown is None else [shown]
    for checkpoint in known:
        _require_beginning(backup, checkpoint.head)
    entry_count = _entry_count(present)
    if entry_count > backup.head.size:
        raise PolicyViolation(
            "AL-03",
            f"the log that is there has {entry_count} entries, the backup {backup.head.size}: restoring would undo "
            "what was logged since; `strongroom audit rebuild` mends a damaged log",
        )


def _require_beginning(backup: Backup, head: TreeHead) -> None:
    if head.origin != backup.head.origin:
        raise PolicyViolation("AL-03", f"the backup is of log {backup.head.origin}, and this is {head.origin}")
    if head.size > backup.head.size:
        raise PolicyViolation(
            "AL-03",
            f"the backup ends at entry {backup.head.size}, and {head.size} entries were seen already: it is too old; "
            "nothing was restored",
        )
    if not is_beginning(backup.log, head, backup.head):
        raise PolicyViolation(
            "AL-03", f"the first {head.size} entries of the backup are not those that were seen: nothing was restored"
        )


def require_beginning_of_present(backup: Backup, present: Path) -> None:
    """For a key store that is put back alone: raise AL-03 unless the log in `present` continues the backup's."""
    shown = read_checkpoint(present / CHECKPOINT_FILE)
    if shown is None or not is_beginning(present, backup.head, shown.head):
        raise PolicyViolation(
            "AL-03",
            f"the log in {present} does not continue the backup's: the key store of another history is not put back",
        )


def _entry_count(folder: Path) -> int:
    try:
        with closing(index_file.connect(folder / index_file.INDEX_FILE)) as connection:
            return index_file.newest(connection)[0]
    except (AuditError, sqlite3.Error):
        return 0


def put_in_place(source: Path, target: Path) -> Path | None:
    """Copy a file or folder of a backup to `target`, durably; what was there is kept beside it: where, if anything.

    Raises OutputError. Interrupted, the target is the old one, or absent, or the new one; the same again ends it.
    """
    work = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, work)
            _sync_all(work)
        else:
            shutil.copy(source, work)
            with work.open("rb") as stream:
                os.fsync(stream.fileno())
        kept = _keep(target)
        work.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror})") from None
    finally:
        if work.is_dir():
            shutil.rmtree(work, ignore_errors=True)
        else:
            work.unlink(missing_ok=True)
    return kept


def _keep(target: Path) -> Path | None:
    """Move what is there aside, and with a database its journal first: it must never stand beside another file."""
    journal = target.with_name(f"{target.name}-journal")
    if not os.path.lexists(target) and not journal.exists():
        return None
    for number in range(1, _KEPT_MAX):
        kept = target.with_name(f"{target.name}.before-restore-{number}")
        if not os.path.lexists(kept):
            break
    else:
        raise OutputError(f"{target.parent} has {_KEPT_MAX} files kept from restores; remove some")
    if journal.exists():
        journal.rename(kept.with_name(f"{kept.name}-journal"))
        sync_folder(target.parent)
    if os.path.lexists(target):
        target.rename(kept)
    return kept
