"""A batch of grants for people and programs."""

from __future__ import annotations

from typing import Any

from signer.grants.batch import GrantBatch


def batch_data(batch: GrantBatch) -> dict[str, Any]:
    """What a batch says, and the digest that its key signs."""
    return {
        "batch_id": batch.batch_id.hex(),
        "product_id": batch.product_id.hex(),
        "head_hash": batch.head_hash.hex(),
        "grants": batch.tree_size,
        "root": batch.root.hex(),
        "ephemeral_public_key": batch.ephemeral_public_key.hex(),
        "signer_key_id": batch.signer_key_id.hex(),
        "signed_digest": batch.digest.value.hex(),
    }


def batch_lines(batch: GrantBatch) -> list[str]:
    """The same, a line each."""
    return [
        f"batch     {batch.batch_id.hex()}",
        f"product   {batch.product_id.hex()}",
        f"package   {batch.head_hash.hex()} (SHA-256 of its head)",
        f"grants    {batch.tree_size:,}",
        f"root      {batch.root.hex()}",
        f"signer    {batch.signer_key_id.hex()}",
    ]
