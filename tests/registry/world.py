"""What the registry's tests share: taking files, and looking at every row."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import pytest

from pki.errors import PolicyViolation, StrongroomError
from provisioning.registry.address import parse_address
from provisioning.registry.births_taking import BirthsTaken
from provisioning.registry.database import Database
from provisioning.registry.errors import NotAuthentic
from provisioning.registry.registry import Registry
from provisioning.registry.tables import metadata
from provisioning.registry.trust import Trust
from tests.registry.production_line import NOW, Key, Line, Station

WHO = "tester"

READING_ONLY = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For what is refused before any database is asked: one of the two will do."""

_OPEN: list[Database] = []


def new_station(line: Line, quota: int = 10, **order: Any) -> Station:
    """A station with an order of its own."""
    key = Key.new()
    return Station(line, key, line.order({key: quota}, **order))


def take(registry: Registry, file: bytes, trust: Trust, **options: Any) -> BirthsTaken:
    return registry.take_births(io.BytesIO(file), NOW, who=WHO, trust=trust, **options)


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with database_of(url).reading() as connection:
        return {
            name: sorted((tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")), key=repr)  # noqa: S608
            for name in metadata.tables
        }


def sizes_of(url: str) -> list[tuple[Any, ...]]:
    """How many rows each table has, and where the ledgers end: what no refused import may change."""
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*), '' FROM {name}" for name in metadata.tables)  # noqa: S608
    ends = "SELECT 'end', sum(last_number), max(head) FROM ledgers"
    with database_of(url).reading() as connection:
        return sorted(tuple(row) for row in connection.exec_driver_sql(f"{counts} UNION ALL {ends}"))


@cache
def database_of(url: str) -> Database:
    """Opened when first asked for; `close_databases` ends them all."""
    _OPEN.append(Database(parse_address(url)))
    return _OPEN[-1]


def close_databases() -> None:
    while _OPEN:
        _OPEN.pop().dispose()
    database_of.cache_clear()


def refuses(registry: Registry, url: str, rule: str, file: bytes, trust: Trust, **options: Any) -> str:
    """The file is refused by this rule, and nothing is changed. Returns the message."""
    before = sizes_of(url)
    with pytest.raises(StrongroomError) as caught:
        take(registry, file, trust, **options)
    error = caught.value
    assert isinstance(error, (PolicyViolation, NotAuthentic)), error
    assert error.rule_id == rule, error
    assert str(error).startswith(f"[{rule}] ")
    assert "\n" not in str(error)
    assert sizes_of(url) == before
    return str(error)
