"""Durable changes to folders and text files: what these functions have done survives a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable (fsync on the directory). Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file that must not exist, and sync it; its folder is the caller's to sync. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def replace_text(path: Path, text: str) -> None:
    """Replace an existing file whole or not at all, with its permissions. Raises OSError; then nothing changed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write_new_text(temporary, text, path.stat().st_mode & 0o777)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
