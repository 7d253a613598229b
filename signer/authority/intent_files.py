"""Files of intents: written durably before a token is asked, removed durably when the act is done."""

from __future__ import annotations

from pathlib import Path

from pki.errors import OutputError
from signer.durable import sync_folder, write_new_text


def write_intent_file(path: Path, text: str, consequence: str = "") -> None:
    """Write the file whole, in place of the one there may be. Raises OutputError, with `consequence` at its end."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        write_new_text(temporary, text, 0o600)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror}){consequence}") from None


def remove_intent_file(path: Path) -> None:
    """Remove the file, if it is there. Raises OutputError."""
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror}); remove it by hand") from None
