"""Test keys, worthless by construction: each private key follows from its name. No device may trust one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_DETERMINISTIC = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)


@dataclass(frozen=True, slots=True)
class FakeKey:
    """A P-256 key pair: scalar of 32 bytes, point X ‖ Y, and the id of docs/spec/package.md, section 1."""

    name: str
    private: bytes = field(repr=False)
    public: bytes
    key_id: bytes

    def sign(self, digest: bytes) -> bytes:
        """r ‖ s over a SHA-256 digest, the same each time (RFC 6979)."""
        r, s = decode_dss_signature(_load(self.private).sign(digest, _DETERMINISTIC))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@cache
def fake_key(name: str) -> FakeKey:
    private = hashlib.sha256(b"Strongroom fake test key: " + name.encode()).digest()
    public_key = _load(private).public_key()
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    info = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return FakeKey(name, private, point[1:], hashlib.sha256(info).digest()[:8])


@cache
def _load(private: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())
