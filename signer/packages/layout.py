"""Sizes, offsets and contexts of the package format, version 1 (docs/spec/package.md)."""

from __future__ import annotations

HEAD_SIZE_BYTES = 1024
SIGNED_SIZE_BYTES = 448
SIGNATURE_OFFSETS = (448, 512)
SIGNATURE_SIZE_BYTES = 64
CHUNK_SIZE_BYTES = 4096
LINK_SIZE_BYTES = 32
WIRE_CHUNK_SIZE_BYTES = CHUNK_SIZE_BYTES + LINK_SIZE_BYTES
TRAILER_SIZE_BYTES_MAX = 512
IMAGE_SIZE_BYTES_MAX = 64 * 1024 * 1024
SALT_SIZE_BYTES = 32
UID_SIZE_BYTES = 16


def context(name: str) -> bytes:
    """The 16 bytes that begin everything hashed for one purpose, so that no hash means two things."""
    encoded = name.encode("ascii")
    if not 0 < len(encoded) <= 16:
        raise ValueError(f"a context has 1 to 16 characters: {name!r}")
    return encoded.ljust(16, b"\0")


def chunk_count(image_size_bytes: int) -> int:
    """How many chunks carry an image."""
    return -(-image_size_bytes // CHUNK_SIZE_BYTES)


def payload_size_bytes(image_size_bytes: int) -> int:
    """The image (or its ciphertext, of the same size) and one link per chunk."""
    return image_size_bytes + LINK_SIZE_BYTES * chunk_count(image_size_bytes)
