"""The signature of one SSH key over one message: what stands in the last string of an SSHSIG.

Formats: RFC 8709 section 6, RFC 5656 section 3.1.2, RFC 8332 section 3, OpenSSH's PROTOCOL.u2f. Rules SS-04, SS-07,
SS-08, SS-09, SS-11.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from policies.refusals import Malformed, NotAuthentic
from policies.ssh_keys import RSA_EXPONENT, SshKeyType, SshPublicKey
from policies.ssh_wire import WireError, WireReader

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurve
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

USER_PRESENT = 0x01
USER_VERIFIED = 0x04
_FLAGS_KNOWN = USER_PRESENT | USER_VERIFIED

_RSA_ALGORITHMS = ("rsa-sha2-512", "rsa-sha2-256")


def verify_key_signature(key: SshPublicKey, message: bytes, signature: bytes) -> bool:
    """Verify, and return whether a security key verified its user (PIN, fingerprint), not only saw somebody present.

    Raises Malformed SS-04 (point), SS-07 (algorithm), SS-08 (encoding); NotAuthentic SS-09 (presence), SS-11.
    """
    reader = WireReader(signature)
    try:
        algorithm = reader.text()
        _require_algorithm(key, algorithm)
        if key.is_hardware_backed:
            return _verify_security_key(key, message, reader)
        value = reader.string()
        reader.end()
    except WireError as error:
        raise Malformed("SS-08", "SSH signature", str(error)) from None
    if key.key_type is SshKeyType.RSA:
        _verify_rsa(key, algorithm, message, value)
    else:
        _verify_curve(key, message, value)
    return False


def _require_algorithm(key: SshPublicKey, algorithm: str) -> None:
    accepted = _RSA_ALGORITHMS if key.key_type is SshKeyType.RSA else (str(key.key_type),)
    if algorithm not in accepted:
        raise Malformed("SS-07", "SSH signature", f"made as {algorithm[:60]!r}; this key must sign as {accepted[0]}")


def _verify_security_key(key: SshPublicKey, message: bytes, reader: WireReader) -> bool:
    """What a security key signs is its application, what it saw of the user, a counter, and the message's digest."""
    value = reader.string()
    flags = reader.byte()
    counter = reader.raw(4)
    reader.end()
    if not flags & USER_PRESENT:
        raise NotAuthentic("SS-09", "the security key signed without anybody present; touch it when it blinks")
    if flags & ~_FLAGS_KNOWN:
        raise NotAuthentic("SS-09", f"the security key reports flags 0x{flags:02x}, of which not all are known")
    signed = (
        hashlib.sha256(key.application.encode("ascii")).digest()
        + bytes([flags])
        + counter
        + hashlib.sha256(message).digest()
    )
    _verify_curve(key, signed, value)
    return bool(flags & USER_VERIFIED)


def _verify_curve(key: SshPublicKey, message: bytes, value: bytes) -> None:
    if key.key_type in {SshKeyType.ED25519, SshKeyType.SK_ED25519}:
        _verify_ed25519(key, message, value)
    else:
        _verify_ecdsa(key, message, value)


def _verify_ed25519(key: SshPublicKey, message: bytes, value: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if len(value) != 64:
        raise Malformed("SS-08", "SSH signature", "an Ed25519 signature has 64 bytes")
    try:
        Ed25519PublicKey.from_public_bytes(key.point).verify(value, message)
    except (InvalidSignature, ValueError):
        raise _does_not_verify() from None


def _verify_ecdsa(key: SshPublicKey, message: bytes, value: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    reader = WireReader(value)
    try:
        r, s = reader.positive_mpint(), reader.positive_mpint()
        reader.end()
    except WireError as error:
        raise Malformed("SS-08", "SSH signature", str(error)) from None
    curve, digest = _curve_of(key.key_type)
    try:
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.point)
    except ValueError:
        raise Malformed("SS-04", "SSH key", "not a point of its curve") from None
    try:
        public_key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
    except InvalidSignature:
        raise _does_not_verify() from None


def _curve_of(key_type: SshKeyType) -> tuple[EllipticCurve, HashAlgorithm]:
    """The curve and the digest that goes with its size (RFC 5656, section 6.2.1)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    if key_type is SshKeyType.ECDSA_P384:
        return ec.SECP384R1(), hashes.SHA384()
    if key_type is SshKeyType.ECDSA_P521:
        return ec.SECP521R1(), hashes.SHA512()
    return ec.SECP256R1(), hashes.SHA256()


def _verify_rsa(key: SshPublicKey, algorithm: str, message: bytes, value: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    if len(value) != (key.modulus.bit_length() + 7) // 8:
        raise Malformed("SS-08", "SSH signature", "an RSA signature has as many bytes as its key's modulus")
    digest: HashAlgorithm = hashes.SHA512() if algorithm == "rsa-sha2-512" else hashes.SHA256()
    try:
        RSAPublicNumbers(RSA_EXPONENT, key.modulus).public_key().verify(value, message, padding.PKCS1v15(), digest)
    except (InvalidSignature, ValueError):
        raise _does_not_verify() from None


def _does_not_verify() -> NotAuthentic:
    return NotAuthentic("SS-11", "the SSH signature does not verify: the file was changed, or another one was signed")
