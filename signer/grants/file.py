"""A file of grants, open for reading: one grant by look-up, or everything verified. Constant memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from pki.errors import InputRefused
from signer.grants.batch import SignedBatch, parse_batch
from signer.grants.layout import (
    BATCH_SIZE_BYTES,
    HASH_SIZE_BYTES,
    LEAF_SIZE_BYTES,
    TRAILER_SIZE_BYTES,
    UID_SIZE_BYTES,
    GrantFileLayout,
)
from signer.grants.merkle import leaf_hash, next_level, root_from, siblings
from signer.grants.rules import GrantInvalid, GrantRefused

_BLOCK_SIZE_BYTES = 1 << 20
_BLOCK_ENTRIES = 1 << 13  # even, so that every pair of hashes lies in one block

Advance = Callable[[int], None]
"""Told the number of bytes just worked through."""


class GrantFile:
    """A file of grants with a well-formed batch and the size that follows from it. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises InputRefused if it cannot be read, GrantInvalid GR-30, GR-31."""
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InputRefused(f"cannot read {path}: {error.strerror}") from None
        try:
            self.signed_batch = self._read_batch()
            self.layout = GrantFileLayout(self.signed_batch.batch.tree_size)
            self._require_size()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _read_batch(self) -> SignedBatch:
        try:
            return parse_batch(os.pread(self._descriptor, BATCH_SIZE_BYTES, 0))
        except OSError as error:
            raise InputRefused(f"cannot read {self.path}: {error.strerror}") from None

    def _require_size(self) -> None:
        found, expected = os.fstat(self._descriptor).st_size, self.layout.size_bytes
        if found != expected:
            raise GrantInvalid(
                "GR-31", f"{self.path}: {self.layout.tree_size:,} grants have {expected:,} bytes, the file {found:,}"
            )

    def leaf(self, index: int) -> bytes:
        """The 56 bytes of a leaf."""
        return self.read(self.layout.leaf_offset(index), LEAF_SIZE_BYTES)

    def node(self, level: int, index: int) -> bytes:
        """A hash of a stored level."""
        return self.read(self.layout.node_offset(level, index), HASH_SIZE_BYTES)

    def index_of(self, uid: bytes) -> int | None:
        """The place of the leaf for this UID (16 bytes), by binary search; None if there is none."""
        low, high = 0, self.layout.tree_size
        while low < high:
            middle = (low + high) // 2
            found = self.read(self.layout.leaf_offset(middle), UID_SIZE_BYTES)
            if found == uid:
                return middle
            if found < uid:
                low = middle + 1
            else:
                high = middle
        return None

    def proof(self, index: int) -> tuple[bytes, ...]:
        """The inclusion proof of a leaf, out of the levels; raises GrantInvalid GR-33 if it misses the root."""
        hashes = tuple(self.node(level, sibling) for level, sibling in siblings(index, self.layout.tree_size))
        batch = self.signed_batch.batch
        if root_from(index, batch.tree_size, self.leaf(index), hashes) != batch.root:
            raise GrantInvalid("GR-33", f"{self.path}: leaf {index} does not lead to the batch's root; it was changed")
        return hashes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """So many bytes from `offset` on; raises InputRefused when they are not there (any more)."""
        try:
            data = os.pread(self._descriptor, size_bytes, offset)
        except OSError as error:
            raise InputRefused(f"cannot read {self.path}: {error.strerror}") from None
        if len(data) != size_bytes:
            raise InputRefused(f"{self.path} became shorter while it was read")
        return data

    # --- all of it ---

    def require_whole(self, advance: Advance = lambda _: None) -> None:
        """The trailer, the order of the leaves, every level up to the root. Signature apart. Raises GrantInvalid.

        Advances by the file's size, once and a half.
        """
        self._require_trailer(advance)
        self._require_leaves(advance)
        self._require_levels(advance)

    def _require_trailer(self, advance: Advance) -> None:
        state = hashlib.sha256()
        for block in self._blocks(0, self.layout.trailer_offset, _BLOCK_SIZE_BYTES):
            state.update(block)
            advance(len(block))
        if state.digest() != self.read(self.layout.trailer_offset, TRAILER_SIZE_BYTES):
            raise GrantInvalid("GR-32", f"{self.path}: the digest at its end is not the file's; it was changed")

    def _require_leaves(self, advance: Advance) -> None:
        """Ascending, and their hashes are level 0, or the root if there is one only."""
        previous, first, size = b"", 0, self.layout.tree_size
        start = self.layout.leaf_offset(0)
        for block in self._blocks(start, self.layout.leaf_offset(size), LEAF_SIZE_BYTES * _BLOCK_ENTRIES):
            leaves = [block[at : at + LEAF_SIZE_BYTES] for at in range(0, len(block), LEAF_SIZE_BYTES)]
            for index, leaf in enumerate(leaves, first):
                if leaf[:UID_SIZE_BYTES] <= previous:
                    raise GrantInvalid("GR-34", f"{self.path}: leaf {index} does not follow the one before it")
                previous = leaf[:UID_SIZE_BYTES]
            self._require_hashes(0, first, b"".join(map(leaf_hash, leaves)))
            first += len(leaves)
            advance(len(block) // 2)

    def _require_levels(self, advance: Advance) -> None:
        for level, size in enumerate(self.layout.levels):
            first = 0
            start, end = self.layout.node_offset(level, 0), self.layout.node_offset(level, size)
            for block in self._blocks(start, end, HASH_SIZE_BYTES * _BLOCK_ENTRIES):
                above = next_level(block)
                self._require_hashes(level + 1, first, above)
                first += len(above) // HASH_SIZE_BYTES
                advance(len(block) // 2)

    def _require_hashes(self, level: int, first_index: int, computed: bytes) -> None:
        if level < len(self.layout.levels):
            stored = self.read(self.layout.node_offset(level, first_index), len(computed))
        else:
            stored = self.signed_batch.batch.root
        if stored != computed:
            raise GrantInvalid("GR-33", f"{self.path}: level {level} does not follow from what is below it")

    def _blocks(self, start: int, end: int, size_bytes: int) -> Iterator[bytes]:
        for offset in range(start, end, size_bytes):
            yield self.read(offset, min(size_bytes, end - offset))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def padded(uid: bytes) -> bytes:
    """A UID of 4 to 16 bytes as leaves have it. Raises GrantRefused GR-02, GR-04."""
    if not 4 <= len(uid) <= UID_SIZE_BYTES:
        raise GrantRefused("GR-02", f"a UID has 4 to {UID_SIZE_BYTES} bytes, not {len(uid)}")
    if not any(uid):
        raise GrantRefused("GR-04", "the UID is zero")
    return uid.ljust(UID_SIZE_BYTES, b"\0")
