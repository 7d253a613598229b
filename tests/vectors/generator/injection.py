"""Keys that a station's token wraps for one device: `docs/spec/activation.md`, section 3, "An injected key"."""

from __future__ import annotations

from dataclasses import dataclass

from tests.vectors.generator import p256
from tests.vectors.generator.keys import TestKey
from tests.vectors.generator.primitives import aes_key_wrap, u16

WRAPPED_SIZE_BYTES_MAX = 152
# Offsets within an injected key.
SIZE_OFFSET, ZERO_OFFSET, WRAPPED_OFFSET = 64, 66, 72


@dataclass(frozen=True, slots=True)
class Wrapped:
    """One wrap. The sizes and points as they are written may differ from what was wrapped."""

    ephemeral: bytes
    wrapped: bytes
    size_bytes: int | None = None  # None: that of `wrapped`

    @property
    def entry(self) -> bytes:
        """`ephemeral`, `wrapped_size_bytes`, 6 zero, `wrapped`: 224 bytes."""
        size_bytes = len(self.wrapped) if self.size_bytes is None else self.size_bytes
        return self.ephemeral + u16(size_bytes) + bytes(6) + self.wrapped.ljust(WRAPPED_SIZE_BYTES_MAX, b"\0")


def private_key_info(private: int, *, with_public_key: bool = False, public: bytes | None = None) -> bytes:
    """DER PrivateKeyInfo (RFC 5208) of an EC key (RFC 5915): 67 bytes, or 138 with the public key."""
    scalar = b"\x02\x01\x01\x04\x20" + private.to_bytes(32, "big")
    if with_public_key:
        scalar += bytes.fromhex("a14403420004") + (p256.public_key(private) if public is None else public)
    ec_key = _sequence(scalar)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    return _sequence(b"\x02\x01\x00" + algorithm + b"\x04" + _length(ec_key) + ec_key)


def zero_padded(der: bytes) -> bytes:
    """As one HSM pads: zero bytes up to a multiple of 8."""
    return der + bytes(-len(der) % 8)


def pkcs7_padded(der: bytes) -> bytes:
    """As another one does: n bytes of the value n, 1 to 8."""
    count = 8 - len(der) % 8
    return der + bytes((count,)) * count


def wrap(padded_der: bytes, ephemeral: TestKey, agreement_public: bytes) -> Wrapped:
    """RFC 3394 under the X coordinate of ECDH(ephemeral, the device's agreement key)."""
    return Wrapped(ephemeral.public, aes_key_wrap(p256.ecdh(ephemeral.private, agreement_public), padded_der))


def _sequence(content: bytes) -> bytes:
    return b"\x30" + _length(content) + content


def _length(content: bytes) -> bytes:
    size_bytes = len(content)
    return bytes((size_bytes,)) if size_bytes < 128 else bytes((0x81, size_bytes))
