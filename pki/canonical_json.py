"""Canonical JSON (RFC 8785) and a reader that takes nothing else: what is signed or logged has exactly one encoding."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pki.errors import FormatError

if TYPE_CHECKING:
    import json

DOCUMENT_SIZE_BYTES_MAX = 64 * 1024
INTEGER_MAX = (1 << 53) - 1
"""The greatest integer of I-JSON (RFC 7493, section 2.2); greater numbers are written as hexadecimal strings."""

JsonValue = None | bool | int | str | list["JsonValue"] | dict[str, "JsonValue"]


def encode_canonical(value: dict[str, Any]) -> bytes:
    """The one encoding of a document (RFC 8785, section 3.2), UTF-8. ValueError for floats and large integers.

    Values whose encoding by Python's own encoder is the same take that one, which is ten times as fast; others, such as
    names with characters beyond ASCII, which RFC 8785 sorts by UTF-16, go through rfc8785 (docs/adr/0060).
    """
    if _is_plain(value):
        return _encoder().encode(value).encode("utf-8")
    import rfc8785

    _refuse_floats(value)
    return rfc8785.dumps(value)


def parse_canonical(data: bytes, what: str, size_bytes_max: int = DOCUMENT_SIZE_BYTES_MAX) -> dict[str, Any]:
    """The object that `data` encodes canonically; raises FormatError for anything else, duplicate keys included."""
    import json

    if len(data) > size_bytes_max:
        raise FormatError(what, size_bytes_max, f"more than {size_bytes_max} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        encoded = encode_canonical(value)
    except (ValueError, RecursionError) as error:
        raise FormatError(what, 0, f"not canonical JSON: {error}") from None
    if encoded != data:
        offset = next((i for i, (a, b) in enumerate(zip(encoded, data, strict=False)) if a != b), len(encoded))
        raise FormatError(what, offset, "not in the one canonical form (RFC 8785)")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


@cache
def _encoder() -> json.JSONEncoder:
    import json

    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _is_plain(value: Any) -> bool:
    """Whether Python's encoder is known to give the canonical form: exact types, names in ASCII, integers in range."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii() or not _is_plain(item):
                return False
        return True
    if kind is list:
        return all(map(_is_plain, value))
    return kind is int and abs(value) <= INTEGER_MAX


def _refuse_number(text: str) -> Any:
    raise ValueError(f"{text} is not an integer")


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError(f"{value} is not an integer")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_floats(item)
