"""A witness: a key in a folder, on another machine than the log, that cosigns what continues what it saw before.

key.pem        its Ed25519 private key, PKCS#8, mode 0600
witness.vkey   its public key, a C2SP verifier key
seen/          the newest checkpoint of each log that it cosigned
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pki.errors import AuditError, ConfigurationError, InputRefused, OutputError, PolicyViolation
from pki.values import PublicKey
from signer.durable import sync_folder
from signer.log.beginnings import is_beginning
from signer.log.checkpoint import Checkpoint, is_key_name, verify_log_signature
from signer.log.cosignature import WitnessKey, sign_cosignature
from signer.log.files import replace_file
from signer.log.publishing import CHECKPOINT_FILE
from signer.log.signed_by import read_checkpoint

_KEY_FILE = "key.pem"
_VERIFIER_KEY_FILE = "witness.vkey"
_SEEN = "seen"
_FILE_SIZE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What a witness did: the checkpoint with its cosignature, and the size that it had seen before (None: nothing)."""

    checkpoint: Checkpoint
    size_before: int | None


def make_witness(folder: Path, name: str) -> WitnessKey:
    """Make a witness in a new folder, whole or not at all. Raises OutputError; InputRefused for an unfit name."""
    if not is_key_name(name):
        raise InputRefused(f"{name!r} is no name for a witness: 1 to 100 printable ASCII characters, no space, no plus")
    if os.path.lexists(folder):
        raise OutputError(f"{folder} exists already; choose a new folder")
    key = Ed25519PrivateKey.generate()
    public = WitnessKey(name, key.public_key().public_bytes_raw())
    work = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        (work / _SEEN).mkdir(mode=0o700, parents=True)
        work.chmod(0o700)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(work / _KEY_FILE, pem, 0o600)
        replace_file(work / _VERIFIER_KEY_FILE, f"{public.text}\n".encode())
        work.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); nothing was left behind") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return public


def cosign(folder: Path, log_folder: Path, log_key: PublicKey, now: datetime) -> Cosigned:
    """Cosign the newest checkpoint of a log, if it continues what the witness in `folder` saw before.

    Raises PolicyViolation AL-04 if it does not, SignatureInvalid if it is not the log's, AuditError for what cannot
    be read, ConfigurationError for a witness that is not whole. What was seen is durable before anything is signed.
    """
    public, key = _load(folder)
    checkpoint = read_checkpoint(log_folder / CHECKPOINT_FILE)
    if checkpoint is None:
        raise AuditError(f"there is no checkpoint in {log_folder}")
    verify_log_signature(checkpoint, log_key)
    path = folder / _SEEN / f"{hashlib.sha256(checkpoint.head.origin.encode()).hexdigest()[:32]}.checkpoint"
    before = read_checkpoint(path)
    if before is not None:
        _require_continues(log_folder, before, checkpoint)
    try:
        replace_file(path, checkpoint.note)
        cosigned = checkpoint.with_signature(sign_cosignature(checkpoint, public.name, key, now))
        replace_file(path, cosigned.note)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); nothing was cosigned") from None
    return Cosigned(cosigned, None if before is None else before.head.size)


def _require_continues(log_folder: Path, before: Checkpoint, now: Checkpoint) -> None:
    old, new = before.head, now.head
    if new.size < old.size:
        raise PolicyViolation(
            "AL-04",
            f"this witness saw {old.size} entries of {old.origin} before, and now there are {new.size}: the log was "
            "truncated or an old copy put in its place; nothing was cosigned, keep both as evidence",
        )
    if not is_beginning(log_folder, old, new):
        raise PolicyViolation(
            "AL-04",
            f"the first {old.size} entries of {old.origin} are not those that this witness saw: the log was changed "
            "or forked; nothing was cosigned, keep both as evidence",
        )


def _load(folder: Path) -> tuple[WitnessKey, Ed25519PrivateKey]:
    path = folder / _KEY_FILE
    try:
        public = WitnessKey.parse((folder / _VERIFIER_KEY_FILE).read_text("ascii")[:_FILE_SIZE_BYTES_MAX].strip())
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ConfigurationError(f"{path} is not a file of your own; run: chmod 600 {path}")
        key = load_pem_private_key(path.read_bytes()[:_FILE_SIZE_BYTES_MAX], None)
    except OSError as error:
        raise ConfigurationError(f"{folder} is no witness: {error.filename} ({error.strerror})") from None
    except ValueError:
        raise ConfigurationError(f"{folder} is no witness: its key is damaged; restore it, or make a new one") from None
    if not isinstance(key, Ed25519PrivateKey) or key.public_key().public_bytes_raw() != public.public_key:
        raise ConfigurationError(f"{folder} is no witness: {_KEY_FILE} and {_VERIFIER_KEY_FILE} do not belong together")
    return public, key
