"""Handing files out: new ones only, whole and durable; one that is there already with this content is left alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pki.errors import OutputError
from signer.durable import sync_folder
from signer.new_file import NewFile
from signer.service.shelf import file_digest

_BLOCK_SIZE_BYTES = 1 << 20


def require_free(path: Path, digest: bytes) -> None:
    """Raise OutputError, before any work, if something other than the content of this SHA-256 stands at `path`."""
    if os.path.lexists(path):
        found = file_digest(path)
        if path.is_symlink() or found is None or found[0] != digest:
            raise OutputError(f"{path} exists already and is something else; remove it or choose another name")


def hand_out_copy(source: Path, digest: bytes, path: Path) -> None:
    """A copy of a file whose SHA-256 is known. Raises OutputError, also if the copy is not that file."""
    require_free(path, digest)
    if path.exists():
        return
    state = hashlib.sha256()
    with NewFile(path) as file:
        offset = 0
        try:
            with source.open("rb") as stream:
                while block := stream.read(_BLOCK_SIZE_BYTES):
                    state.update(block)
                    file.write_at(offset, block)
                    offset += len(block)
        except OSError as error:
            raise OutputError(f"{source}: cannot be read ({error.strerror})") from None
        if state.digest() != digest:
            raise OutputError(f"{source} changed while it was copied; nothing was handed out")
        file.publish()


def hand_out(content: bytes, path: Path) -> None:
    """A new file of this content, in a folder that is made if it is not there. Raises OutputError."""
    require_free(path, hashlib.sha256(content).digest())
    if path.exists():
        return
    try:
        for folder in reversed([folder for folder in path.parents if not folder.exists()]):
            folder.mkdir()
            sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be made ({error.strerror})") from None
    with NewFile(path) as file:
        file.write_at(0, content)
        file.publish()
