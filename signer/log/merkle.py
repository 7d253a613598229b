"""The Merkle tree of RFC 6962, section 2.1: roots and proofs, computed from hashes of whole subtrees.

A subtree is named by (level, index): the 2^level entries from index * 2^level on. Where their hashes come from
(tiles, a list) is the caller's; everything here is pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

SubtreeHash = Callable[[int, int], bytes]
"""Gives the hash of the whole subtree (level, index)."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
TREE_SIZE_MAX = 1 << 48
_NODE = b"\x01"


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over its two children."""
    return hashlib.sha256(_NODE + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the hashes of its largest whole subtrees, from left to right."""

    __slots__ = ("_whole", "size")

    def __init__(self, size: int = 0, whole: Sequence[bytes] = ()) -> None:
        if len(whole) != size.bit_count():
            raise ValueError(f"a tree of {size} entries has {size.bit_count()} whole subtrees, not {len(whole)}")
        self.size = size
        self._whole = list(whole)

    def add(self, leaf: bytes) -> None:
        """Grow by one entry, given its leaf hash."""
        rest = self.size
        while rest & 1:
            leaf = node_hash(self._whole.pop(), leaf)
            rest >>= 1
        self._whole.append(leaf)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root hash of the tree so far."""
        return root_of_subtrees(self._whole)


def root_of_subtrees(whole: Sequence[bytes]) -> bytes:
    """The root over the largest whole subtrees of a tree, from left to right."""
    if not whole:
        return EMPTY_ROOT
    root = whole[-1]
    for left in reversed(whole[:-1]):
        root = node_hash(left, root)
    return root


def whole_subtrees(size: int) -> list[tuple[int, int]]:
    """The largest whole subtrees that a tree of `size` entries consists of, from left to right."""
    found, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


def whole_parts(hashes: Sequence[bytes]) -> list[bytes]:
    """A row of hashes of equal subtrees, put together to the largest whole subtrees, from left to right."""
    return [root_of(hashes[index << level : (index + 1) << level]) for level, index in whole_subtrees(len(hashes))]


def frontier_at(size: int, subtree: SubtreeHash) -> Frontier:
    """The right edge of the tree of the first `size` entries."""
    return Frontier(size, [subtree(level, index) for level, index in whole_subtrees(size)])


def root_at(size: int, subtree: SubtreeHash) -> bytes:
    """The root hash of the tree of the first `size` entries."""
    return frontier_at(size, subtree).root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root hash over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.add(leaf)
    return frontier.root


def inclusion_proof(index: int, size: int, subtree: SubtreeHash) -> tuple[bytes, ...]:
    """PATH(index, D[size]) of section 2.1.1: the hashes from the leaf to the root."""
    if not 0 <= index < size:
        raise ValueError(f"entry {index} is not in a tree of {size}")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_hash(middle, high, subtree))
            high = middle
        else:
            path.append(_range_hash(low, middle, subtree))
            low = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, subtree: SubtreeHash) -> tuple[bytes, ...]:
    """PROOF(old, D[new]) of section 2.1.2; empty for old = 0 and old = new."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not extend one of {old}")
    if old in {0, new}:
        return ()
    path: list[bytes] = []
    low, high, is_old_root = 0, new, True
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range_hash(middle, high, subtree))
            high = middle
        else:
            path.append(_range_hash(low, middle, subtree))
            low, is_old_root = middle, False
    if not is_old_root:
        path.append(_range_hash(low, high, subtree))
    return tuple(reversed(path))


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2); ValueError if it has another length."""
    if not 0 <= index < size:
        raise ValueError(f"entry {index} is not in a tree of {size}")
    last, root = size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if index & 1 or index == last:
            root = node_hash(sibling, root)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        index >>= 1
        last >>= 1
    if last:
        raise ValueError("the proof is too short")
    return root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `new` entries begins with the one of `old` (RFC 9162, 2.1.4.2)."""
    if old > new or (old in {0, new} and proof):
        return False
    if old in {0, new}:
        return old_root == (EMPTY_ROOT if old == 0 else new_root)
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    if not hashes:
        return False
    index, last = old - 1, new - 1
    while index & 1:
        index >>= 1
        last >>= 1
    old_found = new_found = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            new_found = node_hash(new_found, sibling)
        index >>= 1
        last >>= 1
    return last == 0 and (old_found, new_found) == (old_root, new_root)


def subtree_from_leaves(leaves: Sequence[bytes]) -> SubtreeHash:
    """Subtree hashes out of a list of all leaf hashes."""
    return lambda level, index: root_of(leaves[index << level : (index + 1) << level])


def _split(count: int) -> int:
    """The largest power of two below `count` (count > 1)."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(low: int, high: int, subtree: SubtreeHash) -> bytes:
    """The hash over the entries from `low` to before `high`, of which `low` is a multiple of their next power of 2."""
    start, whole = low, []
    for level in reversed(range((high - low).bit_length())):
        if (high - low) >> level & 1:
            whole.append(subtree(level, start >> level))
            start += 1 << level
    return root_of_subtrees(whole)
