"""Reading TOML strictly into typed structs: unknown keys, wrong types and oversize files are refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from pki.errors import ConfigurationError

_FILE_SIZE_BYTES_MAX = 256 * 1024

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def load_toml(path: Path, struct_type: type[_Struct]) -> _Struct:
    """Read one TOML 1.0 file into `struct_type`. Raises ConfigurationError naming file and field."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_FILE_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > _FILE_SIZE_BYTES_MAX:
        raise ConfigurationError(f"{path}: more than {_FILE_SIZE_BYTES_MAX} bytes; not a configuration file")
    try:
        return parse_toml(path, data.decode("utf-8"), struct_type)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from None


def parse_toml(path: Path, text: str, struct_type: type[_Struct]) -> _Struct:
    """Read the text of the TOML file at `path` into `struct_type`. Raises ConfigurationError naming file and field."""
    try:
        return msgspec.convert(tomllib.loads(text), struct_type, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def toml_string(text: str) -> str:
    """`text` as a TOML basic string (TOML 1.0, "String")."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in escaped) + '"'
