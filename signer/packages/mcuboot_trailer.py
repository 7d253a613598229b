"""The MCUboot trailer that makes imgtool and stock clients take a package (docs/spec/package.md, section 7).

It is signed by a `compat` key without a context string, as MCUboot demands, and has no meaning to a device of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from pki.errors import PolicyViolation
from pki.values import Digest
from signer.packages.layout import TRAILER_SIZE_BYTES_MAX
from signer.signing_key import SigningKey, sign_verified, signature_der

_AREA_HEADER = struct.Struct("<HH")
_ENTRY_HEADER = struct.Struct("<HH")
_AREA_MAGIC = 0x6907
_SHA256, _KEYHASH, _ECDSA_SIG = 0x10, 0x01, 0x22


def mcuboot_trailer(head_and_payload: Digest, compat_key: SigningKey) -> bytes:
    """The trailer for a package whose head and payload have this SHA-256; raises SignatureInvalid, TokenError."""
    signature = sign_verified(compat_key, head_and_payload)
    entries = (
        _entry(_SHA256, head_and_payload.value)
        + _entry(_KEYHASH, compat_key.public_key.spki_sha256)
        + _entry(_ECDSA_SIG, signature_der(signature))
    )
    trailer = _AREA_HEADER.pack(_AREA_MAGIC, _AREA_HEADER.size + len(entries)) + entries
    if len(trailer) > TRAILER_SIZE_BYTES_MAX:
        raise AssertionError("a P-256 signature has at most 72 bytes in DER")
    return trailer


def require_without_authority(compat_key: SigningKey, signer_key_ids: Sequence[bytes]) -> None:
    """Refuse a compat key that also signs heads: what it signs in a trailer has no context. PolicyViolation PKG-01."""
    if compat_key.public_key.key_id in signer_key_ids:
        raise PolicyViolation("PKG-01", "the compat key is also a signer of this package; it must have no authority")


def _entry(kind: int, value: bytes) -> bytes:
    return _ENTRY_HEADER.pack(kind, len(value)) + value
