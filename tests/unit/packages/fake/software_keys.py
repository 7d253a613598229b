"""Signing keys in software, for tests. Every one of them is public: its private part follows from its name."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from pki.values import Digest, PublicKey, Scheme, Signature

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class SoftwareKey:
    """A working signing and agreement key; it counts its signatures, so that tests can see that it was not asked."""

    def __init__(self, name: str) -> None:
        scalar = int.from_bytes(hashlib.sha512(f"fake key {name}".encode()).digest(), "big") % (_ORDER - 1) + 1
        self.private_bytes = scalar.to_bytes(32, "big")
        self.private = ec.derive_private_key(scalar, ec.SECP256R1())
        numbers = self.private.public_key().public_numbers()
        self.public_key = PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
        self.signature_count = 0

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        assert scheme is Scheme.ECDSA_P256_SHA256_RAW
        self.signature_count += 1
        r, s = decode_dss_signature(self.private.sign(digest.value, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return Signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class WrongKey(SoftwareKey):
    """A key whose token returns signatures over something else."""

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        return super().sign(Digest.of(digest.value), scheme)
