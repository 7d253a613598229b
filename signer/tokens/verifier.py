"""A public key from a token, ready to verify in software."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from pki.values import PublicKey
from signer.tokens.errors import KeyInconsistent

_CURVE = ec.SECP256R1()


def verifier_of(public_key: PublicKey) -> ec.EllipticCurvePublicKey:
    """The software verifier of a key; raises KeyInconsistent for a point not on P-256 (SEC 1, section 3.2.2.1)."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x04" + public_key.point)
    except ValueError:
        raise KeyInconsistent("the public key on the token is not a point of P-256") from None
