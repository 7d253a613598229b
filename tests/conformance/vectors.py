"""Reads `tests/vectors/`, for the tests that hold an implementation to them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

Entry = dict[str, Any]


@cache
def entries(family: str) -> list[Entry]:
    """All vectors of `packages`, `trust_bundles` or `journals`; or the `devices`."""
    listed: list[Entry] = json.loads((VECTORS / f"{family}.json").read_text())
    return listed


def named(family: str, name: str) -> Entry:
    """The one vector, or device, of that name."""
    (entry,) = [entry for entry in entries(family) if entry["name"] == name]
    return entry


def content(file: str) -> bytes:
    """The bytes of a file below tests/vectors."""
    return (VECTORS / file).read_bytes()


def name_of(entry: Entry) -> str:
    """For pytest's ids."""
    return str(entry["name"])


@cache
def worthless_keys() -> dict[str, Entry]:
    """The test keys by name."""
    listed: list[Entry] = json.loads((VECTORS / "fake" / "test_keys.json").read_text())
    return {entry["name"]: entry for entry in listed}


def hexes(values: list[str]) -> tuple[bytes, ...]:
    """Bytes of a list of hexadecimal strings."""
    return tuple(bytes.fromhex(value) for value in values)
