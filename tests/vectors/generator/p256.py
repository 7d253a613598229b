"""P-256 in plain integers: points, deterministic ECDSA and ECDH, for making test vectors and for nothing else.

It is slow, and its time depends on the secrets: never use it with a key that is not a test key.
Curve parameters: FIPS 186-4, D.1.2.3 (SP 800-186, 3.2.1.3). Deterministic nonces: RFC 6979, 3.2, with HMAC-SHA256.
"""

from __future__ import annotations

import functools
import hashlib
import hmac

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Point = tuple[int, int]
Jacobian = tuple[int, int, int]  # (X, Y, Z) stands for (X / Z², Y / Z³); Z = 0 is the point at infinity
INFINITY: Jacobian = (1, 1, 0)


def is_on_curve(point: Point) -> bool:
    """Whether y² = x³ − 3x + b holds, with both coordinates below the field's prime."""
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x * x - 3 * x + B)) % P == 0


def _double(point: Jacobian) -> Jacobian:
    x, y, z = point
    if not y or not z:
        return INFINITY
    s = 4 * x * y * y % P
    m = 3 * (x - z * z) * (x + z * z) % P
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * pow(y, 4, P)) % P, 2 * y * z % P


def _add(left: Jacobian, right: Jacobian) -> Jacobian:
    if not left[2] or not right[2]:
        return right if not left[2] else left
    (x1, y1, z1), (x2, y2, z2) = left, right
    u1, u2 = x1 * z2 * z2 % P, x2 * z1 * z1 % P
    s1, s2 = y1 * pow(z2, 3, P) % P, y2 * pow(z1, 3, P) % P
    if u1 == u2:
        return _double(left) if s1 == s2 else INFINITY
    h, r = u2 - u1, s2 - s1
    h2, h3 = h * h % P, h * h * h % P
    x3 = (r * r - h3 - 2 * u1 * h2) % P
    return x3, (r * (u1 * h2 - x3) - s1 * h3) % P, h * z1 * z2 % P


@functools.lru_cache(maxsize=64)
def _doubles(point: Point) -> tuple[Jacobian, ...]:
    """2^i · point for i = 0 … 255."""
    doubles: list[Jacobian] = [(*point, 1)]
    while len(doubles) < 256:
        doubles.append(_double(doubles[-1]))
    return tuple(doubles)


def multiply(scalar: int, point: Point) -> Point:
    """scalar · point, for 1 ≤ scalar < N and a point of the curve."""
    if not 1 <= scalar < N or not is_on_curve(point):
        raise ValueError("scalar or point out of range")
    total = INFINITY
    for bit, term in enumerate(_doubles(point)):
        if scalar >> bit & 1:
            total = _add(total, term)
    inverse = pow(total[2], -1, P)
    return total[0] * inverse**2 % P, total[1] * inverse**3 % P


def encode_point(point: Point) -> bytes:
    """X ‖ Y, 32 bytes each, big-endian."""
    return point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def decode_point(encoded: bytes) -> Point:
    """The inverse of `encode_point`; it does not look whether the point is on the curve."""
    return int.from_bytes(encoded[:32], "big"), int.from_bytes(encoded[32:], "big")


def public_key(private: int) -> bytes:
    """The public point of a private scalar, X ‖ Y."""
    return encode_point(multiply(private, G))


def ecdh(private: int, public: bytes) -> bytes:
    """The X coordinate of private · public, 32 bytes, big-endian (SP 800-56A, 5.7.1.2)."""
    return multiply(private, decode_point(public))[0].to_bytes(32, "big")


def deterministic_nonce(private: int, digest: bytes) -> int:
    """k of RFC 6979, 3.2, for a SHA-256 digest; the first candidate below N, as step h demands."""
    seed = private.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    key, value = bytes(32), b"\x01" * 32
    for tag in (b"\x00", b"\x01"):
        key = hmac.digest(key, value + tag + seed, "sha256")
        value = hmac.digest(key, value, "sha256")
    while True:
        value = hmac.digest(key, value, "sha256")
        candidate = int.from_bytes(value, "big")
        if 1 <= candidate < N:
            return candidate
        key = hmac.digest(key, value + b"\x00", "sha256")
        value = hmac.digest(key, value, "sha256")


def sign(private: int, digest: bytes) -> bytes:
    """r ‖ s, 32 bytes each, big-endian, over a SHA-256 digest (FIPS 186-5, 6.4.1); s as it comes, low or high."""
    nonce = deterministic_nonce(private, digest)
    r = multiply(nonce, G)[0] % N
    s = pow(nonce, -1, N) * (int.from_bytes(digest, "big") + r * private) % N
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verifies(public: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether r ‖ s verifies over a SHA-256 digest (FIPS 186-5, 6.4.2), for a public key that is a point."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (1 <= r < N and 1 <= s < N):
        return False
    inverse = pow(s, -1, N)
    first, second = int.from_bytes(digest, "big") * inverse % N, r * inverse % N
    total = _add((*multiply(first, G), 1), (*multiply(second, decode_point(public)), 1))
    return bool(total[2]) and total[0] * pow(total[2], -2, P) % P % N == r


def with_low_s(signature: bytes) -> bytes:
    """The one of the two equally valid signatures (r, s) and (r, N − s) whose s is at most N / 2."""
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + min(s, N - s).to_bytes(32, "big")


def with_high_s(signature: bytes) -> bytes:
    """The other one, whose s is above N / 2."""
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + max(s, N - s).to_bytes(32, "big")


def subject_public_key_info(public: bytes) -> bytes:
    """DER SubjectPublicKeyInfo with named curve and uncompressed point (RFC 5480, 2)."""
    return bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + public


def der_signature(signature: bytes) -> bytes:
    """DER ECDSA-Sig-Value of r ‖ s (RFC 3279, 2.2.3)."""
    content = b""
    for half in (signature[:32], signature[32:]):
        value = int.from_bytes(half, "big")
        number = value.to_bytes(value.bit_length() // 8 + 1, "big")
        content += bytes((0x02, len(number))) + number
    return bytes((0x30, len(content))) + content


def key_id(public: bytes) -> bytes:
    """The first 8 bytes of SHA-256 over the SubjectPublicKeyInfo (package.md, section 1)."""
    return hashlib.sha256(subject_public_key_info(public)).digest()[:8]
