"""The list of codes is the document's, number for number."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from bootloader.reference.codes import DeviceCode, Refused, require

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "spec" / "device-codes.md"


def test_codes_are_those_of_the_document_both_ways() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: int(number) for number, name in rows}
    assert len(rows) == len(documented) > 60
    assert documented == {code.name: int(code) for code in DeviceCode.__members__.values()}


def test_no_number_stands_for_two_names() -> None:
    assert len(set(map(int, DeviceCode.__members__.values()))) == len(DeviceCode.__members__)


def test_refusal_says_name_number_and_detail() -> None:
    refusal = Refused(DeviceCode.CHUNK_HASH, "chunk 3")
    assert str(refusal) == "CHUNK_HASH (402): chunk 3"
    assert (refusal.code, refusal.detail) == (DeviceCode.CHUNK_HASH, "chunk 3")


def test_refusal_crosses_processes() -> None:
    copy = pickle.loads(pickle.dumps(Refused(DeviceCode.SUITE, "suite 9")))  # noqa: S301 (our own bytes)
    assert (copy.code, copy.detail) == (DeviceCode.SUITE, "suite 9")


def test_require() -> None:
    require(True, DeviceCode.SUITE, "fine")
    with pytest.raises(Refused) as refusal:
        require(False, DeviceCode.SUITE, "suite 9")
    assert str(refusal.value) == "SUITE (106): suite 9"
