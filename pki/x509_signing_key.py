"""A private key for `cryptography`'s builders that asks a callback to sign, once what is to be signed was inspected."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pki.errors import SignatureInvalid
from pki.values import Digest, PublicKey, Signature

Signer = Callable[[Digest], Signature]
"""Signs a SHA-256 digest with a key that the caller chose; raises what its token raises."""

_SHA256_DIGEST = ec.ECDSA(Prehashed(hashes.SHA256()))


class CallbackPrivateKey(ec.EllipticCurvePrivateKey):
    """The P-256 private key behind `signer`. It signs exactly what `inspect` let pass and releases only what verifies.

    `inspect` gets the to-be-signed DER bytes before the digest leaves for the token, and raises to stop.
    """

    def __init__(self, public_key: PublicKey, signer: Signer, inspect: Callable[[bytes], None]) -> None:
        self._public_key = public_key
        self._signer = signer
        self._inspect = inspect

    def sign(self, data: object, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign `data` with ECDSA and SHA-256; returns the DER Ecdsa-Sig-Value (RFC 5480, appendix A)."""
        if not isinstance(data, bytes) or not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise TypeError("this key signs bytes with ECDSA and SHA-256, nothing else")
        self._inspect(data)
        digest = Digest.of(data)
        signature = self._signer(digest)
        verify_signature(self._public_key, digest, signature)
        return signature_to_der(signature)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key, for the builders."""
        return load_public_key(self._public_key)

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        """256 bits."""
        return 256

    def exchange(self, *_: object, **__: object) -> NoReturn:
        """Never: this key only signs."""
        raise TypeError("this key only signs")

    def private_numbers(self) -> NoReturn:
        """Never: the private key is in its token."""
        raise TypeError("the private key cannot leave its token")

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Never: the private key is in its token."""
        raise TypeError("the private key cannot leave its token")

    def __copy__(self) -> CallbackPrivateKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> CallbackPrivateKey:
        return self


def load_public_key(public_key: PublicKey) -> ec.EllipticCurvePublicKey:
    """The key for `cryptography`; ValueError when the point is not on the curve."""
    key = load_der_public_key(public_key.spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 (the SubjectPublicKeyInfo prefix says so)
    return key


def verify_signature(public_key: PublicKey, digest: Digest, signature: Signature) -> None:
    """Verify a raw ECDSA P-256 signature over `digest`; raises SignatureInvalid."""
    try:
        load_public_key(public_key).verify(signature_to_der(signature), digest.value, _SHA256_DIGEST)
    except InvalidSignature:
        raise SignatureInvalid(f"the signature does not verify under key {public_key.key_id.hex()}") from None


def signature_to_der(signature: Signature) -> bytes:
    """r and s, 32 bytes each, to the DER Ecdsa-Sig-Value."""
    r = int.from_bytes(signature.value[:32], "big")
    s = int.from_bytes(signature.value[32:], "big")
    return encode_dss_signature(r, s)


def signature_from_der(der: bytes) -> Signature:
    """The DER Ecdsa-Sig-Value to r and s, 32 bytes each; ValueError when it is not DER or a number is too large."""
    r, s = decode_dss_signature(der)
    if not (0 < r < 1 << 256 and 0 < s < 1 << 256):
        raise ValueError("r or s is out of range")
    return Signature(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
