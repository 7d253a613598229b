"""Cosignatures of witnesses: timestamped Ed25519, C2SP cosignature/v1; and their verifier keys (type 0x04)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pki.errors import ConfigurationError, SignatureInvalid
from signer.log.checkpoint import Checkpoint, NoteSignature, is_key_name

_TYPE = b"\x04"
_KEY_ID_SIZE_BYTES = 4
_TIME_SIZE_BYTES = 8
_SIGNATURE_SIZE_BYTES = _TIME_SIZE_BYTES + 64


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness as those see it who trust it: its name and its Ed25519 public key (32 bytes)."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Its id in notes, 4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + _TYPE + self.public_key).digest()[:_KEY_ID_SIZE_BYTES]

    @property
    def text(self) -> str:
        """The C2SP verifier key: name+key id+base64 of type and public key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_TYPE + self.public_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Take a verifier key apart; raises ConfigurationError for any other text."""
        try:
            name, key_id, encoded = text.split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
            key = cls(name, raw[1:])
            if raw[:1] != _TYPE or not is_key_name(name) or key.text != f"{name}+{key_id}+{encoded}":
                raise ValueError("its parts do not belong together")
            Ed25519PublicKey.from_public_bytes(key.public_key)
        except ValueError as error:
            raise ConfigurationError(
                f"{text!r} is no key of a witness ({error}); copy what `strongroom audit witness new` printed"
            ) from None
        return key


def sign_cosignature(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey, now: datetime) -> NoteSignature:
    """The cosignature of the witness `name` at `now`; signer.log.witness checks first that it may be made."""
    seconds = int(now.timestamp())
    witness = WitnessKey(name, key.public_key().public_bytes_raw())
    signature = key.sign(_message(checkpoint, seconds))
    return NoteSignature(name, witness.key_id, seconds.to_bytes(_TIME_SIZE_BYTES, "big") + signature)


def verify_cosignature(checkpoint: Checkpoint, witness: WitnessKey) -> tuple[NoteSignature, datetime]:
    """The witness's cosignature in the checkpoint, and its time. Raises SignatureInvalid if there is no valid one."""
    for signature in checkpoint.signatures:
        if (signature.name, signature.key_id) == (witness.name, witness.key_id):
            seconds = int.from_bytes(signature.signature[:_TIME_SIZE_BYTES], "big")
            try:
                if len(signature.signature) != _SIGNATURE_SIZE_BYTES:
                    raise ValueError("not a timestamped signature")
                verifier = Ed25519PublicKey.from_public_bytes(witness.public_key)
                verifier.verify(signature.signature[_TIME_SIZE_BYTES:], _message(checkpoint, seconds))
                return signature, datetime.fromtimestamp(seconds, UTC)
            except (InvalidSignature, ValueError, OverflowError, OSError):
                break
    raise SignatureInvalid(
        f"the checkpoint of size {checkpoint.head.size} has no valid cosignature of witness {witness.name}"
    )


def _message(checkpoint: Checkpoint, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n".encode() + checkpoint.head.text
