"""Checkpoints: C2SP signed notes over a tree head, signed by the log's HSM key (docs/spec/audit-log.md, section 3)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pki.errors import FormatError, SignatureInvalid
from pki.values import Digest, PublicKey
from signer.signing_key import SigningKey, sign_verified, signature_der

NOTE_SIZE_BYTES_MAX = 16 * 1024
SIGNATURES_MAX = 32
_DASH = "\u2014"
_KEY_NAME = re.compile(r"[!-*,-~]{1,100}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,14}")
_HASH_SIZE_BYTES = 32
_KEY_ID_SIZE_BYTES = 4


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a checkpoint says: which log, how many entries, and the root hash over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """The note's text, which is what is signed (C2SP tlog-checkpoint)."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the key's name, its id (4 bytes) and the signature proper."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> bytes:
        """The line as it stands in the note."""
        return f"{_DASH} {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n".encode()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed note, taken apart. Nothing in it is verified yet."""

    head: TreeHead
    signatures: tuple[NoteSignature, ...]

    @property
    def note(self) -> bytes:
        """The note's bytes."""
        return self.head.text + b"\n" + b"".join(signature.line for signature in self.signatures)

    def with_signature(self, signature: NoteSignature) -> Checkpoint:
        """The same with one signature more; one by the same key gives way to it."""
        kept = [item for item in self.signatures if (item.name, item.key_id) != (signature.name, signature.key_id)]
        return Checkpoint(self.head, (*kept, signature))


def parse_checkpoint(note: bytes) -> Checkpoint:
    """Take a signed note apart. Raises FormatError for anything but exactly one checkpoint without extension lines."""
    if len(note) > NOTE_SIZE_BYTES_MAX:
        raise FormatError("checkpoint", NOTE_SIZE_BYTES_MAX, f"more than {NOTE_SIZE_BYTES_MAX} bytes")
    try:
        lines = note.decode("utf-8").split("\n")
        origin, size, root, blank, *signature_lines, end = lines
        if blank or end or not signature_lines or len(signature_lines) > SIGNATURES_MAX:
            raise ValueError("three lines, a blank line and signature lines are needed")
        if not _KEY_NAME.fullmatch(origin) or not _SIZE.fullmatch(size):
            raise ValueError("origin or size has another form")
        head = TreeHead(origin, int(size), _base64(root))
        if len(head.root) != _HASH_SIZE_BYTES:
            raise ValueError("the root hash has not 32 bytes")
        signatures = tuple(_parse_signature(line) for line in signature_lines)
    except (ValueError, binascii.Error) as error:
        raise FormatError("checkpoint", 0, f"not a signed checkpoint: {error}") from None
    names = [(signature.name, signature.key_id) for signature in signatures]
    if len(set(names)) != len(names):
        raise FormatError("checkpoint", 0, "one key signed it twice")
    return Checkpoint(head, signatures)


def _parse_signature(line: str) -> NoteSignature:
    dash, name, encoded = line.split(" ")
    raw = _base64(encoded)
    if dash != _DASH or not _KEY_NAME.fullmatch(name) or len(raw) <= _KEY_ID_SIZE_BYTES:
        raise ValueError("a signature line has another form")
    return NoteSignature(name, raw[:_KEY_ID_SIZE_BYTES], raw[_KEY_ID_SIZE_BYTES:])


def _base64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def is_key_name(text: str) -> bool:
    """Whether the text may be a key's name in a note: printable ASCII without spaces and plus signs."""
    return _KEY_NAME.fullmatch(text) is not None


def log_key_id(key: PublicKey) -> bytes:
    """The key id of an ECDSA key in a note (signature type 0x02): 4 bytes of SHA-256 over its SPKI."""
    return key.spki_sha256[:_KEY_ID_SIZE_BYTES]


def sign_head(head: TreeHead, key: SigningKey) -> Checkpoint:
    """Sign with the log's key; the signature is verified before it is returned. Raises TokenError, SignatureInvalid."""
    signature = sign_verified(key, Digest.of(head.text))
    return Checkpoint(head, (NoteSignature(head.origin, log_key_id(key.public_key), signature_der(signature)),))


def verify_log_signature(checkpoint: Checkpoint, key: PublicKey) -> None:
    """Raises SignatureInvalid unless the log's key signed the checkpoint under the name of its origin."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    wanted = (checkpoint.head.origin, log_key_id(key))
    verifier = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key.point)
    for signature in checkpoint.signatures:
        if (signature.name, signature.key_id) == wanted:
            try:
                verifier.verify(signature.signature, checkpoint.head.text, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                break
            return
    raise SignatureInvalid(
        f"the checkpoint of size {checkpoint.head.size} is not signed by log key {log_key_id(key).hex()}"
    )
