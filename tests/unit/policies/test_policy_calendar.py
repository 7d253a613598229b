"""Freeze windows: what the calendar may say, and when a window is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from policies.calendar import parse_calendar

WINDOW = """\
format = 1
[[windows]]
name = "year-end"
from = 2026-12-18T00:00:00Z
to = 2027-01-04T00:00:00Z
products = ["pump-x2", "pump-y3"]
"""
BEGIN, END = datetime(2026, 12, 18, tzinfo=UTC), datetime(2027, 1, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("when", "is_open"),
    [(BEGIN - SECOND, False), (BEGIN, True), (END - SECOND, True), (END, False), (END + SECOND, False)],
)
def test_a_window_is_open_from_its_begin_until_before_its_end(when: datetime, is_open: bool) -> None:
    calendar = parse_calendar(WINDOW)
    assert calendar.open_windows("pump-x2", when) == (("year-end",) if is_open else ())
    elsewhere = when.astimezone(timezone(timedelta(hours=-9)))
    assert calendar.open_windows("pump-x2", elsewhere) == calendar.open_windows("pump-x2", when)


def test_a_window_is_for_its_products_or_for_all() -> None:
    assert parse_calendar(WINDOW).open_windows("pump-z4", BEGIN) == ()
    everywhere = parse_calendar(WINDOW.replace('["pump-x2", "pump-y3"]', '["*"]'))
    assert everywhere.open_windows("pump-z4", BEGIN) == ("year-end",)
    assert parse_calendar(WINDOW).products == frozenset({"pump-x2", "pump-y3"})
    assert everywhere.products == frozenset()


def test_offsets_are_honoured() -> None:
    calendar = parse_calendar(WINDOW.replace("2026-12-18T00:00:00Z", "2026-12-18T01:00:00+01:00"))
    assert calendar.open_windows("pump-x2", BEGIN) == ("year-end",)
    assert calendar.open_windows("pump-x2", BEGIN - SECOND) == ()


def test_all_open_windows_are_named_in_order() -> None:
    second = WINDOW.partition("\n")[2].replace("year-end", "audit")
    assert parse_calendar(WINDOW + second).open_windows("pump-x2", BEGIN) == ("audit", "year-end")


def test_a_calendar_may_be_empty() -> None:
    assert parse_calendar("format = 1\n").windows == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("format = 1", ""),
        ("format = 1", "format = 1\nwindow = 3"),
        ('name = "year-end"', ""),
        ('name = "year-end"', 'name = "Year End"'),
        ('name = "year-end"', 'name = "year-end"\nuntil = 3'),
        ("2026-12-18T00:00:00Z", "2026-12-18T00:00:00"),
        ("2026-12-18T00:00:00Z", "2026-12-18"),
        ("2026-12-18T00:00:00Z", '"2026-12-18T00:00:00Z"'),
        ("2026-12-18T00:00:00Z", "2026-12-18T00:00:00.5Z"),
        ("2026-12-18T00:00:00Z", "2027-01-04T00:00:00Z"),
        ("2026-12-18T00:00:00Z", "2027-02-04T00:00:00Z"),
        ('["pump-x2", "pump-y3"]', "[]"),
        ('["pump-x2", "pump-y3"]', '["pump-x2", "*"]'),
        ('["pump-x2", "pump-y3"]', '["pump-x2", "pump-x2"]'),
        ('["pump-x2", "pump-y3"]', '["Pump X2"]'),
        ('["pump-x2", "pump-y3"]', '"pump-x2"'),
        ('["pump-x2", "pump-y3"]', "[3]"),
        ("format = 1", "format = 1\nformat = 1"),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    assert old in WINDOW
    with pytest.raises(ValueError, match=r"."):
        parse_calendar(WINDOW.replace(old, new, 1))


def test_names_are_unique_and_windows_bounded() -> None:
    window = WINDOW.partition("\n")[2]
    with pytest.raises(ValueError, match="'year-end' is named twice"):
        parse_calendar(WINDOW + window)
    many = "".join(window.replace("year-end", f"w{number}") for number in range(1001))
    with pytest.raises(ValueError, match="1000"):
        parse_calendar("format = 1\n" + many)
