"""People with Ed25519 SSH keys, for tests. Every private key is public: it follows from its owner's name.

Signatures are made by hand from PROTOCOL.sshsig, so that a test needs no process for each; `ssh-keygen` is the oracle
in tests/unit/policies and in the tests of the command line.
"""

from __future__ import annotations

import base64
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ARMOR_COLUMNS = 70


class SshPerson:
    """Signs statements as `ssh-keygen -Y sign` does."""

    def __init__(self, name: str, key: str = "first") -> None:
        self.name = name
        self._private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"fake ssh {name} {key}".encode()).digest())
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_blob = _text(b"ssh-ed25519") + _text(raw)

    @property
    def public_line(self) -> str:
        """As in `id_ed25519.pub`."""
        return f"ssh-ed25519 {base64.b64encode(self.key_blob).decode()}"

    def allowed(self, options: str = "") -> str:
        """The person's line of `allowed_signers`."""
        return f"{self.name} {options + ' ' if options else ''}{self.public_line}\n"

    def sign(self, message: bytes, namespace: str) -> bytes:
        """The armored signature."""
        fields = _text(namespace.encode()) + _text(b"") + _text(b"sha512")
        signature = self._private.sign(b"SSHSIG" + fields + _text(hashlib.sha512(message).digest()))
        encoded_signature = _text(_text(b"ssh-ed25519") + _text(signature))
        blob = b"SSHSIG" + struct.pack(">I", 1) + _text(self.key_blob) + fields + encoded_signature
        encoded = base64.b64encode(blob).decode()
        lines = [encoded[start : start + _ARMOR_COLUMNS] for start in range(0, len(encoded), _ARMOR_COLUMNS)]
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


def _text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
