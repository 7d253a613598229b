"""A grant: the right of this one device, and its content key, to install one package (docs/spec/grant.md, section 3).

The device puts its own UID into the leaf and asks whether the tree that was signed has such a leaf: there is no
comparison of UIDs to glitch.
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from struct import Struct

from bootloader.reference.codes import DeviceCode, Refused, require
from bootloader.reference.crypto import context, key_id, public_point, require_point, sha256
from bootloader.reference.records import Device, DeviceKeys, Lifecycle, PendingGrant
from bootloader.reference.signed_object import ObjectKind, require_field, require_format, require_signer, require_zero
from bootloader.reference.sizes import UID_SIZE_BYTES
from bootloader.reference.trust_bundle import Role, TrustBundle

BATCH = ObjectKind("batch of grants", b"SRG1", context("SR-grant-v1"), 256)
LEAF_SIZE_BYTES = 56
HASH_SIZE_BYTES = 32
PROOF_COUNT_MAX = 31
TREE_SIZE_MAX = 1 << 31

_LEAF_PREFIX = b"\x00"
_NODE_PREFIX = b"\x01"
_ERASED_ID = b"\xff" * 16  # no payload of the journal begins with a slot that reads erased

# magic, version, suite (of `require_format`), reserved, batch_id product_id head_hash ephemeral tree_size root signer,
# reserved; then the leaf: uid recipient_key_id wrapped_cek; then index, proof_count, reserved
_LAYOUT = Struct("<7s 1s 16s 16s 32s 64s I 32s 8s 12s 64s 16s 8s 32s I B 3s")
_FIXED_SIZE_BYTES = 320


@dataclass(frozen=True, slots=True)
class Grant:
    """A well-formed grant, no more. `raw_batch` is what is signed; the leaf's `uid` is not kept: nobody here asks."""

    raw_batch: bytes
    batch_id: bytes
    product_id: bytes
    head_hash: bytes
    ephemeral_public_key: bytes
    tree_size: int
    root: bytes
    signer_key_id: bytes
    recipient_key_id: bytes
    wrapped_cek: bytes
    index: int
    proof: tuple[bytes, ...]

    @property
    def pending(self) -> PendingGrant:
        """What the journal keeps of it."""
        return PendingGrant(self.batch_id, self.head_hash, self.ephemeral_public_key, self.wrapped_cek)


def parse_grant(data: bytes) -> Grant:
    """Check 1; raises Refused(OBJECT_SIZE, OBJECT_MAGIC, OBJECT_FORMAT, OBJECT_RESERVED or OBJECT_FIELD)."""
    _require_size(data)
    require_format(BATCH, data)
    wire = _LAYOUT.unpack_from(data)
    _, reserved_7, batch_id, product_id, head_hash, ephemeral, tree_size, root, signer_key_id = wire[:9]
    reserved_180, _, _, recipient_key_id, wrapped_cek, index, proof_count, reserved_317 = wire[9:]
    require_zero((reserved_7, reserved_180, reserved_317))

    require_field(any(batch_id) and batch_id != _ERASED_ID, "batch_id is zero, or reads like erased flash")
    require_field(any(product_id), "product_id is zero")
    require_field(1 <= tree_size <= TREE_SIZE_MAX, f"tree_size is {tree_size}")
    require_field(any(signer_key_id), "signer_key_id is zero")
    require_field(index < tree_size, f"index {index} is not in a tree of {tree_size}")
    demanded = len(_sides(index, tree_size))
    require_field(proof_count == demanded, f"the proof has {proof_count} hashes, not {demanded}")
    starts = range(_FIXED_SIZE_BYTES, len(data), HASH_SIZE_BYTES)
    return Grant(
        raw_batch=data[: BATCH.size_bytes],
        batch_id=batch_id,
        product_id=product_id,
        head_hash=head_hash,
        ephemeral_public_key=ephemeral,
        tree_size=tree_size,
        root=root,
        signer_key_id=signer_key_id,
        recipient_key_id=recipient_key_id,
        wrapped_cek=wrapped_cek,
        index=index,
        proof=tuple(data[start : start + HASH_SIZE_BYTES] for start in starts),
    )


def verify_grant_signer(grant: Grant, bundle: TrustBundle) -> None:
    """Check 2; raises Refused(SIGNER_REVOKED, SIGNER_UNKNOWN or SIGNATURE_INVALID)."""
    digest, signature = BATCH.digest(grant.raw_batch), BATCH.signature(grant.raw_batch)
    require_signer(bundle, Role.GRANT, grant.signer_key_id, digest, signature)


def require_own_leaf(grant: Grant, device_uid: bytes) -> None:
    """Check 3: the tree has this leaf with the device's own UID, 16 bytes; raises Refused(GRANT_PROOF)."""
    if len(device_uid) != UID_SIZE_BYTES:
        raise ValueError("a device UID is padded to 16 bytes")
    found = sha256(_LEAF_PREFIX, device_uid, grant.recipient_key_id, grant.wrapped_cek)
    for sibling, is_left in zip(grant.proof, _sides(grant.index, grant.tree_size), strict=True):
        found = sha256(_NODE_PREFIX, sibling, found) if is_left else sha256(_NODE_PREFIX, found, sibling)
    proved = compare_digest(found, grant.root)
    require(proved, DeviceCode.GRANT_PROOF, "the grant is not in the tree that was signed, or is another device's")


def require_acceptable(grant: Grant, device: Device, keys: DeviceKeys | None) -> None:
    """Check 4; raises Refused(WRONG_PRODUCT, LIFECYCLE, RECIPIENT_UNKNOWN or EPHEMERAL_KEY), in this order."""
    same = grant.product_id == device.product_id
    require(same, DeviceCode.WRONG_PRODUCT, f"for product {grant.product_id.hex()}")
    operational = device.lifecycle == Lifecycle.OPERATIONAL
    require(operational, DeviceCode.LIFECYCLE, "grants are for operational devices")
    known = keys is not None and key_id(public_point(keys.agreement_private)) == grant.recipient_key_id
    if not known:
        raise Refused(DeviceCode.RECIPIENT_UNKNOWN, f"made for the key {grant.recipient_key_id.hex()}")
    detail = "the ephemeral key is not a point of the curve"
    require_point(grant.ephemeral_public_key, DeviceCode.EPHEMERAL_KEY, detail)


def _require_size(data: bytes) -> None:
    proof_count = data[_FIXED_SIZE_BYTES - 4] if len(data) >= _FIXED_SIZE_BYTES else 0
    demanded = _FIXED_SIZE_BYTES + HASH_SIZE_BYTES * proof_count
    right = len(data) == demanded and proof_count <= PROOF_COUNT_MAX
    require(right, DeviceCode.OBJECT_SIZE, f"a grant of {len(data):,} bytes for a proof of {proof_count} hashes")


def _sides(index: int, tree_size: int) -> tuple[bool, ...]:
    """For each hash of the proof of a leaf, from the leaf up: whether it stands on the left (RFC 9162, 2.1.3.2)."""
    sides = []
    last = tree_size - 1
    while last:
        if index & 1:
            sides.append(True)
        elif index < last:
            sides.append(False)
        # else the node has nobody beside it, and goes up as it is
        index >>= 1
        last >>= 1
    return tuple(sides)
