"""The batch: what one signature of a grant key covers (docs/spec/grant.md, section 2)."""

from __future__ import annotations

import struct

import msgspec

from pki.values import Digest, PublicKey, Signature
from signer.grants.layout import BATCH_SIZE_BYTES, SIGNATURE_SIZE_BYTES, SIGNED_SIZE_BYTES, TREE_SIZE_MAX
from signer.grants.rules import GrantInvalid
from signer.packages.layout import context
from signer.signing_key import verify_signature

BATCH_MAGIC = b"SRG1"
FORMAT_VERSION = 1
SUITE = 1

_CONTEXT = context("SR-grant-v1")
_FIELDS = struct.Struct("<4s H B x 16s 16s 32s 64s I 32s 8s 12x")
_ERASED_ID = b"\xff" * 16
_NO_SIGNATURE = bytes(SIGNATURE_SIZE_BYTES)


class GrantBatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch says: fields as the specification names them. Raises GrantInvalid GR-30 for what it forbids."""

    batch_id: bytes
    product_id: bytes
    head_hash: bytes
    ephemeral_public_key: bytes
    tree_size: int
    root: bytes
    signer_key_id: bytes

    def __post_init__(self) -> None:
        sizes = (16, 16, 32, 64, 32, 8)
        values = (
            self.batch_id, self.product_id, self.head_hash, self.ephemeral_public_key, self.root, self.signer_key_id,
        )  # fmt: skip
        if tuple(map(len, values)) != sizes:
            raise GrantInvalid("GR-30", "a field of the batch has the wrong size")
        for name, value in (
            ("batch_id", self.batch_id),
            ("product_id", self.product_id),
            ("signer_key_id", self.signer_key_id),
        ):
            if not any(value):
                raise GrantInvalid("GR-30", f"{name} is zero")
        if self.batch_id == _ERASED_ID:
            raise GrantInvalid("GR-30", "batch_id reads like erased flash")
        if not 1 <= self.tree_size <= TREE_SIZE_MAX:
            raise GrantInvalid("GR-30", f"tree_size is {self.tree_size}, not 1 to 2^31")

    def encode_unsigned(self) -> bytes:
        """The 192 bytes that are signed."""
        return _FIELDS.pack(
            BATCH_MAGIC, FORMAT_VERSION, SUITE, self.batch_id, self.product_id, self.head_hash,
            self.ephemeral_public_key, self.tree_size, self.root, self.signer_key_id,
        )  # fmt: skip

    @property
    def digest(self) -> Digest:
        """What the grant key signs."""
        return Digest.of(_CONTEXT, self.encode_unsigned())

    def with_signature(self, signature: Signature | None) -> bytes:
        """The 256 bytes; without a signature it is zero, and every device refuses it."""
        return self.encode_unsigned() + (_NO_SIGNATURE if signature is None else signature.value)


class SignedBatch(msgspec.Struct, frozen=True):
    """A well-formed batch with its signature, which nobody has verified."""

    batch: GrantBatch
    signature: Signature

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature at all."""
        return self.signature.value != _NO_SIGNATURE

    @property
    def raw(self) -> bytes:
        """The 256 bytes."""
        return self.batch.with_signature(self.signature)

    def verify(self, grant_key: PublicKey) -> None:
        """Raises GrantInvalid GR-35 without a signature, GR-36 for another key; SignatureInvalid."""
        if not self.is_signed:
            raise GrantInvalid("GR-35", "the batch is not signed yet: `strongroom grant sign` does that")
        if grant_key.key_id != self.batch.signer_key_id:
            raise GrantInvalid(
                "GR-36", f"the batch names key {self.batch.signer_key_id.hex()}, not {grant_key.key_id.hex()}"
            )
        verify_signature(grant_key, self.batch.digest, self.signature)


def parse_batch(data: bytes) -> SignedBatch:
    """A batch from its 256 bytes, strictly: the bytes that it encodes to are the bytes given. Raises GrantInvalid."""
    if len(data) != BATCH_SIZE_BYTES:
        raise GrantInvalid("GR-30", f"a batch has {BATCH_SIZE_BYTES} bytes, not {len(data)}")
    magic, version, suite, *fields = _FIELDS.unpack_from(data)
    if magic != BATCH_MAGIC:
        raise GrantInvalid("GR-30", "a file of grants begins with SRG1")
    if (version, suite) != (FORMAT_VERSION, SUITE):
        raise GrantInvalid("GR-30", f"format version {version} with suite {suite} is not known")
    batch_id, product_id, head_hash, ephemeral, tree_size, root, signer_key_id = fields
    batch = GrantBatch(
        batch_id=batch_id,
        product_id=product_id,
        head_hash=head_hash,
        ephemeral_public_key=ephemeral,
        tree_size=tree_size,
        root=root,
        signer_key_id=signer_key_id,
    )
    if batch.encode_unsigned() != data[:SIGNED_SIZE_BYTES]:
        raise GrantInvalid("GR-30", "a reserved byte of the batch is not zero")
    return SignedBatch(batch, Signature(data[SIGNED_SIZE_BYTES:]))
