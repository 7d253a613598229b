"""Whether an older tree head is a beginning of a newer one, by a consistency proof out of the tiles."""

from __future__ import annotations

from pathlib import Path

from signer.log.checkpoint import TreeHead
from signer.log.merkle import consistency_proof, is_consistent
from signer.log.tiles import TileReader


def is_beginning(folder: Path, old: TreeHead, new: TreeHead) -> bool:
    """Whether the log whose tiles are in `folder`, and whose head is `new`, began as `old`. Raises AuditError.

    The tiles are not trusted: the proof made of them is verified against both roots.
    """
    if old.origin != new.origin or old.size > new.size:
        return False
    proof = consistency_proof(old.size, new.size, TileReader(folder, new.size).subtree)
    return is_consistent(old.size, old.root, new.size, new.root, proof)
