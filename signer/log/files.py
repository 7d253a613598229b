"""Small files of the log that are replaced whole: what these functions have done survives a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from signer.durable import sync_folder


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, or replace it whole or not at all. Raises OSError; then the old one stands.

    For files with one writer at a time: what a kill left of the last attempt is written over by the next.
    """
    temporary = path.with_name(f".{path.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
