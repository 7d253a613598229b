"""The bench's table and JSON file, and its way of comparing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Bound, Figure, missed, table, write_json
from bench.interleaved import interleave

FAST = Figure("speed", 0.97, "ratio", Bound.AT_LEAST, 0.95)
SLOW = Figure("start", 1.31, "ratio", Bound.AT_MOST, 1.3)
CONTEXT = Figure("loop in C", 16_800.4, "signatures/s")


def test_a_target_is_met_on_its_own_side_and_at_its_edge() -> None:
    assert FAST.met is True
    assert SLOW.met is False
    assert CONTEXT.met is None
    assert Figure("edge", 0.95, "ratio", Bound.AT_LEAST, 0.95).met is True
    assert Figure("edge", 1.3, "ratio", Bound.AT_MOST, 1.3).met is True
    assert Figure("below", 0.9499, "ratio", Bound.AT_LEAST, 0.95).met is False
    assert missed([FAST, SLOW, CONTEXT]) == [SLOW]


def test_a_target_needs_its_side() -> None:
    with pytest.raises(ValueError, match="go together"):
        Figure("speed", 1.0, "ratio", target=0.95)
    with pytest.raises(ValueError, match="go together"):
        Figure("speed", 1.0, "ratio", Bound.AT_LEAST)


def test_json_has_exactly_the_five_fields_in_order(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text("from an earlier run")
    write_json([FAST, SLOW, CONTEXT], path)
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [["name", "value", "unit", "target", "met"]] * 3
    assert rows[0] == {"name": "speed", "value": 0.97, "unit": "ratio", "target": 0.95, "met": True}
    assert rows[1]["met"] is False
    assert rows[2] == {"name": "loop in C", "value": 16_800.4, "unit": "signatures/s", "target": None, "met": None}
    assert [entry.name for entry in tmp_path.iterdir()] == ["bench.json"]


def test_json_takes_no_number_that_json_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    with pytest.raises(ValueError, match="JSON"):
        write_json([Figure("broken", float("nan"), "ratio")], path)
    assert not path.exists()


def test_the_table_says_what_was_missed() -> None:
    lines = table([FAST, SLOW, CONTEXT]).splitlines()
    assert lines[0].split() == ["figure", "value", "unit", "target", "met"]
    assert set(lines[1]) == {"-", " "}
    assert lines[2].split() == ["speed", "0.97", "ratio", "≥", "0.95", "yes"]
    assert lines[3].split() == ["start", "1.31", "ratio", "≤", "1.3", "NO"]
    assert lines[4].split() == ["loop", "in", "C", "16,800", "signatures/s"]


def test_ratios_are_of_the_same_round_and_outliers_do_not_count() -> None:
    # The machine is ten times slower in round 1, and one measurement of round 2 is disturbed.
    a = iter([99.0, 1.0, 10.0, 1.0])
    b = iter([99.0, 2.0, 20.0, 50.0])
    order: list[str] = []

    def measure(name: str, seconds: float) -> float:
        order.append(name)
        return seconds

    rounds = interleave(
        {"a": lambda: measure("a", next(a)), "b": lambda: measure("b", next(b))}, round_count=3, warm_up_count=1
    )
    assert rounds.ratio("a", "b") == 0.5
    assert rounds.seconds("a") == 1.0
    assert rounds.seconds("b") == 20.0
    assert "".join(order) == "abbaabba"
