"""Batches of grants for tests, written from docs/spec/grant.md and RFC 9162 alone; imports nothing of ours.

The tree is the RFC's recursive definition, to compare with the signer's levels and the device's walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.unit.reference.builders import PRODUCT_ID, padded, sha256, u8, u32, xor
from tests.unit.reference.fake.keys import FakeKey, fake_key

# offset, size of docs/spec/grant.md, sections 2 and 3: of the batch, then of the grant behind it
GRANT_FIELDS = {
    "magic": (0, 4),
    "format_version": (4, 2),
    "suite": (6, 1),
    "reserved_7": (7, 1),
    "batch_id": (8, 16),
    "product_id": (24, 16),
    "head_hash": (40, 32),
    "ephemeral_public_key": (72, 64),
    "tree_size": (136, 4),
    "root": (140, 32),
    "signer_key_id": (172, 8),
    "reserved_180": (180, 12),
    "signature": (192, 64),
    "leaf_uid": (256, 16),
    "recipient_key_id": (272, 8),
    "wrapped_cek": (280, 32),
    "index": (312, 4),
    "proof_count": (316, 1),
    "reserved_317": (317, 3),
}


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """A device that is to have a grant: `uid` in 16 bytes, and its agreement key."""

    uid: bytes
    agreement: FakeKey


@dataclass(frozen=True, kw_only=True)
class GrantPlan:
    """What a batch is made from. `recipients` in ascending order of their UIDs."""

    recipients: Sequence[Recipient]
    head_hash: bytes
    content_key: bytes
    image_salt: bytes
    product_id: bytes = PRODUCT_ID
    batch_id: bytes = b"fake batch of Nov"[:16]
    ephemeral: FakeKey = field(default_factory=lambda: fake_key("grant ephemeral"))
    signer: FakeKey = field(default_factory=lambda: fake_key("grant"))


def leaf_of(plan: GrantPlan, recipient: Recipient) -> bytes:
    private = ec.derive_private_key(int.from_bytes(plan.ephemeral.private, "big"), ec.SECP256R1())
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + recipient.agreement.public)
    info = padded("SR-wrap-v1") + plan.product_id + plan.image_salt + u8(3) + recipient.uid
    info += plan.ephemeral.public + recipient.agreement.public
    mask = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(private.exchange(ec.ECDH(), public))
    return recipient.uid + recipient.agreement.key_id + xor(plan.content_key, mask)


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1."""
    if len(leaves) == 1:
        return sha256(b"\0", leaves[0])
    split = largest_power_of_two_below(len(leaves))
    return sha256(b"\1", tree_hash(leaves[:split]), tree_hash(leaves[split:]))


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 9162, section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    split = largest_power_of_two_below(len(leaves))
    if index < split:
        return [*path(index, leaves[:split]), tree_hash(leaves[split:])]
    return [*path(index - split, leaves[split:]), tree_hash(leaves[:split])]


def largest_power_of_two_below(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split


def batch_of(plan: GrantPlan, changed: Mapping[str, bytes] | None = None) -> bytes:
    """The signed batch; `changed` fields are laid over it before it is signed (the signature, after)."""
    leaves = [leaf_of(plan, recipient) for recipient in plan.recipients]
    fields = {
        "magic": b"SRG1",
        "format_version": b"\1\0",
        "suite": u8(1),
        "batch_id": plan.batch_id,
        "product_id": plan.product_id,
        "head_hash": plan.head_hash,
        "ephemeral_public_key": plan.ephemeral.public,
        "tree_size": u32(len(leaves)),
        "root": tree_hash(leaves),
        "signer_key_id": plan.signer.key_id,
        **(changed or {}),
    }
    unsigned = with_grant_fields(bytes(256), fields)[:192]
    signature = plan.signer.sign(sha256(padded("SR-grant-v1"), unsigned))
    return with_grant_fields(unsigned + signature, {k: v for k, v in fields.items() if k == "signature"})


def grant_of(plan: GrantPlan, index: int, changed: Mapping[str, bytes] | None = None) -> bytes:
    """The grant of one recipient; `changed` fields of the batch are signed, those behind it are laid over."""
    ours = changed or {}
    behind = {name: value for name, value in ours.items() if GRANT_FIELDS[name][0] >= 256}
    leaves = [leaf_of(plan, recipient) for recipient in plan.recipients]
    proof = path(index, leaves)
    batch = batch_of(plan, {name: value for name, value in ours.items() if name not in behind})
    grant = batch + leaves[index] + u32(index) + u8(len(proof)) + bytes(3) + b"".join(proof)
    return with_grant_fields(grant, behind)


def with_grant_fields(grant: bytes, fields: Mapping[str, bytes]) -> bytes:
    """A copy of a grant (or batch) with some fields overwritten."""
    changed = bytearray(grant)
    for name, value in fields.items():
        offset, size = GRANT_FIELDS[name]
        if len(value) != size:
            raise ValueError(f"{name} has {size} bytes")
        changed[offset : offset + size] = value
    return bytes(changed)


def recipients_with(uid: bytes, agreement: FakeKey, count: int, index: int) -> tuple[Recipient, ...]:
    """`count` devices in ascending order of UIDs, this one at `index`."""
    number = int.from_bytes(uid, "big")
    return tuple(
        Recipient(
            uid=(number + step).to_bytes(16, "big"),
            agreement=agreement if step == 0 else fake_key(f"other device {step}"),
        )
        for step in range(-index, count - index)
    )
