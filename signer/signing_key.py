"""What packages and trust bundles ask of a signing key, and the one way in which they use it."""

from __future__ import annotations

from typing import Protocol

from pki.errors import InputRefused, SignatureInvalid
from pki.values import Digest, PublicKey, Scheme, Signature

# The field prime and the coefficient b of P-256 (SP 800-186, section 3.2.1.3); a is -3.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


class SigningKey(Protocol):
    """A P-256 private key that signs digests made by the host; `signer.tokens.KeyHandle` is one."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Sign the digest as it is; raises TokenError."""


def sign_verified(key: SigningKey, digest: Digest) -> Signature:
    """Sign, and verify in software before anything is released; raises SignatureInvalid and what the key raises."""
    signature = key.sign(digest, Scheme.ECDSA_P256_SHA256_RAW)
    verify_signature(key.public_key, digest, signature)
    return signature


def verify_signature(key: PublicKey, digest: Digest, signature: Signature) -> None:
    """Verify a raw ECDSA P-256 signature over a digest (FIPS 186-5, section 6.4.2); raises SignatureInvalid."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    try:
        verifier = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key.point)
        verifier.verify(signature_der(signature), digest.value, ec.ECDSA(Prehashed(hashes.SHA256())))
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(
            f"the signature does not verify under key {key.key_id.hex()}; nothing was released"
        ) from None


def signature_der(signature: Signature) -> bytes:
    """The same signature as a DER Ecdsa-Sig-Value (RFC 3279, section 2.2.3), without padding."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(
        int.from_bytes(signature.value[:32], "big"), int.from_bytes(signature.value[32:], "big")
    )


def require_on_curve(key: PublicKey, what: str) -> None:
    """Refuse a key that is no point of P-256 (SEC 1, section 3.2.2.1); `what` names it in the InputRefused."""
    if not is_on_curve(key.point):
        raise InputRefused(f"{what} is not a point of P-256; export the public key again")


def is_on_curve(point: bytes) -> bool:
    """Whether X and Y, 32 bytes each, are a point of P-256 (SEC 1, section 3.2.2.1)."""
    x = int.from_bytes(point[:32], "big")
    y = int.from_bytes(point[32:], "big")
    return x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
