"""Keeping module profiles in a folder, one file per installed module, so that a module is not probed at every start."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from pki.errors import ConfigurationError, OutputError
from signer.tokens.profiles import ModuleProfile, profile_from_json, profile_to_json
from signer.tokens.session import Session


def profile_of(session: Session, folder: Path) -> ModuleProfile:
    """The kept profile of the session's module, or a fresh one (which writes to the token), which is then kept.

    Raises ConfigurationError for a kept profile that is damaged, OutputError when the folder cannot be written.
    """
    identity = session.module.identity
    path = folder / f"{hashlib.sha256(identity.encode('utf-8')).hexdigest()[:32]}.json"
    try:
        kept = profile_from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        fresh = session.probe_profile(on_token=True)
        _write_durably(path, profile_to_json(fresh))
        return fresh
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"module profile {path} cannot be read: {error}; delete it") from None
    if kept.identity != identity:
        raise ConfigurationError(f"module profile {path} belongs to another module; delete it, it is made again")
    session.module.profile = kept
    return kept


def _write_durably(path: Path, text: str) -> None:
    """Temporary file in the same folder, fsync, rename, fsync of the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".profile-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        folder_descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)
    except OSError as error:
        raise OutputError(f"module profile {path} cannot be written: {error.strerror}") from None
