"""The cryptographic values that cross room boundaries, typed so that they cannot be mixed up."""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

# SubjectPublicKeyInfo of an uncompressed P-256 point: this prefix, then 04, X and Y (RFC 5480, sections 2.1.1 and 2.2).
_P256_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_POINT_SIZE_BYTES = 64


class Digest(msgspec.Struct, frozen=True):
    """A SHA-256 digest, 32 bytes. Typed, so that nothing is hashed twice by mistake."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != 32:
            raise ValueError(f"a SHA-256 digest has 32 bytes, not {len(self.value)}")

    @classmethod
    def of(cls, *parts: bytes) -> Digest:
        """Hash the concatenation of `parts`."""
        state = hashlib.sha256()
        for part in parts:
            state.update(part)
        return cls(state.digest())


class Scheme(Enum):
    """Signature schemes. One today; the suite byte of the device formats leaves room for others."""

    ECDSA_P256_SHA256_RAW = "ecdsa-p256-sha256-raw"
    """ECDSA over P-256 on a SHA-256 digest made by the host; the signature is r and s, big-endian, 32 bytes each."""


class Signature(msgspec.Struct, frozen=True):
    """A raw ECDSA P-256 signature: r and s, big-endian, 32 bytes each."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != 64:
            raise ValueError(f"a raw P-256 signature has 64 bytes, not {len(self.value)}")


class PublicKey(msgspec.Struct, frozen=True):
    """A P-256 public key as its affine point: X and Y, big-endian, 32 bytes each (SEC 1, 2.3.3, without the 04)."""

    point: bytes

    def __post_init__(self) -> None:
        if len(self.point) != _POINT_SIZE_BYTES:
            raise ValueError(f"a P-256 point has 64 bytes, not {len(self.point)}")

    @classmethod
    def from_spki(cls, der: bytes) -> PublicKey:
        """Take the point out of a DER SubjectPublicKeyInfo; ValueError for anything but an uncompressed P-256 key."""
        prefix = _P256_SPKI_PREFIX + b"\x04"
        if not der.startswith(prefix) or len(der) != len(prefix) + _POINT_SIZE_BYTES:
            raise ValueError("not a SubjectPublicKeyInfo of an uncompressed P-256 key")
        return cls(der[len(prefix) :])

    @property
    def spki(self) -> bytes:
        """The DER SubjectPublicKeyInfo (RFC 5480)."""
        return _P256_SPKI_PREFIX + b"\x04" + self.point

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 over the SubjectPublicKeyInfo, 32 bytes; every identifier below is a prefix of it."""
        return hashlib.sha256(self.spki).digest()

    @property
    def key_id(self) -> bytes:
        """The identifier used in device formats: the first 8 bytes."""
        return self.spki_sha256[:8]

    @property
    def cka_id(self) -> bytes:
        """The identifier used on tokens as CKA_ID: the first 20 bytes."""
        return self.spki_sha256[:20]
