"""A P-256 key in software, made anew for each test: what a token's key is to the code under test."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.values import Digest, PublicKey, Scheme, Signature


class SoftwareKey:
    """A `SigningKey`; `calls` counts its signatures, `fails_with` makes the next ones fail."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.calls = 0
        self.fails_with: Exception | None = None

    @property
    def public_key(self) -> PublicKey:
        der = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return PublicKey.from_spki(der)

    @property
    def pem(self) -> bytes:
        return self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        assert scheme is Scheme.ECDSA_P256_SHA256_RAW
        self.calls += 1
        if self.fails_with is not None:
            raise self.fails_with
        der = self._private.sign(digest.value, ec.ECDSA(Prehashed(hashes.SHA256())))
        r, s = decode_dss_signature(der)
        return Signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
