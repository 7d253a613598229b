"""CSV and JSON: whole, streamed, and harmless to spreadsheets (RG-50)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from pki.values import PublicKey
from provisioning.registry.export import DEVICE_COLUMNS, grant_lines, rows_as_csv, rows_as_json

ROW = dict.fromkeys(DEVICE_COLUMNS) | {"uid": "00" * 16, "serial": 'A "1", b', "sequence": 7}


def test_csv_and_json_say_the_same() -> None:
    rows = [ROW, ROW | {"serial": "", "application_version": "1.2.0.4"}]
    as_csv = list(csv.DictReader(io.StringIO("".join(rows_as_csv(DEVICE_COLUMNS, rows)))))
    as_json = json.loads("".join(rows_as_json(DEVICE_COLUMNS, rows)))
    assert as_json == rows
    assert as_csv == [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert "".join(rows_as_csv(DEVICE_COLUMNS, rows)).count("\r\n") == 3


def test_nothing_is_a_document_too() -> None:
    assert json.loads("".join(rows_as_json(DEVICE_COLUMNS, []))) == []
    assert "".join(rows_as_csv(("uid",), [])) == "uid\r\n"


@pytest.mark.parametrize("serial", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "  @x"])
def test_a_cell_is_no_formula(serial: str) -> None:
    (_, line) = "".join(rows_as_csv(("serial",), [{"serial": serial}])).splitlines()
    assert line == f"'{serial}"
    assert json.loads("".join(rows_as_json(("serial",), [{"serial": serial}]))) == [{"serial": serial}]


def test_other_cells_are_as_they_are() -> None:
    (_, line) = "".join(rows_as_csv(("serial",), [{"serial": "(01)04012345678901(21)A-1=2"}])).splitlines()
    assert line == "(01)04012345678901(21)A-1=2"


def test_rows_are_streamed() -> None:
    """An endless query: what is asked for comes, and no more is fetched than a piece needs."""
    fetched = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal fetched
        while True:
            fetched += 1
            yield ROW

    assert len(list(islice(rows_as_csv(DEVICE_COLUMNS, endless()), 2))) == 2
    assert len(list(islice(rows_as_json(DEVICE_COLUMNS, endless()), 10))) == 10
    assert fetched < 5_000


def test_the_list_for_grants_has_the_form_of_its_specification() -> None:
    lines = list(grant_lines([(bytes(range(16)), PublicKey(bytes(range(64))))]))
    assert lines[0] == "uid,agreement_public_key\n"
    assert re.fullmatch(r"[0-9a-f]{32},[0-9a-f]{128}\n", lines[1])
