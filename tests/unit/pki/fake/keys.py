"""Keys for tests: in software, from fixed scalars, worthless by construction."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.values import Digest, PublicKey, Scheme, Signature
from pki.x509_signing_key import signature_from_der


class SoftwareKey:
    """A P-256 key that works like a token's: `sign` and `public_key`. It counts its signatures."""

    def __init__(self, name: str, label: str = "") -> None:
        scalar = int.from_bytes(hashlib.sha256(b"worthless test key " + name.encode()).digest(), "big") >> 1
        self.private_key = ec.derive_private_key(scalar, ec.SECP256R1())
        self.label = label
        self.signature_count = 0

    @property
    def public_key(self) -> PublicKey:
        return PublicKey.from_spki(
            self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )

    def sign(self, digest: Digest, scheme: Scheme = Scheme.ECDSA_P256_SHA256_RAW) -> Signature:
        assert scheme is Scheme.ECDSA_P256_SHA256_RAW
        self.signature_count += 1
        return signature_from_der(self.private_key.sign(digest.value, ec.ECDSA(Prehashed(hashes.SHA256()))))


class WrongKey(SoftwareKey):
    """A token gone wrong: it shows one public key and signs with another."""

    def __init__(self, name: str, label: str = "") -> None:
        super().__init__(name, label)
        self._other = SoftwareKey(name + ", the other one")

    def sign(self, digest: Digest, scheme: Scheme = Scheme.ECDSA_P256_SHA256_RAW) -> Signature:
        self.signature_count += 1
        return self._other.sign(digest, scheme)
