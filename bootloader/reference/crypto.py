"""The cryptography of suite 1 (docs/spec/package.md): ECDSA and ECDH on P-256, SHA-256, HKDF-SHA256, AES-256-CTR.

Points are X ‖ Y (64 bytes), signatures r ‖ s (64 bytes), private keys scalars (32 bytes): all big-endian.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bootloader.reference.codes import DeviceCode, Refused, require

CONTEXT_SIZE_BYTES = 16
DIGEST_SIZE_BYTES = 32
SCALAR_SIZE_BYTES = 32
POINT_SIZE_BYTES = 64
SIGNATURE_SIZE_BYTES = 64
KEY_ID_SIZE_BYTES = 8
AES_KEY_SIZE_BYTES = 32
AES_BLOCK_SIZE_BYTES = 16

# The order n of the group of P-256 (NIST SP 800-186, section 3.2.1.3).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# DER of SubjectPublicKeyInfo for an uncompressed point of P-256 up to and with the octet 0x04 (RFC 5480, section 2).
_PUBLIC_KEY_INFO_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")

_CURVE = ec.SECP256R1()
_ECDSA_OVER_DIGEST = ec.ECDSA(Prehashed(SHA256()))
# RFC 6979: a signature needs no randomness, so this module stays pure.
_ECDSA_OVER_DIGEST_DETERMINISTIC = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)


def sha256(*parts: bytes) -> bytes:
    """SHA-256 (FIPS 180-4) of the parts joined."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def context(name: str) -> bytes:
    """A context: ASCII, padded with 0x00 to 16 bytes. It comes first in everything that is hashed or signed."""
    encoded = name.encode("ascii")
    if not 0 < len(encoded) <= CONTEXT_SIZE_BYTES:
        raise ValueError(f"a context has 1 to {CONTEXT_SIZE_BYTES} characters: {name!r}")
    return encoded.ljust(CONTEXT_SIZE_BYTES, b"\0")


def key_id(public_point: bytes) -> bytes:
    """The first 8 bytes of SHA-256 over the DER SubjectPublicKeyInfo of a point (docs/spec/package.md, section 1)."""
    return sha256(_PUBLIC_KEY_INFO_PREFIX, public_point)[:KEY_ID_SIZE_BYTES]


def verify_signature(public_point: bytes, digest: bytes, signature: bytes) -> None:
    """ECDSA P-256 (FIPS 186-5, section 6.4.2) over a SHA-256 digest; returns, or raises Refused(SIGNATURE_INVALID).

    Both values of s are accepted: a signature is never used as an identifier.
    """
    invalid = DeviceCode.SIGNATURE_INVALID
    require(len(digest) == DIGEST_SIZE_BYTES, invalid, "what is signed is not a SHA-256 digest")
    require(len(signature) == SIGNATURE_SIZE_BYTES, invalid, "a signature has 64 bytes")
    r = int.from_bytes(signature[:SCALAR_SIZE_BYTES], "big")
    s = int.from_bytes(signature[SCALAR_SIZE_BYTES:], "big")
    require(0 < r < P256_ORDER and 0 < s < P256_ORDER, invalid, "r or s is not between 1 and n-1")
    public_key = _point_of_curve(public_point, invalid, "the signer's public key is not a point of the curve")
    try:
        public_key.verify(encode_dss_signature(r, s), digest, _ECDSA_OVER_DIGEST)
    except InvalidSignature:
        raise Refused(invalid, "the signature does not verify") from None


def sign_digest(private: bytes, digest: bytes) -> bytes:
    """The device's own signature, r ‖ s, over a SHA-256 digest (ECDSA with the nonce of RFC 6979).

    The C code hedges: what RFC 6979 derives its nonce from also gets fresh randomness (section 3.6, k'), so that
    neither a repeated fault nor a bad generator alone gives the key away. Raises ValueError for a scalar that is none.
    """
    r, s = decode_dss_signature(_private_key(private).sign(digest, _ECDSA_OVER_DIGEST_DETERMINISTIC))
    return r.to_bytes(SCALAR_SIZE_BYTES, "big") + s.to_bytes(SCALAR_SIZE_BYTES, "big")


def public_point(private: bytes) -> bytes:
    """X ‖ Y of a private key; raises ValueError if the scalar is not between 1 and n-1."""
    numbers = _private_key(private).public_key().public_numbers()
    return numbers.x.to_bytes(SCALAR_SIZE_BYTES, "big") + numbers.y.to_bytes(SCALAR_SIZE_BYTES, "big")


def is_scalar(private: bytes) -> bool:
    """Whether these bytes are a private key: 32 bytes, from 1 to n-1."""
    return len(private) == SCALAR_SIZE_BYTES and 0 < int.from_bytes(private, "big") < P256_ORDER


def ecdh(private: bytes, public_point: bytes) -> bytes:
    """The X coordinate of the shared point, 32 bytes (SP 800-56A rev. 3, section 5.7.1.2).

    Raises Refused(EPHEMERAL_KEY) if the other point is not on the curve.
    """
    peer = _point_of_curve(public_point, DeviceCode.EPHEMERAL_KEY, "the ephemeral key is not a point of the curve")
    return _private_key(private).exchange(ec.ECDH(), peer)


def hkdf_sha256(ikm: bytes, info: bytes, size_bytes: int) -> bytes:
    """HKDF with SHA-256 and an empty salt (RFC 5869); raises ValueError for more than 8,160 bytes of output."""
    return HKDF(algorithm=SHA256(), length=size_bytes, salt=None, info=info).derive(ikm)


def require_point(point: bytes, code: DeviceCode, detail: str) -> None:
    """X ‖ Y is a point of the curve; raises Refused(code)."""
    _point_of_curve(point, code, detail)


class Aes256Ctr:
    """AES-256-CTR (SP 800-38A, section 6.5), deciphering in order. The 128-bit big-endian counter block begins at 0."""

    def __init__(self, key: bytes) -> None:
        if len(key) != AES_KEY_SIZE_BYTES:
            raise ValueError("an AES-256 key has 32 bytes")
        self._decryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(AES_BLOCK_SIZE_BYTES))).decryptor()

    def decrypt(self, data: bytes) -> bytes:
        """The plaintext of the next bytes of the ciphertext."""
        return self._decryptor.update(data)


def _point_of_curve(point: bytes, code: DeviceCode, detail: str) -> ec.EllipticCurvePublicKey:
    try:  # from_encoded_point also refuses any other size than 1 + 64
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x04" + point)
    except ValueError:
        raise Refused(code, detail) from None


def _private_key(private: bytes) -> ec.EllipticCurvePrivateKey:
    if len(private) != SCALAR_SIZE_BYTES:
        raise ValueError("a private key has 32 bytes")
    return ec.derive_private_key(int.from_bytes(private, "big"), _CURVE)
