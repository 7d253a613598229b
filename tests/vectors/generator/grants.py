"""Grants and grant files from `docs/spec/grant.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from tests.vectors.generator import merkle, p256
from tests.vectors.generator.keys import TestKey
from tests.vectors.generator.objects import Kind
from tests.vectors.generator.package import Package, Value, laid_over, pack, wrap_pad_for
from tests.vectors.generator.primitives import context, derived_bytes, sha256, u32, xor

BATCH_SIZE_BYTES = 256
# Offsets within a grant as a device takes it.
LEAF_OFFSET, INDEX_OFFSET, PROOF_COUNT_OFFSET, PROOF_OFFSET = 256, 312, 316, 320

BATCH = Kind(
    "grant-batch",
    "SR-grant-v1",
    BATCH_SIZE_BYTES,
    (
        ("magic", 0, 4),
        ("format_version", 4, 2),
        ("suite", 6, 1),
        ("batch_id", 8, 16),
        ("product_id", 24, 16),
        ("head_hash", 40, 32),
        ("ephemeral_public_key", 72, 64),
        ("tree_size", 136, 4),
        ("root", 140, 32),
        ("signer_key_id", 172, 8),
    ),
)

Recipient = tuple[bytes, TestKey]  # UID padded to 16 bytes, agreement key


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch for some devices, in ascending order of their UIDs. `values` and `raw` override before signing."""

    name: str
    package: Package
    recipients: tuple[Recipient, ...]
    ephemeral: TestKey
    signer: TestKey
    values: Mapping[str, Value] = field(default_factory=dict)
    raw: tuple[tuple[int, bytes], ...] = ()
    sign_context: str = BATCH.sign_context

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """Section 1: 56 bytes for each device."""
        plan = self.package.plan
        parts = (plan.product_id, plan.salt, plan.cek, self.ephemeral)
        return tuple(_leaf(uid, agreement, *parts) for uid, agreement in self.recipients)

    @property
    def header(self) -> bytes:
        """Section 2: 256 bytes."""
        values: dict[str, Value] = {
            "magic": b"SRG1",
            "format_version": 1,
            "suite": 1,
            "batch_id": derived_bytes(f"Strongroom test batch {self.name}", 16),
            "product_id": self.package.plan.product_id,
            "head_hash": sha256(self.package.head),
            "ephemeral_public_key": self.ephemeral.public,
            "tree_size": len(self.recipients),
            "root": merkle.root_of(self.leaves),
            "signer_key_id": self.signer.key_id,
        }
        values |= dict(self.values)
        batch = bytes(BATCH_SIZE_BYTES)
        for name, offset, size_bytes in BATCH.fields:
            batch = laid_over(batch, offset, pack(values[name], size_bytes))
        for offset, patch in self.raw:
            batch = laid_over(batch, offset, patch)
        digest = sha256(context(self.sign_context), batch[: BATCH.signature_offset])
        return laid_over(batch, BATCH.signature_offset, p256.sign(self.signer.private, digest))

    def grant(self, uid: bytes) -> bytes:
        """Section 3: what the device with this UID takes."""
        index = [recipient for recipient, _ in self.recipients].index(uid)
        return joined(self.header, self.leaves[index], index, merkle.proof_of(index, self.leaves))

    @property
    def file(self) -> bytes:
        """Section 4: batch, leaves, levels without the root, trailer."""
        body = self.header + b"".join(self.leaves) + b"".join(map(b"".join, levels(self.leaves)))
        return body + sha256(body)


@cache
def _leaf(uid: bytes, agreement: TestKey, product_id: bytes, salt: bytes, cek: bytes, ephemeral: TestKey) -> bytes:
    pad = wrap_pad_for(product_id, salt, 3, uid, ephemeral, agreement.public)
    return uid + agreement.key_id + xor(cek, pad)


def joined(batch: bytes, leaf: bytes, index: int, proof: Sequence[bytes], proof_count: int | None = None) -> bytes:
    """A grant of these parts, whether they belong together or not."""
    count = len(proof) if proof_count is None else proof_count
    return batch + leaf + u32(index) + bytes((count, 0, 0, 0)) + b"".join(proof)


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Level 0 (leaf hashes) and each level above up to and without the root; a last odd hash is carried as it is."""
    level, found = [merkle.leaf_hash(leaf) for leaf in leaves], []
    while len(level) > 1:
        found.append(level)
        pairs = [merkle.node_hash(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return found
