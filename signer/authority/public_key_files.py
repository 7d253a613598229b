"""Public keys as PEM files: one SubjectPublicKeyInfo (RFC 7468, section 13), P-256 only."""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path

from pki.errors import ConfigurationError, InputRefused
from pki.values import PublicKey
from signer.signing_key import require_on_curve

_BEGIN = "-----BEGIN PUBLIC KEY-----"
_END = "-----END PUBLIC KEY-----"
_SIZE_BYTES_MAX = 4096


def public_key_to_pem(key: PublicKey) -> bytes:
    """The PEM file of a public key, lines of 64 characters."""
    lines = textwrap.wrap(base64.b64encode(key.spki).decode("ascii"), 64)
    return "\n".join([_BEGIN, *lines, _END, ""]).encode("ascii")


def read_public_key(path: Path) -> PublicKey:
    """The one public key in a PEM file, a point of P-256. Raises ConfigurationError for anything else."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"public key {path}: cannot be read ({error.strerror})") from None
    try:
        lines = content.decode("ascii").split()
        if len(content) > _SIZE_BYTES_MAX or " ".join(lines[:3]) != _BEGIN or " ".join(lines[-3:]) != _END:
            raise ValueError("not one PEM public key")
        key = PublicKey.from_spki(base64.b64decode("".join(lines[3:-3]), validate=True))
        require_on_curve(key, "the public key")
    except (ValueError, InputRefused):
        raise ConfigurationError(
            f"public key {path}: is not the PEM file of one P-256 public key, as `strongroom key export` writes it"
        ) from None
    return key
