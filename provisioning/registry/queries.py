"""Questions about devices: by parameters only, streamed, in the order of their UIDs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, exists, select

from pki.errors import InputRefused
from pki.values import PublicKey
from provisioning.registry import tables
from provisioning.registry.errors import DeviceUnknown
from provisioning.registry.rows import Row
from signer.store.stored_times import time_to_text

UID_SIZE_BYTES = 16
UID_SIZE_BYTES_MIN = 4
BLOCK_ROWS = 2_000
"""How many rows are fetched at once."""

LIFECYCLES = ("locked", "operational", "rma", "decommissioned", "scrapped")


class DeviceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices are meant: those to which every parameter that is given applies. None: it does not matter."""

    product_id: bytes | None = None
    lot: str | None = None
    order_id: bytes | None = None
    station: bytes | None = None
    serial: str | None = None
    uid: bytes | None = None
    hardware_revision: int | None = None
    lifecycle: str | None = None
    bundle_below: int | None = None
    """Whose newest known trust bundle is older than this version."""
    application_version: str | None = None
    application_head_hash: bytes | None = None
    not_granted: bytes | None = None
    """Head hash of a package: devices that no batch grants it to."""
    silent_since: datetime | None = None
    """Last heard of before this time."""

    def conditions(self) -> tuple[ColumnElement[bool], ...]:
        """As SQL, with every value a parameter."""
        column = tables.devices.c
        same: tuple[tuple[Any, Any], ...] = (
            (column.product_id, None if self.product_id is None else str(uuid.UUID(bytes=self.product_id))),
            (column.lot, self.lot),
            (column.order_id, None if self.order_id is None else str(uuid.UUID(bytes=self.order_id))),
            (column.station, _hex(self.station)),
            (column.serial, self.serial),
            (column.uid, None if self.uid is None else padded_uid(self.uid).hex()),
            (column.hardware_revision, self.hardware_revision),
            (column.lifecycle, self.lifecycle),
            (column.application_version, self.application_version),
            (column.application_head_hash, _hex(self.application_head_hash)),
        )
        found: list[ColumnElement[bool]] = [named == value for named, value in same if value is not None]
        if self.bundle_below is not None:
            found.append(column.trust_bundle_version < self.bundle_below)
        if self.silent_since is not None:
            found.append(column.heard_at < time_to_text(self.silent_since))
        if self.not_granted is not None:
            found.append(~_granted(self.not_granted))
        return tuple(found)


def _granted(head_hash: bytes) -> ColumnElement[bool]:
    grants, batches = tables.grants.c, tables.grant_batches.c
    return exists(
        select(grants.leaf).where(
            and_(
                grants.device_id == tables.devices.c.id,
                grants.batch == batches.id,
                batches.head_hash == head_hash.hex(),
            )
        )
    )


def padded_uid(uid: bytes) -> bytes:
    """A UID as formats have it. Raises InputRefused for one that is too short, too long or zero."""
    if not UID_SIZE_BYTES_MIN <= len(uid) <= UID_SIZE_BYTES or not any(uid):
        raise InputRefused(f"a UID has {UID_SIZE_BYTES_MIN} to {UID_SIZE_BYTES} bytes, not all of them zero")
    return uid.ljust(UID_SIZE_BYTES, b"\0")


def device_rows(connection: Connection, query: DeviceQuery, *, limit: int | None = None) -> Iterator[Row]:
    """Rows of `devices` in ascending order of UID, then product, as a stream."""
    column = tables.devices.c
    statement = select(tables.devices).where(*query.conditions()).order_by(column.uid, column.product_id).limit(limit)
    yield from _streamed(connection, statement)


def agreement_keys(connection: Connection, query: DeviceQuery) -> Iterator[tuple[bytes, PublicKey]]:
    """UID (padded) and agreement key of each operational device that has one."""
    column = tables.devices.c
    statement = (
        select(column.uid, column.agreement_public_key)
        .where(*query.conditions(), column.lifecycle == "operational", column.agreement_public_key.is_not(None))
        .order_by(column.uid)
    )
    for row in _streamed(connection, statement):
        yield bytes.fromhex(row["uid"]), PublicKey(bytes.fromhex(row["agreement_public_key"]))


def device_of(connection: Connection, uid: bytes, product_id: bytes | None) -> Row | None:
    """The one device of a UID. Raises DeviceUnknown RG-31 where products share it and none is named."""
    found = list(device_rows(connection, DeviceQuery(uid=uid, product_id=product_id), limit=2))
    if len(found) > 1:
        products = " and ".join(str(row["product_id"]) for row in found)
        raise DeviceUnknown(f"[RG-31] products {products} have a device of UID {uid.hex()}: name the product, too")
    return found[0] if found else None


def identity_key(connection: Connection, uid: bytes, product_id: bytes | None) -> PublicKey | None:
    """The identity key in force."""
    row = device_of(connection, uid, product_id)
    if row is None or row["identity_public_key"] is None:
        return None
    return PublicKey(bytes.fromhex(row["identity_public_key"]))


def order_rows(connection: Connection) -> list[Row]:
    """Every order, newest first, without its signed bytes."""
    columns = [column for column in tables.orders.c if column.name != "signed"]
    query = select(*columns).order_by(tables.orders.c.taken_at.desc(), tables.orders.c.order_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def _streamed(connection: Connection, statement: Select[Any]) -> Iterator[Row]:
    """Rows in blocks, in constant memory."""
    result = connection.execute(statement.execution_options(yield_per=BLOCK_ROWS))
    names = tuple(result.keys())
    for block in result.partitions():
        for row in block:
            yield dict(zip(names, row, strict=True))


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()
