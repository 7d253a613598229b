"""Sizes and places in a file of grants, format version 1 (docs/spec/grant.md): pure."""

from __future__ import annotations

import msgspec

BATCH_SIZE_BYTES = 256
SIGNED_SIZE_BYTES = 192
SIGNATURE_SIZE_BYTES = 64
UID_SIZE_BYTES = 16
POINT_SIZE_BYTES = 64
DEVICE_SIZE_BYTES = UID_SIZE_BYTES + POINT_SIZE_BYTES
"""A device as the makers of leaves get it: its UID, padded, and its agreement key X ‖ Y."""
LEAF_SIZE_BYTES = 56
HASH_SIZE_BYTES = 32
TRAILER_SIZE_BYTES = 32
TREE_SIZE_MAX = 1 << 31


def level_sizes(tree_size: int) -> tuple[int, ...]:
    """How many hashes each stored level has: ⌈n ÷ 2^k⌉ as long as there is more than one; the root is not stored."""
    sizes = []
    while tree_size > 1:
        sizes.append(tree_size)
        tree_size = (tree_size + 1) // 2
    return tuple(sizes)


class GrantFileLayout(msgspec.Struct, frozen=True):
    """Where the parts of a file with `tree_size` grants stand, in bytes from its start."""

    tree_size: int

    @property
    def levels(self) -> tuple[int, ...]:
        """The sizes of the stored levels, from the leaf hashes up."""
        return level_sizes(self.tree_size)

    def leaf_offset(self, index: int) -> int:
        """Where leaf `index` begins."""
        return BATCH_SIZE_BYTES + LEAF_SIZE_BYTES * index

    def node_offset(self, level: int, index: int) -> int:
        """Where a hash of a stored level begins."""
        below = sum(self.levels[:level])
        return self.leaf_offset(self.tree_size) + HASH_SIZE_BYTES * (below + index)

    @property
    def trailer_offset(self) -> int:
        """Where the digest over all before it begins."""
        return self.node_offset(len(self.levels), 0)

    @property
    def size_bytes(self) -> int:
        """The size of the whole file."""
        return self.trailer_offset + TRAILER_SIZE_BYTES
