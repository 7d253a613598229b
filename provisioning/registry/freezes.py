"""Who has not moved to a trust bundle: devices whose newest signed word names an older one, and since when."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection, func, select

from provisioning.registry import tables
from provisioning.registry.queries import DeviceQuery, device_rows


class FrozenDevice(msgspec.Struct, frozen=True):
    """`since`: when its bundle was first heard of; `heard_at`: the newest signed word of it."""

    uid: str
    product_id: str
    serial: str
    lot: str
    trust_bundle_version: int
    since: str
    heard_at: str


def frozen_devices(connection: Connection, bundle_version: int, query: DeviceQuery) -> Iterator[FrozenDevice]:
    """Operational devices below `bundle_version`, ascending by UID, as a stream."""
    wanted = msgspec.structs.replace(query, bundle_below=bundle_version, lifecycle="operational")
    for row in device_rows(connection, wanted):
        yield FrozenDevice(
            uid=row["uid"],
            product_id=row["product_id"],
            serial=row["serial"],
            lot=row["lot"],
            trust_bundle_version=row["trust_bundle_version"],
            since=row["trust_bundle_since"],
            heard_at=row["heard_at"],
        )


def bundle_counts(connection: Connection, query: DeviceQuery) -> list[tuple[int, int]]:
    """How many operational devices have which trust bundle, ascending by version."""
    column = tables.devices.c
    wanted = msgspec.structs.replace(query, lifecycle="operational")
    statement = (
        select(column.trust_bundle_version, func.count())
        .where(*wanted.conditions())
        .group_by(column.trust_bundle_version)
        .order_by(column.trust_bundle_version)
    )
    return [(int(version), int(count)) for version, count in connection.execute(statement)]
