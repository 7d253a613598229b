"""One device's grant out of a file of any size: a few small reads, no server, no index beside the file."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from pki.values import PublicKey
from signer.grants.batch import GrantBatch
from signer.grants.file import GrantFile, padded
from signer.grants.rules import GrantInvalid, GrantRefused

_PLACE = struct.Struct("<I B 3x")


class Grant(msgspec.Struct, frozen=True):
    """A grant as a device takes it (docs/spec/grant.md, section 3)."""

    batch: GrantBatch
    raw_batch: bytes
    leaf: bytes
    index: int
    proof: tuple[bytes, ...]

    def encode(self) -> bytes:
        """320 bytes, and 32 for each hash of the proof."""
        return b"".join((self.raw_batch, self.leaf, _PLACE.pack(self.index, len(self.proof)), *self.proof))


def grant_of(path: Path, uid: bytes, grant_public_key: PublicKey | None = None) -> bytes:
    """What the device with this UID (4 to 16 bytes) takes. Raises as `find_grant`."""
    return find_grant(path, uid, grant_public_key).encode()


def find_grant(path: Path, uid: bytes, grant_public_key: PublicKey | None = None) -> Grant:
    """The grant of one device, its proof checked against the batch's root, the signature if the key is given.

    Raises GrantRefused GR-37 if the file has none for it, GrantInvalid GR-30 to GR-36, SignatureInvalid, InputRefused.
    """
    wanted = padded(uid)
    with GrantFile(path) as file:
        signed = file.signed_batch
        if grant_public_key is not None:
            signed.verify(grant_public_key)
        elif not signed.is_signed:
            raise GrantInvalid("GR-35", f"{path} is not signed yet: `strongroom grant sign` does that")
        index = file.index_of(wanted)
        if index is None:
            raise GrantRefused("GR-37", f"{path} has no grant for device {uid.hex()}")
        return Grant(signed.batch, signed.raw, file.leaf(index), index, file.proof(index))
