"""Serial numbers as scanners give them: taken in one form, or refused by ST-39."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import PolicyViolation
from provisioning.station.serial_numbers import serial_from_scan

GTIN = "04012345678901"


@pytest.mark.parametrize(
    ("scanned", "serial"),
    [
        ("A1", "A1"),
        ("SN 2026/0001", "SN 2026/0001"),
        ("A1\r\n", "A1"),
        (f"(01){GTIN}(21)A1", f"(01){GTIN}(21)A1"),
        (f"(01){GTIN}(17)271231(10)LOT-7(21)A1", f"(01){GTIN}(21)A1"),
        ("(21)A1", "(21)A1"),
        (f"]d201{GTIN}1727123110LOT-7\x1d21A1", f"(01){GTIN}(21)A1"),
        (f"]C101{GTIN}21A1\x1d17271231", f"(01){GTIN}(21)A1"),
        (f"]Q301{GTIN}21A1", f"(01){GTIN}(21)A1"),
        (f"\x1d01{GTIN}21A1", f"(01){GTIN}(21)A1"),
    ],
)
def test_a_serial_number_has_one_form(scanned: str, serial: str) -> None:
    assert serial_from_scan(scanned) == serial


@pytest.mark.parametrize(
    "scanned",
    [
        "",
        "\n",
        "x" * 33,
        "x" * 129,
        " A1",
        "A1 ",
        "A_1",
        "A\t1",
        "Ä1",
        f"(01){GTIN}",
        "(01)04012345678902(21)A1",
        "(01)0401234567890(21)A1",
        f"(01){GTIN}(21)",
        f"(01){GTIN}(21)A1(21)A2",
        f"(01){GTIN}(99)X(21)A1",
        f"(01){GTIN}(21)A1 ",
        f"(01){GTIN}(21){'x' * 11}",
        f"(01){GTIN}(21){'x' * 21}",
        f"(01){GTIN}(17)27123(21)A1",
        "(01",
        "(",
        f"]d201{GTIN}",
        f"]d201{GTIN}21",
        "]d2",
        "]d2991\x1d21A1",
        f"]d201{GTIN}21A1\x1d21A2",
    ],
)
def test_anything_else_is_refused(scanned: str) -> None:
    with pytest.raises(PolicyViolation, match="ST-39"):
        serial_from_scan(scanned)


@given(st.text(max_size=140))
def test_no_text_fails_in_another_way(scanned: str) -> None:
    with suppress(PolicyViolation):
        serial = serial_from_scan(scanned)
        assert 1 <= len(serial) <= 32
        assert serial.isascii()
        assert serial_from_scan(serial) == serial
