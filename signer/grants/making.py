"""Making a file of grants: leaves from all workers, levels above them, one signature, a trailer. Constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

import msgspec

from pki.errors import InputRefused
from pki.values import PublicKey, Signature
from signer.grants.batch import GrantBatch
from signer.grants.content_keys import require_committed
from signer.grants.devices import DeviceList
from signer.grants.grantable import GrantablePackage
from signer.grants.layout import HASH_SIZE_BYTES, GrantFileLayout
from signer.grants.leaves import DEVICES_A_PART, DEVICES_A_PART_LOG2, Part, Recipe
from signer.grants.merkle import next_level
from signer.grants.trailer import write_trailer
from signer.grants.workers import parts
from signer.new_file import NewFile
from signer.packages.encryption import RandomSource

_BLOCK_HASHES = 1 << 13  # even, so that every pair lies in one block
_RANDOM_SIZE_BYTES = 48
# Order of the group of P-256 (SP 800-186, section 3.2.1.3).
_GROUP_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

SignBatch = Callable[[GrantBatch], Signature | None]
"""Signs the one digest of a batch, or gives None for one that is only prepared; raises what the key raises."""

Progress = Callable[[int, int], None]
"""Called now and then with the devices done, and all of them."""


def not_signed(_: GrantBatch) -> None:
    """For a batch that is only prepared."""


def no_progress(_done: int, _total: int) -> None:
    """For callers who do not want to know."""


class EphemeralScalar:
    """The private half of a batch's ephemeral key pair, in this process. A context manager that overwrites it.

    That is best effort: libraries and worker processes hold copies as long as the batch is being made.
    """

    def __init__(self, random: RandomSource) -> None:
        """From 48 random bytes (FIPS 186-5, appendix A.2.1: extra random bits). Raises InputRefused for bad ones."""
        drawn = random(_RANDOM_SIZE_BYTES)
        if len(drawn) != _RANDOM_SIZE_BYTES or not any(drawn):
            raise InputRefused("the random generator returned too few bytes or only zeros; do not use this token")
        scalar = int.from_bytes(drawn, "big") % (_GROUP_ORDER - 1) + 1
        self.value = bytearray(scalar.to_bytes(32, "big"))
        self.public_key = _public_key(scalar)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.value[:] = bytes(len(self.value))


class GrantOrder(msgspec.Struct, frozen=True):
    """What a batch is to be: for which package, under which id, signed by which grant key."""

    package: GrantablePackage
    batch_id: bytes
    signer_key_id: bytes


def make_grants(
    order: GrantOrder,
    ephemeral: EphemeralScalar,
    content_key: bytes,
    devices: DeviceList,
    file: NewFile,
    sign: SignBatch,
    worker_count: int,
    progress: Progress = no_progress,
) -> GrantBatch:
    """Write the whole file of grants; publishing it is the caller's. The same inputs give the same tree on any cores.

    Raises GrantRefused GR-22 before any work if `content_key` is not what the package's head commits to; OutputError,
    and what `sign` raises.
    """
    package, layout = order.package, GrantFileLayout(devices.count)
    require_committed(package, content_key)
    recipe = Recipe(
        ephemeral_private=bytes(ephemeral.value),
        ephemeral_public_key=ephemeral.public_key.point,
        content_key=content_key,
        product_id=package.product_id,
        image_salt=package.image_salt,
    )
    made = parts(recipe, devices.blocks(DEVICES_A_PART), _useful(worker_count, devices.count))
    top = b""
    for number, part in enumerate(made):
        _write_part(file, layout, number * DEVICES_A_PART, part)
        top = part.levels[-1]
        progress(min((number + 1) * DEVICES_A_PART, devices.count), devices.count)
    batch = GrantBatch(
        batch_id=order.batch_id,
        product_id=package.product_id,
        head_hash=package.head_hash,
        ephemeral_public_key=ephemeral.public_key.point,
        tree_size=devices.count,
        root=_write_upper_levels(file, layout, top),
        signer_key_id=order.signer_key_id,
    )
    file.start_writing_out()
    file.write_at(0, batch.with_signature(sign(batch)))
    write_trailer(file, layout)
    return batch


def _useful(worker_count: int, device_count: int) -> int:
    """Starting a process costs as much as a part or two: small batches are made in this one."""
    return max(1, min(worker_count, device_count // (2 * DEVICES_A_PART)))


def _write_part(file: NewFile, layout: GrantFileLayout, first_index: int, part: Part) -> None:
    file.write_at(layout.leaf_offset(first_index), part.leaves)
    for level in range(min(len(part.levels), len(layout.levels))):
        file.write_at(layout.node_offset(level, first_index >> level), part.levels[level])


def _write_upper_levels(file: NewFile, layout: GrantFileLayout, top: bytes) -> bytes:
    """The levels above those of the parts, each read back from the file; returns the root.

    `top` is the hash of the last part: the root already, if there is only one part.
    """
    for level in range(DEVICES_A_PART_LOG2, len(layout.levels)):
        written = 0
        for block in _level_blocks(file, layout, level):
            top = next_level(block)
            if level + 1 < len(layout.levels):
                file.write_at(layout.node_offset(level + 1, written), top)
            written += len(top) // HASH_SIZE_BYTES
    return top


def _level_blocks(file: NewFile, layout: GrantFileLayout, level: int) -> Iterator[bytes]:
    size = layout.levels[level]
    for first in range(0, size, _BLOCK_HASHES):
        block = bytearray(HASH_SIZE_BYTES * min(_BLOCK_HASHES, size - first))
        file.read_at(layout.node_offset(level, first), [memoryview(block)])
        yield bytes(block)


def _public_key(scalar: int) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    numbers = ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()
    return PublicKey(numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"))
