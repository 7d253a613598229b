"""What an operator sees: PASS and FAIL differ in shape, not in colour alone; a verdict stays until the next board."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from cli.station_display import Lines, Panels, big
from provisioning.station.facts import Verdict
from provisioning.station.rules import Rule
from provisioning.station.steps import ReadFlash

PASS = Verdict(True, None, "activated", b"\x31" * 16, "A1", 7)
FAIL = Verdict(False, Rule.FOREIGN_FLASH, "the flash is neither blank nor the factory image", b"\x32" * 16)


def shown(panels: Panels) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(panels._whole())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_words_are_large_and_not_alike() -> None:
    for word in ("PASS", "FAIL"):
        rows = big(word).splitlines()
        assert len(rows) == 5
        assert {len(row) for row in rows} == {26}
    differing = sum(a != b for a, b in zip(big("PASS"), big("FAIL"), strict=True))
    assert differing > 20


def test_every_nest_has_its_panel_and_keeps_its_verdict() -> None:
    panels = Panels(3)
    panels.ends(0, PASS, 1.25)
    panels.ends(1, FAIL, 0.5)
    panels.waits(0)
    panels.does(2, ReadFlash())
    text = shown(panels)
    for expected in ("NEST 0", "NEST 1", "NEST 2", "number 7", "A1", "neither blank", "reading flash"):
        assert expected in text
    assert "passed 1   failed 1" in text
    for row in (*big("PASS").splitlines(), *big("FAIL").splitlines()):
        assert row.rstrip() in text
    panels.faults(2, "no contact")
    assert "FIXTURE: no contact" in shown(panels)


def test_lines_are_one_for_each_board(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(as_json=True) as lines:
        lines.waits(0)
        lines.does(0, ReadFlash())
        lines.ends(0, PASS, 1.23456)
        lines.ends(1, FAIL, 2)
    with Lines(as_json=False) as lines:
        lines.ends(1, FAIL, 2)
    first, second, third = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {
        "nest": 0, "passed": True, "uid": "31" * 16, "serial": "A1", "sequence": 7, "rule": None,
        "text": "activated", "seconds": 1.235,
    }  # fmt: skip
    assert json.loads(second)["rule"] == "ST-30"
    assert third.startswith("nest 1  FAIL  3232")
