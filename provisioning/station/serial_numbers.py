"""Serial numbers as scanners read them, and the one form in which a station keeps them (docs/spec/station.md, 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pki.errors import PolicyViolation
from provisioning.station.rules import Rule, refused

SERIAL_LENGTH_MAX = 32
SCANNED_LENGTH_MAX = 128
_PLAIN = re.compile(r"[A-Za-z0-9'()+,\-./:=? ]{1,32}")
_GTIN = re.compile(r"[0-9]{14}")
_DATE = re.compile(r"[0-9]{6}")
_VARIABLE = re.compile(r"[A-Za-z0-9'()+,\-./:=?]{1,20}")
_SYMBOLOGIES = ("]d2", "]Q3", "]C1")
"""GS1 DataMatrix, QR and 128 (ISO/IEC 15424)."""
_SEPARATOR = "\x1d"
_IDENTIFIER_LENGTH = 2
_PATTERNS: Mapping[str, re.Pattern[str]] = {"01": _GTIN, "10": _VARIABLE, "11": _DATE, "17": _DATE, "21": _VARIABLE}
_FIXED_LENGTHS: Mapping[str, int] = {"01": 14, "11": 6, "17": 6}
_BRACKETED = re.compile(r"\(([0-9]{2})\)([^()]+)")


def serial_from_scan(scanned: str) -> str:
    """The serial number in its one form. Raises PolicyViolation ST-39 for anything that is none.

    GS1 element strings, in brackets or raw, become `(01)GTIN(21)SERIAL`; other text stays as it is.
    """
    text = scanned.rstrip("\r\n")
    if not 1 <= len(text) <= SCANNED_LENGTH_MAX:
        raise _refused(f"has {len(text)} characters")
    elements = _elements(text)
    if elements is None:
        return _checked(text)
    if "21" not in elements:
        raise _refused("has no serial number (21)")
    return _checked(
        "".join(f"({identifier}){elements[identifier]}" for identifier in ("01", "21") if identifier in elements)
    )


def _elements(text: str) -> dict[str, str] | None:
    """The elements of a GS1 string by application identifier; None for text that is no such string."""
    if text.startswith("("):
        return _bracketed(text)
    prefix = next((symbology for symbology in _SYMBOLOGIES if text.startswith(symbology)), "")
    if prefix or _SEPARATOR in text:
        return _raw(text.removeprefix(prefix).removeprefix(_SEPARATOR))
    return None


def _bracketed(text: str) -> dict[str, str]:
    found = _BRACKETED.findall(text)
    if "".join(f"({identifier}){value}" for identifier, value in found) != text:
        raise _refused("is no GS1 element string, and begins like one")
    return _named(found)


def _raw(text: str) -> dict[str, str]:
    found: list[tuple[str, str]] = []
    while text:
        identifier, rest = text[:_IDENTIFIER_LENGTH], text[_IDENTIFIER_LENGTH:]
        fixed = _FIXED_LENGTHS.get(identifier)
        if fixed is None:
            value, _, text = rest.partition(_SEPARATOR)
        else:
            value, text = rest[:fixed], rest[fixed:].removeprefix(_SEPARATOR)
        found.append((identifier, value))
    return _named(found)


def _named(found: list[tuple[str, str]]) -> dict[str, str]:
    elements: dict[str, str] = {}
    for identifier, value in found:
        pattern = _PATTERNS.get(identifier)
        if pattern is None:
            raise _refused(f"has the application identifier ({identifier}), which is not taken here")
        if identifier in elements:
            raise _refused(f"has ({identifier}) twice")
        if not pattern.fullmatch(value):
            raise _refused(f"has no valid value for ({identifier})")
        elements[identifier] = value
    if "01" in elements and not _has_check_digit(elements["01"]):
        raise _refused("has a wrong check digit in (01): it was read wrongly")
    return elements


def _has_check_digit(gtin: str) -> bool:
    """GS1 General Specifications, section 7.9: weights 3 and 1 from the left of a GTIN-14, the sum a multiple of 10."""
    return sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(gtin)) % 10 == 0


def _checked(serial: str) -> str:
    if len(serial) > SERIAL_LENGTH_MAX:
        raise _refused(f"has {len(serial)} characters where a device keeps {SERIAL_LENGTH_MAX}")
    if not _PLAIN.fullmatch(serial) or serial != serial.strip():
        raise _refused("has characters that a certificate's serial number cannot have")
    return serial


def _refused(fault: str) -> PolicyViolation:
    return refused(Rule.SERIAL_NUMBER, f"the scanned serial number {fault}; scan again")
