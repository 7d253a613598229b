"""The symmetric half: contexts, salted hashes, HKDF from HMAC; AES-256-CTR and AES key wrap from the bare cipher."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def sha256(*parts: bytes) -> bytes:
    """SHA-256 over the parts, joined."""
    return hashlib.sha256(b"".join(parts)).digest()


def context(name: str) -> bytes:
    """ASCII, padded with 0x00 to exactly 16 bytes."""
    encoded = name.encode("ascii")
    if len(encoded) > 16:
        raise ValueError(f"context too long: {name}")
    return encoded + bytes(16 - len(encoded))


def u16(value: int) -> bytes:
    """Unsigned, 2 bytes, little-endian."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Unsigned, 4 bytes, little-endian."""
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Unsigned, 8 bytes, little-endian."""
    return value.to_bytes(8, "little")


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """HMAC with SHA-256 (RFC 2104)."""
    return hmac.digest(key, text, "sha256")


def hkdf_sha256(key_material: bytes, info: bytes, size_bytes: int) -> bytes:
    """RFC 5869 with the empty salt, that is HashLen zero bytes (2.2), for at most 255 × 32 bytes."""
    pseudo_random_key = hmac.digest(bytes(32), key_material, "sha256")
    output, block = b"", b""
    for counter in range(1, -(-size_bytes // 32) + 1):
        block = hmac.digest(pseudo_random_key, block + info + bytes((counter,)), "sha256")
        output += block
    return output[:size_bytes]


def aes256_ctr(key: bytes, text: bytes) -> bytes:
    """AES-256 in counter mode (SP 800-38A, 6.5): block j is XORed with AES(key, j as 128 bits, big-endian)."""
    block_count = -(-len(text) // 16)
    counters = b"".join(block.to_bytes(16, "big") for block in range(block_count))
    block_cipher = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - CTR is built here
    return xor(text, block_cipher.update(counters)[: len(text)])


def aes_key_wrap(wrapping_key: bytes, text: bytes) -> bytes:
    """RFC 3394, 2.2.1, by indexing, for n ≥ 2 blocks of 8 bytes; the result is 8 bytes longer."""
    if len(text) < 16 or len(text) % 8:
        raise ValueError("RFC 3394 wraps two or more blocks of 8 bytes")
    block_cipher = Cipher(algorithms.AES256(wrapping_key), modes.ECB()).encryptor()  # noqa: S305 - the wrap is built here
    check, blocks = b"\xa6" * 8, [text[at : at + 8] for at in range(0, len(text), 8)]
    for step in range(6 * len(blocks)):
        at = step % len(blocks)
        block = block_cipher.update(check + blocks[at])
        check, blocks[at] = xor(block[:8], (step + 1).to_bytes(8, "big")), block[8:]
    return check + b"".join(blocks)


def xor(left: bytes, right: bytes) -> bytes:
    """Bytewise XOR of two strings of equal length."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def derived_bytes(label: str, size_bytes: int) -> bytes:
    """Fixed bytes that look random, told apart by their label: SHA-256( label ‖ u32 0 ), SHA-256( label ‖ u32 1 ) …."""
    blocks = (sha256(label.encode(), u32(index)) for index in range(-(-size_bytes // 32)))
    return b"".join(blocks)[:size_bytes]
