"""Leaves: the content key under each device's own mask, and the hashes above them (docs/spec/grant.md, section 1).

This runs once for every device of a batch, in worker processes: what it costs is a figure of the project.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from signer.grants.layout import DEVICE_SIZE_BYTES, UID_SIZE_BYTES
from signer.grants.merkle import leaf_hash, next_level
from signer.grants.rules import GrantRefused
from signer.packages.layout import context

DEVICES_A_PART_LOG2 = 10
DEVICES_A_PART = 1 << DEVICES_A_PART_LOG2

_WRAP_CONTEXT = context("SR-wrap-v1")
_MODE_GRANT = b"\x03"
_KEY_SIZE_BYTES = 32
_KEY_ID_SIZE_BYTES = 8
_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # RFC 5480, up to and with 0x04
_UNCOMPRESSED = b"\x04"
_NO_SALT = bytes(hashlib.sha256().digest_size)
_FIRST_ROUND = b"\x01"


class Recipe(msgspec.Struct, frozen=True):
    """What all leaves of a batch are made with. The two secrets show in no repr.

    `ephemeral_private` is a scalar of 32 bytes, big-endian; `ephemeral_public_key` its point.
    """

    ephemeral_private: bytes
    ephemeral_public_key: bytes
    content_key: bytes
    product_id: bytes
    image_salt: bytes

    def __repr__(self) -> str:
        return f"Recipe(ephemeral_public_key={self.ephemeral_public_key.hex()}, …)"


class Part(msgspec.Struct, frozen=True):
    """The leaves of up to DEVICES_A_PART devices, and DEVICES_A_PART_LOG2 + 1 levels of hashes, the leaf hashes first.

    In the tree of the batch the hashes of level k stand from index (number of the part × DEVICES_A_PART) ÷ 2^k on.
    """

    leaves: bytes
    levels: tuple[bytes, ...]


LeafMaker = Callable[[bytes], Part]
"""Makes a part from the records of its devices. Raises GrantRefused GR-03."""


def leaf_maker(recipe: Recipe) -> LeafMaker:
    """The maker for one batch: everything that is the same for every device is done here, once."""
    from cryptography.hazmat.primitives.asymmetric import ec

    curve, ecdh = ec.SECP256R1(), ec.ECDH()
    private = ec.derive_private_key(int.from_bytes(recipe.ephemeral_private, "big"), curve)
    from_encoded_point = ec.EllipticCurvePublicKey.from_encoded_point
    exchange, hmac_digest, sha256 = private.exchange, hmac.digest, hashlib.sha256
    content_key = int.from_bytes(recipe.content_key, "big")
    before_uid = _WRAP_CONTEXT + recipe.product_id + recipe.image_salt + _MODE_GRANT
    ephemeral_public_key = recipe.ephemeral_public_key

    def leaf(uid: bytes, point: bytes) -> bytes:
        shared_secret = exchange(ecdh, from_encoded_point(curve, _UNCOMPRESSED + point))
        # RFC 5869 with an empty salt and 32 bytes of output: Expand has one round.
        pseudo_random_key = hmac_digest(_NO_SALT, shared_secret, "sha256")
        info = before_uid + uid + ephemeral_public_key + point
        mask = hmac_digest(pseudo_random_key, info + _FIRST_ROUND, "sha256")
        wrapped = (int.from_bytes(mask, "big") ^ content_key).to_bytes(_KEY_SIZE_BYTES, "big")
        return uid + sha256(_SPKI_PREFIX + point).digest()[:_KEY_ID_SIZE_BYTES] + wrapped

    def part(records: bytes) -> Part:
        leaves = []
        for start in range(0, len(records), DEVICE_SIZE_BYTES):
            middle = start + UID_SIZE_BYTES
            try:
                leaves.append(leaf(records[start:middle], records[middle : start + DEVICE_SIZE_BYTES]))
            except ValueError:
                uid = records[start:middle].hex()
                raise GrantRefused("GR-03", f"the public key of device {uid} is not a point of P-256") from None
        return Part(b"".join(leaves), _levels(b"".join(map(leaf_hash, leaves))))

    return part


def _levels(leaf_hashes: bytes) -> tuple[bytes, ...]:
    """The levels up to the one hash of the part; a part that is not full carries its hash up to the same height."""
    levels = [leaf_hashes]
    for _ in range(DEVICES_A_PART_LOG2):
        levels.append(next_level(levels[-1]))
    return tuple(levels)
