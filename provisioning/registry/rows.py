"""Rows that a transaction is going to write, gathered and written in bulk, in the order that foreign keys demand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, bindparam, func, select, update

from provisioning.registry import tables

Row = dict[str, Any]

QUERY_VALUES_MAX = 500
"""How many values one IN list has at most."""

_ORDER = (
    tables.lots,
    tables.orders,
    tables.stations,
    tables.ledgers,
    tables.devices,
    tables.births,
    tables.device_keys,
    tables.certificates,
    tables.birth_records,
    tables.activations,
    tables.statuses,
    tables.lifecycles,
    tables.firmware,
    tables.trust_bundles,
    tables.services,
)


class Changes:
    """What is to be inserted and updated."""

    def __init__(self) -> None:
        self._inserts: defaultdict[str, list[Row]] = defaultdict(list)
        self._updates: defaultdict[tuple[str, tuple[str, ...]], list[Row]] = defaultdict(list)

    def insert(self, table: Table, row: Row) -> None:
        """A new row; every row of a table has the same columns."""
        self._inserts[table.name].append(row)

    def update(self, table: Table, keys: Sequence[str], row: Row) -> None:
        """The row with these key columns gets the other values of `row`."""
        self._updates[table.name, tuple(keys)].append(row)

    def write(self, connection: Connection) -> None:
        """Write all of it, and forget it."""
        for table in _ORDER:
            if rows := self._inserts.pop(table.name, None):
                connection.execute(table.insert(), rows)
            for name, keys in [found for found in self._updates if found[0] == table.name]:
                _update(connection, table, keys, self._updates.pop((name, keys)))
        assert not self._inserts and not self._updates  # noqa: S101, PT018 (every table is in the order above)


def _update(connection: Connection, table: Table, keys: tuple[str, ...], rows: list[Row]) -> None:
    statement = update(table)
    for key in keys:
        statement = statement.where(table.c[key] == bindparam(f"key_{key}"))
    statement = statement.values({name: bindparam(f"new_{name}") for name in rows[0] if name not in keys})
    renamed = {name: f"{'key' if name in keys else 'new'}_{name}" for name in rows[0]}
    connection.execute(statement, [{renamed[name]: value for name, value in row.items()} for row in rows])


def next_id(connection: Connection, table: Table) -> int:
    """The next free id; writers come one after the other, so nobody else takes it."""
    return int(connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()) + 1


def rows_where(
    connection: Connection, table: Table, column: Column[Any], values: Iterable[Any], *where: ColumnElement[bool]
) -> Iterator[Row]:
    """The rows whose `column` is one of `values`, in as many queries as it takes."""
    wanted = sorted(set(values))
    for start in range(0, len(wanted), QUERY_VALUES_MAX):
        query = select(table).where(column.in_(wanted[start : start + QUERY_VALUES_MAX]), *where)
        for row in connection.execute(query).mappings():
            yield dict(row)
