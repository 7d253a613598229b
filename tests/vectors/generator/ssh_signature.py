"""SSH signatures from OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f: encoder with every field open to be made wrong.

A security key is played in software: its private half follows from its name, as that of all test keys does.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors.generator import p256
from tests.vectors.generator.keys import key_from_label
from tests.vectors.generator.primitives import sha256

ED25519, ECDSA = "ssh-ed25519", "ecdsa-sha2-nistp256"
SK_ED25519, SK_ECDSA = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
CURVE = b"nistp256"
NAMESPACE = "strongroom-approval-v1"
MESSAGE = b'{"decision":"approve"}'
PRESENT, VERIFIED = 0x01, 0x04
_LABEL = "Strongroom test SSH key, worthless, never trust it: "


def string(data: bytes) -> bytes:
    """RFC 4251, section 5."""
    return len(data).to_bytes(4, "big") + data


def mpint(value: int) -> bytes:
    """RFC 4251, section 5, for a positive number."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature, field by field. What stands here is what is signed, unless `signed_…` says otherwise."""

    key_type: str
    name: str = "person"
    application: bytes = b"ssh:"
    flags: int = PRESENT
    counter: int = 7
    version: int = 1
    namespace: str = NAMESPACE
    reserved: bytes = b""
    hash_name: str = "sha512"
    message: bytes = MESSAGE
    algorithm: str = ""
    key_blob: bytes = b""
    key_tail: bytes = b""
    tail: bytes = b""
    blob_tail: bytes = b""
    padded_mpint: bool = False
    signed_flags: int | None = None
    signed_counter: int | None = None
    signed_application: bytes | None = None
    signed_message: bytes | None = None
    is_plain: bool = False
    """Whether the key signs the message itself, as a key that is in no security key would."""

    @property
    def key(self) -> bytes:
        """The public key's encoding."""
        if self.key_blob:
            return self.key_blob
        head = string(self.key_type.encode())
        if self.key_type in {ED25519, SK_ED25519}:
            head += string(self._ed25519.public_key().public_bytes_raw())
        else:
            head += string(CURVE) + string(b"\x04" + key_from_label(_LABEL + self.name).public)
        return head + (string(self.application) if self.key_type.startswith("sk-") else b"") + self.key_tail

    @property
    def armored(self) -> str:
        """The `.sig` file."""
        blob = b"SSHSIG" + self.version.to_bytes(4, "big") + string(self.key) + string(self.namespace.encode())
        blob += string(self.reserved) + string(self.hash_name.encode()) + string(self._signature()) + self.blob_tail
        return armor(blob)

    @property
    def key_line(self) -> str:
        """As in `allowed_signers`, behind the principal."""
        return f"{self.key_type} {base64.b64encode(self.key).decode()}"

    def but(self, **changes: object) -> Signed:
        """The same with other fields."""
        return replace(self, **changes)  # type: ignore[arg-type] # each case names fields of this class

    @property
    def _ed25519(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(sha256((_LABEL + self.name).encode()))

    def _signature(self) -> bytes:
        message = self.message if self.signed_message is None else self.signed_message
        digest = hashlib.new(self.hash_name, message).digest()
        signed = b"SSHSIG" + string(self.namespace.encode()) + string(b"") + string(self.hash_name.encode())
        signed += string(digest)
        is_sk = self.key_type.startswith("sk-")
        if is_sk and not self.is_plain:
            signed = self._authenticator_data() + sha256(signed)
        head = string((self.algorithm or self.key_type).encode()) + string(self._raw(signed))
        facts = bytes([self.flags]) + self.counter.to_bytes(4, "big") if is_sk else b""
        return head + facts + self.tail

    def _authenticator_data(self) -> bytes:
        application = self.application if self.signed_application is None else self.signed_application
        flags = self.flags if self.signed_flags is None else self.signed_flags
        counter = self.counter if self.signed_counter is None else self.signed_counter
        return sha256(application) + bytes([flags]) + counter.to_bytes(4, "big")

    def _raw(self, signed: bytes) -> bytes:
        if self.key_type in {ED25519, SK_ED25519}:
            return self._ed25519.sign(signed)
        raw = p256.sign(key_from_label(_LABEL + self.name).private, sha256(signed))
        first = mpint(int.from_bytes(raw[:32], "big"))
        if self.padded_mpint:
            first = string(b"\0" + first[4:])
        return first + mpint(int.from_bytes(raw[32:], "big"))


def armor(blob: bytes, width: int = 70) -> str:
    """OpenSSH's armour; it breaks lines after 70 characters."""
    text = base64.b64encode(blob).decode()
    lines = [text[begin : begin + width] for begin in range(0, len(text), width)]
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""))
