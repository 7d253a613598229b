"""What may be written into a transcript: plain public values of exactly the types of JSON, and nothing else.

A secret cannot be put into one by mistake, because secrets have types of their own: a PIN is a `Pin`, a share a
`CustodianShare`, a key-encryption key a `Kek`, and none of them is a type that `public_object` lets through. A subclass
of `str` is not let through either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pki.canonical_json import INTEGER_MAX, JsonValue

_DEPTH_MAX = 8


def public_object(values: Mapping[str, Any]) -> dict[str, JsonValue]:
    """A copy of an object for the transcript. Raises TypeError for any value of another type, ValueError for a size."""
    return {_text(name): _public(value, 1) for name, value in values.items()}


def _public(value: Any, depth: int) -> JsonValue:
    if depth > _DEPTH_MAX:
        raise ValueError(f"a transcript's values are at most {_DEPTH_MAX} deep")
    # Exact types, not isinstance: a subclass may carry what it does not show.
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        if abs(value) > INTEGER_MAX:
            raise ValueError("an integer is too large for a transcript; write it as text")
        return value
    if type(value) is str:
        return _text(value)
    if type(value) in {list, tuple}:
        return [_public(item, depth + 1) for item in value]
    if type(value) is dict:
        return {_text(name): _public(item, depth + 1) for name, item in value.items()}
    raise TypeError(f"a {type(value).__name__} cannot stand in a transcript")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"a {type(value).__name__} cannot stand in a transcript as text")
    return value
