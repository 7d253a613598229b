"""A private key that a station's HSM wrapped for this device (docs/spec/activation.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hmac import compare_digest

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.crypto import SCALAR_SIZE_BYTES, ecdh, is_scalar, public_point

WRAPPED_SIZE_BYTES_MIN = 24
WRAPPED_SIZE_BYTES_MAX = 152
PADDING_SIZE_BYTES_MAX = 15

# DER of PrivateKeyInfo (RFC 5208) with ECPrivateKey (RFC 5915): what stands between the two lengths and the scalar.
_VERSION_AND_ALGORITHM = bytes.fromhex("020100301306072a8648ce3d020106082a8648ce3d030107")
_EC_VERSION_AND_KEY = bytes.fromhex("0201010420")
_PARAMETERS = bytes.fromhex("a00a06082a8648ce3d030107")
_PUBLIC_KEY = bytes.fromhex("a14403420004")
_SEQUENCE, _OCTET_STRING = b"\x30", b"\x04"
_SCALAR_OFFSETS = (35, 36)  # the outer length takes one byte, or two


@dataclass(frozen=True, slots=True)
class InjectedKey:
    """A wrapped key as an activation carries it, with the public key that it must have."""

    ephemeral: bytes
    wrapped: bytes
    public_key: bytes


def unwrap_injected_key(injected: InjectedKey, agreement_private: bytes) -> bytes:
    """The scalar of the key; raises Refused(KEY_INJECTION) for anything but the announced one."""
    try:
        wrapping_key = ecdh(agreement_private, injected.ephemeral)
        plain = aes_key_unwrap(wrapping_key, injected.wrapped)
    except (Refused, InvalidUnwrap, ValueError):
        raise Refused(DeviceCode.KEY_INJECTION, "the injected key does not unwrap") from None
    scalar = _scalar_of(plain)
    announced = compare_digest(public_point(scalar), injected.public_key)
    require(announced, DeviceCode.KEY_INJECTION, "the injected key is not the one that was announced")
    return scalar


def _scalar_of(plain: bytes) -> bytes:
    """From PKCS#8, in one of the three encodings that HSMs make, and padding that means nothing."""
    for offset in _SCALAR_OFFSETS:
        scalar = plain[offset : offset + SCALAR_SIZE_BYTES]
        for encoded in _encodings(scalar) if is_scalar(scalar) else ():
            padding_size_bytes = len(plain) - len(encoded)
            fits = 0 <= padding_size_bytes <= PADDING_SIZE_BYTES_MAX
            if fits and compare_digest(plain[: len(encoded)], encoded):
                return scalar
    raise Refused(DeviceCode.KEY_INJECTION, "what unwraps is no private key of P-256 in PKCS#8")


def _encodings(scalar: bytes) -> Iterator[bytes]:
    """PrivateKeyInfo with nothing else, with the curve's name, and with the public key."""
    for rest in (b"", _PARAMETERS, _PUBLIC_KEY + public_point(scalar)):
        ec_private_key = _der(_SEQUENCE, _EC_VERSION_AND_KEY + scalar + rest)
        yield _der(_SEQUENCE, _VERSION_AND_ALGORITHM + _der(_OCTET_STRING, ec_private_key))


def _der(tag: bytes, content: bytes) -> bytes:
    """Tag, length in the shortest form (content of less than 256 bytes), content."""
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return tag + length + content
