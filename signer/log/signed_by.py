"""Reading a checkpoint's file, and asking whose it is."""

from __future__ import annotations

from pathlib import Path

from pki.errors import AuditError, FormatError, PolicyViolation, SignatureInvalid
from signer.log.checkpoint import NOTE_SIZE_BYTES_MAX, Checkpoint, parse_checkpoint, verify_log_signature
from signer.signing_key import SigningKey


def require_signed_by(checkpoint: Checkpoint, key: SigningKey) -> None:
    """Raise PolicyViolation AL-05 unless this key signed the checkpoint."""
    try:
        verify_log_signature(checkpoint, key.public_key)
    except SignatureInvalid:
        raise PolicyViolation(
            "AL-05",
            f"the newest checkpoint of log {checkpoint.head.origin} was signed by another key than the log key of "
            "[log] in strongroom.toml; correct `label`, or restore the log",
        ) from None


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint in a file, unverified; None if there is no file. Raises AuditError."""
    try:
        with path.open("rb") as stream:
            return parse_checkpoint(stream.read(NOTE_SIZE_BYTES_MAX + 1))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditError(f"{path} cannot be read ({error.strerror})") from None
    except FormatError as error:
        raise AuditError(f"{path} is damaged ({error}); `strongroom audit rebuild` writes it again") from None
