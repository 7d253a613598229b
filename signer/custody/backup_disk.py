"""Backup files on disk: written whole or not at all, and removed when the key they hold was given up."""

from __future__ import annotations

import glob
from pathlib import Path

from pki.errors import FormatError, InputRefused, OutputError
from signer.custody.backup_file import BACKUP_SIZE_BYTES_MAX, BackupFile, decode_backup
from signer.durable import sync_folder
from signer.new_file import NewFile

_FILE_MODE = 0o600


def write_backup(path: Path, backup: BackupFile) -> None:
    """Durably, and never in place of another file. Raises OutputError."""
    with NewFile(path, _FILE_MODE) as out:
        out.write_at(0, backup.encode())
        out.publish()


def read_backup(path: Path) -> BackupFile | None:
    """The backup file at a path; None if there is none."""
    try:
        with path.open("rb") as file:
            return decode_backup(file.read(BACKUP_SIZE_BYTES_MAX + 1))
    except (OSError, FormatError):
        return None


def remove_backup(path: Path, label: str) -> None:
    """Remove the file that an interrupted run made at a path where there was none, and what it left of writing it.

    Raises InputRefused, OutputError.
    """
    backup = read_backup(path)
    if path.exists() and (backup is None or backup.label != label):
        raise InputRefused(f"{path} is not the backup of {label} that an interrupted run made; move it away first")
    try:
        for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            part.unlink()
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror}); remove it by hand") from None
