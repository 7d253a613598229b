"""Signatures and proofs of what devices say (docs/spec/activation.md). Verification raises; no boolean to ignore."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from pki.errors import SignatureInvalid, WrongTarget
from pki.values import Digest, PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_CONTEXT_SIZE_BYTES: Final = 16
_KEY_SIZE_BYTES: Final = 32


def context(name: str) -> bytes:
    """The ASCII string that comes first in everything that is signed, padded with zero."""
    return name.encode("ascii").ljust(_CONTEXT_SIZE_BYTES, b"\0")


def object_digest(context_name: str, signed_part: bytes) -> Digest:
    """The digest of an object, which is also what its signature is over."""
    return Digest.of(context(context_name), signed_part)


def verify_signature(key: PublicKey, digest: Digest, signature: bytes, what: str) -> None:
    """Verify r ‖ s over a digest; raises SignatureInvalid (LK-12), also where the device signed nothing (zero)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

    if not any(signature):
        raise SignatureInvalid(f"[LK-12] {what} is not signed: the device has no keys, and it proves nothing")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key.point)
        public.verify(encode_dss_signature(r, s), digest.value, ec.ECDSA(Prehashed(hashes.SHA256())))
    except (InvalidSignature, ValueError):
        raise SignatureInvalid(
            f"[LK-12] the signature of {what} does not verify under key {key.key_id.hex()}: not that device, or changed"
        ) from None


def require_same(found: bytes, expected: bytes, what: str) -> None:
    """Compare in constant time what binds an object to this question; raises WrongTarget (LK-13)."""
    if not hmac.compare_digest(found, expected):
        raise WrongTarget(f"[LK-13] {what}")


def public_point(private: EllipticCurvePrivateKey) -> bytes:
    """X ‖ Y of a private key's public half."""
    numbers = private.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def agreement_proof(private: EllipticCurvePrivateKey, agreement_point: bytes, proven: bytes) -> bytes:
    """What only the holder of the agreement key can make of `proven`; ValueError for a point that is off the curve."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    name = context("SR-agree-pop-v1")
    other = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + agreement_point)
    shared_x = private.exchange(ec.ECDH(), other)
    info = name + public_point(private) + agreement_point
    key = HKDF(algorithm=SHA256(), length=_KEY_SIZE_BYTES, salt=None, info=info).derive(shared_x)
    return hmac.digest(key, name + proven, "sha256")
