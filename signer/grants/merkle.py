"""The tree over the leaves of a batch: RFC 9162, section 2.1, level by level. Pure.

Pairing neighbours and carrying up the last hash of an odd level gives the same tree as the recursive definition: every
split is at the largest power of two, so only the right edge has subtrees that are not whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from signer.grants.layout import HASH_SIZE_BYTES, level_sizes

_LEAF = b"\x00"
_NODE = b"\x01"
_PAIR_SIZE_BYTES = 2 * HASH_SIZE_BYTES


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(_LEAF + leaf).digest()


def next_level(level: bytes) -> bytes:
    """The level above: the hash of each pair, and the last hash as it is where the level is odd."""
    sha256 = hashlib.sha256
    whole = len(level) - len(level) % _PAIR_SIZE_BYTES
    pairs = range(0, whole, _PAIR_SIZE_BYTES)
    parents = [sha256(_NODE + level[start : start + _PAIR_SIZE_BYTES]).digest() for start in pairs]
    parents.append(level[whole:])
    return b"".join(parents)


def siblings(index: int, tree_size: int) -> Iterator[tuple[int, int]]:
    """(level, index) of each hash of the inclusion proof of a leaf, from the leaf to the root (section 2.1.3.1)."""
    for level, size in enumerate(level_sizes(tree_size)):
        sibling = index ^ 1
        if sibling < size:  # else the hash is carried up: nothing is hashed there
            yield level, sibling
        index >>= 1


def root_from(index: int, tree_size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that a leaf (its bytes) and its proof lead to; ValueError if the proof has another length."""
    found = leaf_hash(leaf)
    hashes = list(proof)
    for size in level_sizes(tree_size):
        if index ^ 1 < size:
            if not hashes:
                raise ValueError("the proof is too short")
            sibling = hashes.pop(0)
            pair = sibling + found if index & 1 else found + sibling
            found = hashlib.sha256(_NODE + pair).digest()
        index >>= 1
    if hashes:
        raise ValueError("the proof is too long")
    return found
