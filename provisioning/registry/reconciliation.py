"""Ordered, injected, failed, scrapped, unaccounted: what became of every device of an order, per station and in all."""

from __future__ import annotations

import uuid

import msgspec
from sqlalchemy import Connection, func, select

from provisioning.registry import tables
from provisioning.registry.errors import DeviceUnknown


class StationSums(msgspec.Struct, frozen=True):
    """One station's ledger. Every counted device stands in exactly one of the four that follow `begun`.

    `unaccounted`: begun, and no record says what became of it (yet). `refused`: boards turned away before they were
    counted; they use no quota. `left`: what may still be begun.
    """

    station: str
    sub_quota: int
    records: int
    begun: int
    injected: int
    failed: int
    scrapped: int
    unaccounted: int
    refused: int
    left: int
    newest_record: str | None

    def problems(self) -> tuple[str, ...]:
        """Sums that must hold and do not."""
        found = []
        if self.begun != self.injected + self.failed + self.scrapped + self.unaccounted:
            found.append("begun is not injected + failed + scrapped + unaccounted")
        if not 0 <= self.begun <= self.sub_quota or self.left != self.sub_quota - self.begun:
            found.append("begun + left is not the sub-quota")
        return tuple(found)


class Reconciliation(msgspec.Struct, frozen=True):
    """An order. `unassigned` is what no station has a sub-quota for."""

    order_id: str
    product_id: str
    lot: str
    ordered: int
    unassigned: int
    not_after: str
    stations: tuple[StationSums, ...]

    def total(self, name: str) -> int:
        """Of all stations."""
        return sum(getattr(station, name) for station in self.stations)

    def problems(self) -> tuple[str, ...]:
        """Every sum that does not hold: what must hold is ordered = injected + failed + scrapped + unaccounted + left
        + unassigned, in all, and for each station begun = injected + failed + scrapped + unaccounted.
        """
        found = [f"station {station.station}: {problem}" for station in self.stations for problem in station.problems()]
        accounted = sum(self.total(name) for name in ("injected", "failed", "scrapped", "unaccounted", "left"))
        if self.unassigned < 0 or accounted + self.unassigned != self.ordered:
            found.append("the whole order: the sums are not what was ordered")
        return tuple(found)


def reconcile(connection: Connection, order_id: bytes) -> Reconciliation:
    """The sums of an order. Raises DeviceUnknown RG-30 for an order that the registry does not have."""
    orders, name = tables.orders, str(uuid.UUID(bytes=order_id))
    order = connection.execute(select(orders).where(orders.c.order_id == name)).mappings().one_or_none()
    if order is None:
        raise DeviceUnknown(f"[RG-30] the registry has no order {name}: import the order, or its births")
    column = tables.ledgers.c
    rows = connection.execute(select(tables.ledgers).where(column.order_id == name).order_by(column.station)).mappings()
    stations = tuple(_sums(connection, dict(row)) for row in rows)
    return Reconciliation(
        order_id=name,
        product_id=order["product_id"],
        lot=order["lot"],
        ordered=order["quota"],
        unassigned=order["quota"] - sum(station.sub_quota for station in stations),
        not_after=order["not_after"],
        stations=stations,
    )


def _sums(connection: Connection, ledger: dict[str, object]) -> StationSums:
    column = tables.births.c
    query = (
        select(column.state, func.count(column.sequence), func.count())
        .where(column.ledger_id == ledger["id"])
        .group_by(column.state)
    )
    counted: dict[str, int] = {}
    refused = 0
    for state, with_sequence, in_all in connection.execute(query):
        counted[state] = with_sequence
        refused += in_all - with_sequence
    sub_quota, begun = int(str(ledger["sub_quota"])), int(str(ledger["last_sequence"]))
    return StationSums(
        station=str(ledger["station"]),
        sub_quota=sub_quota,
        records=int(str(ledger["last_number"])),
        begun=begun,
        injected=counted.get("activated", 0),
        failed=counted.get("failed", 0),
        scrapped=counted.get("scrapped", 0),
        unaccounted=counted.get("begun", 0),
        refused=refused,
        left=sub_quota - begun,
        newest_record=None if ledger["last_at"] is None else str(ledger["last_at"]),
    )
