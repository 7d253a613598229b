"""Reading TOML text strictly into structs: unknown keys, wrong types and doubled names are refused."""

from __future__ import annotations

import datetime
import tomllib
from typing import TypeVar

import msgspec

_DATES = (datetime.datetime, datetime.date, datetime.time)
"""TOML has these; without saying so, texts that look like them would pass too."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def parse_toml(text: str) -> dict[str, object]:
    """TOML 1.0 as a dictionary. ValueError with one line that says what is wrong."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise ValueError("not valid here: nested too deeply") from None


def convert(value: object, struct_type: type[_Struct]) -> _Struct:
    """A parsed value as a struct. ValueError naming the field."""
    try:
        return msgspec.convert(value, struct_type, strict=True, builtin_types=_DATES)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
