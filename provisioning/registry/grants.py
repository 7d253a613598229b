"""Batches of grants: which device was granted which package, of any number of devices, in constant memory.

Rules RG-26 to RG-29. The file itself is verified by signer/grants (GR-…).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from pki.errors import StrongroomError
from provisioning.registry import tables
from provisioning.registry.database import Database
from provisioning.registry.errors import NotAuthentic, refused
from provisioning.registry.imports import record_import
from provisioning.registry.orders import uuid_text
from provisioning.registry.rows import QUERY_VALUES_MAX, next_id
from provisioning.registry.trust import Trust
from signer.grants.batch import SignedBatch
from signer.grants.file import GrantFile
from signer.grants.layout import LEAF_SIZE_BYTES, UID_SIZE_BYTES
from signer.grants.merkle import leaf_hash, next_level
from signer.store.stored_times import time_to_text

_KEY_ID_END = UID_SIZE_BYTES + 8

Advance = Callable[[int], None]
"""Told how many devices were worked through so far."""


@dataclass(frozen=True, slots=True)
class GrantsTaken:
    """`is_new` is False for a batch that was taken before: then nothing was changed."""

    batch_id: bytes
    device_count: int
    is_new: bool


def take_grants(
    database: Database, file: GrantFile, trust: Trust, now: datetime, who: str, advance: Advance = lambda _: None
) -> GrantsTaken:
    """Verify a file of grants and record its batch and its devices, all or nothing.

    Raises NotAuthentic RG-26 for a signer that is no grant key; PolicyViolation RG-27 for a device that the registry
    does not know, RG-28 for a grant under a key that is not that device's, RG-29 for another batch of a known id; GR-….
    """
    signed = file.signed_batch
    _require_signed(signed, trust)
    batch, at = signed.batch, time_to_text(now)
    with database.writing() as connection:
        column = tables.grant_batches.c
        known = connection.execute(select(column.signed).where(column.batch_id == batch.batch_id.hex())).scalar()
        if known is not None:
            if bytes(known) != signed.raw:
                raise refused("RG-29", f"another batch is recorded under the id {batch.batch_id.hex()}")
            return GrantsTaken(batch.batch_id, batch.tree_size, is_new=False)
        number = next_id(connection, tables.grant_batches)
        connection.execute(tables.grant_batches.insert(), _batch_row(number, signed, at))
        root = _RootOf()
        for first, leaves in _blocks(file):
            root.add(leaves)
            _insert(connection, number, uuid_text(batch.product_id), first, leaves)
            advance(first + len(leaves))
        if root.value() != batch.root:
            raise NotAuthentic("RG-26", f"{file.path}: its leaves are not those that the batch was signed over")
        record_import(connection, "grants", signed.batch.digest.value, at, who, batch.tree_size)
    return GrantsTaken(batch.batch_id, batch.tree_size, is_new=True)


class _RootOf:
    """The root of a Merkle tree (RFC 9162, section 2.1.1) whose leaves come one after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._left: list[bytes] = []

    def add(self, leaves: list[bytes]) -> None:
        """The next leaves."""
        for leaf in leaves:
            node, index = leaf_hash(leaf), self._count
            while index & 1:
                node = next_level(self._left.pop() + node)
                index >>= 1
            self._left.append(node)
            self._count += 1

    def value(self) -> bytes:
        """The root of all that came, at least one."""
        node, *above = reversed(self._left)
        for left in above:
            node = next_level(left + node)
        return node


def _require_signed(signed: SignedBatch, trust: Trust) -> None:
    keys, signer = trust.of(signed.batch.product_id), signed.batch.signer_key_id
    key = next((key for key in keys.grant if key.key_id == signer), None)
    if key is None or signer in keys.revoked_key_ids:
        raise NotAuthentic(
            "RG-26", f"the batch names signer {signer.hex()}, which is no current grant key of the trust bundles given"
        )
    try:
        signed.verify(key)
    except StrongroomError as error:
        raise NotAuthentic("RG-26", f"the batch is not signed by its signer: {error}") from None


def _blocks(file: GrantFile) -> Iterator[tuple[int, list[bytes]]]:
    size = file.layout.tree_size
    for first in range(0, size, QUERY_VALUES_MAX):
        count = min(QUERY_VALUES_MAX, size - first)
        data = file.read(file.layout.leaf_offset(first), LEAF_SIZE_BYTES * count)
        yield first, [data[at : at + LEAF_SIZE_BYTES] for at in range(0, len(data), LEAF_SIZE_BYTES)]


def _insert(connection: Connection, batch: int, product_id: str, first: int, leaves: list[bytes]) -> None:
    device, key = tables.devices.c, tables.device_keys.c
    uids = [leaf[:UID_SIZE_BYTES].hex() for leaf in leaves]
    query = (
        select(device.uid, device.id, key.key_id)
        .join(tables.device_keys, key.device_id == device.id)
        .where(device.product_id == product_id, device.uid.in_(uids), key.role == "agreement")
    )
    found: dict[str, int] = {}
    keys: set[tuple[str, str]] = set()
    for row in connection.execute(query):
        found[row.uid] = row.id
        keys.add((row.uid, row.key_id))
    rows = []
    for leaf_index, (uid, leaf) in enumerate(zip(uids, leaves, strict=True), start=first):
        if uid not in found:
            raise refused("RG-27", f"leaf {leaf_index} is of device {uid}, which the registry does not know")
        if (uid, leaf[UID_SIZE_BYTES:_KEY_ID_END].hex()) not in keys:
            raise refused("RG-28", f"leaf {leaf_index} is under a key that device {uid} never had")
        rows.append({"batch": batch, "leaf": leaf_index, "device_id": found[uid]})
    connection.execute(tables.grants.insert(), rows)


def _batch_row(number: int, signed: SignedBatch, at: str) -> dict[str, object]:
    batch = signed.batch
    return {
        "id": number,
        "batch_id": batch.batch_id.hex(),
        "product_id": uuid_text(batch.product_id),
        "head_hash": batch.head_hash.hex(),
        "device_count": batch.tree_size,
        "root": batch.root.hex(),
        "signer_key_id": batch.signer_key_id.hex(),
        "signed": signed.raw,
        "at": at,
    }
