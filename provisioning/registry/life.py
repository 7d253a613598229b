"""A device's whole life, in order: born, activated, certified, updated, granted, serviced, ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from provisioning.registry import tables
from provisioning.registry.errors import DeviceUnknown
from provisioning.registry.queries import device_of
from provisioning.registry.rows import Row
from signer.device_objects.service_order import ServiceAction

_ORDER_AT_ONE_TIME = ("birth", "key", "certificate", "life", "bundle", "firmware", "grant", "service")
"""What is told first of what happened at one moment."""


class LifeEvent(msgspec.Struct, frozen=True):
    """One thing that happened, `at` a UTC time; `details` holds whole identifiers, for programs."""

    at: str
    kind: str
    text: str
    details: dict[str, Any]


class Life(msgspec.Struct, frozen=True):
    """What a device is now, its keys and certificates, and what happened."""

    device: dict[str, Any]
    keys: list[dict[str, Any]]
    certificates: list[dict[str, Any]]
    events: list[LifeEvent]
    statuses: int
    first_status_at: str | None
    last_status_at: str | None


def life_of(connection: Connection, uid: bytes, product_id: bytes | None) -> Life:
    """Everything about one device. Raises DeviceUnknown RG-23 (unknown), RG-31 (which product?)."""
    device = device_of(connection, uid, product_id)
    if device is None:
        raise DeviceUnknown(
            f"[RG-23] the registry has no device {uid.hex()}: `strongroom registry list` shows those it has"
        )
    number = int(device.pop("id"))
    events = sorted(
        _events(connection, number, device), key=lambda event: (event.at, _ORDER_AT_ONE_TIME.index(event.kind))
    )
    statuses = tables.statuses.c
    count, first, last = connection.execute(
        select(func.count(), func.min(statuses.at), func.max(statuses.at)).where(statuses.device_id == number)
    ).one()
    return Life(
        device=device,
        keys=_history(connection, tables.device_keys, number, "since"),
        certificates=_certificates(connection, number),
        events=events,
        statuses=count,
        first_status_at=first,
        last_status_at=last,
    )


def _events(connection: Connection, device_id: int, device: Row) -> Iterator[LifeEvent]:
    yield from _births(connection, str(device["uid"]), str(device["product_id"]))
    for row in _history(connection, tables.lifecycles, device_id, "number"):
        if row["cause"] == "status":
            yield _event(row, "life", f"is {row['lifecycle']}, as its signed status says", "lifecycle", "evidence")
    for row in _history(connection, tables.trust_bundles, device_id, "number"):
        yield _event(row, "bundle", f"trust bundle {row['version']}", "version", "digest", "evidence")
    for row in _history(connection, tables.firmware, device_id, "number"):
        text = f"{row['component']} {row['version']}, security version {row['security_version']}"
        yield _event(row, "firmware", text, "component", "version", "security_version", "head_hash", "evidence")
    for row in _history(connection, tables.services, device_id, "at"):
        said = "with its receipt" if row["receipt"] is not None else "without a receipt"
        text = f"service order {ServiceAction(row['action']).text}, {said}"
        yield _event(row, "service", text, "order_digest", "action")
    yield from _grants(connection, device_id)


def _births(connection: Connection, uid: str, product_id: str) -> Iterator[LifeEvent]:
    record, ledger, order = tables.birth_records.c, tables.ledgers.c, tables.orders.c
    query = (
        select(record.at, record.number, record.event, record.reason, record.digest, ledger.order_id, ledger.station)
        .join(tables.ledgers, ledger.id == record.ledger_id)
        .join(tables.orders, order.order_id == ledger.order_id)
        .where(record.uid == uid, order.product_id == product_id)
        .order_by(record.at, ledger.id, record.number)
    )
    for row in connection.execute(query).mappings():
        why = f" ({row['reason']})" if row["reason"] else ""
        text = f"{row['event']} at station {row['station'][:16]}, order {row['order_id']}, record {row['number']}{why}"
        yield _event(row, "birth", text, "event", "order_id", "station", "number", "reason", "digest")


def _grants(connection: Connection, device_id: int) -> Iterator[LifeEvent]:
    grant, batch = tables.grants.c, tables.grant_batches.c
    query = (
        select(batch.at, batch.batch_id, batch.head_hash, grant.leaf)
        .join(tables.grant_batches, batch.id == grant.batch)
        .where(grant.device_id == device_id)
    )
    for row in connection.execute(query).mappings():
        text = f"granted package {row['head_hash'][:16]}, batch {row['batch_id']}, leaf {row['leaf']}"
        yield _event(row, "grant", text, "batch_id", "head_hash", "leaf")


def _history(connection: Connection, table: Any, device_id: int, order_by: str) -> list[Row]:
    query = select(table).where(table.c.device_id == device_id).order_by(table.c[order_by])
    rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        del row["device_id"]
    return rows


def _certificates(connection: Connection, device_id: int) -> list[Row]:
    rows = _history(connection, tables.certificates, device_id, "since")
    return [{name: value.hex() if name == "der" else value for name, value in row.items()} for row in rows]


def _event(row: Any, kind: str, text: str, *details: str) -> LifeEvent:
    return LifeEvent(row["at"], kind, text, {name: row[name] for name in details})
