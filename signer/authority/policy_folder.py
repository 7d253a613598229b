"""The folder `policies/` of an authority repository: reading it, and the files that are shipped as a start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pki.errors import ConfigurationError, OutputError
from signer.durable import sync_folder, write_new_text

POLICY_FOLDER = "policies"
_ENTRIES_MAX = 100
_READ_BYTES_MAX = 256 * 1024 + 1
"""One byte more than a file may have, so that whoever judges the content sees that it is too large."""


def read_policy_files(folder: Path) -> dict[str, bytes]:
    """Every file of the folder by its name. Raises ConfigurationError if there is no folder, or it holds other things.

    Links are not followed: what is reviewed and digested is what stands in the folder.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}; `strongroom policy init` makes one to start from")
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if not entry.is_file(follow_symlinks=False):
                raise ConfigurationError(f"[PO-10] {entry.path} is a folder or link; policies are plain files")
        if len(found) > _ENTRIES_MAX:
            raise ConfigurationError(f"[PO-10] {folder} has more than {_ENTRIES_MAX} files")
        return {entry.name: _read(entry.path) for entry in found}
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None


def shipped_policies() -> dict[str, str]:
    """The defaults that come with Strongroom, by name."""
    import policies

    folder = Path(policies.__file__).parent / "defaults"
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.is_file()}
    if not texts:
        raise ConfigurationError(f"{folder} has no files: install Strongroom anew, it is not whole")
    return texts


def write_policy_folder(root: Path, texts: Mapping[str, str]) -> list[Path]:
    """Make `policies/` of these files, whole or not at all. Raises OutputError if it exists or cannot be written."""
    folder = root / POLICY_FOLDER
    if os.path.lexists(folder):
        raise OutputError(f"{folder} exists already; it is changed by editing and review, not by this command")
    work = root / f".{POLICY_FOLDER}.{os.getpid()}.part"
    try:
        work.mkdir()
        try:
            for name, text in texts.items():
                write_new_text(work / name, text)
            sync_folder(work)
            work.rename(folder)
            sync_folder(root)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); nothing was left behind") from None
    return [folder / name for name in texts]


def _read(path: str) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        return stream.read(_READ_BYTES_MAX)
