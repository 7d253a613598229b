"""Merkle trees of RFC 9162, section 2.1, by its recursive definitions."""

from __future__ import annotations

from collections.abc import Sequence

from tests.vectors.generator.primitives import sha256


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256( 0x00 ‖ leaf )."""
    return sha256(b"\x00", leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256( 0x01 ‖ left ‖ right )."""
    return sha256(b"\x01", left, right)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """MTH, for one leaf or more (2.1.1)."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = _split(len(leaves))
    return node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


def proof_of(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """PATH(index, leaves), from the leaf up (2.1.3.1)."""
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*proof_of(index, leaves[:split]), root_of(leaves[split:]))
    return (*proof_of(index - split, leaves[split:]), root_of(leaves[:split]))


def _split(count: int) -> int:
    """The greatest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
