"""The part of CBOR (RFC 8949) that SMP needs, bounded: what a device reads of a request, and how it writes an answer.

Read: one map, definite or indefinite; keys are text; values are integers, byte and text strings of definite length,
booleans, null, and maps again. Anything else is malformed, as is whatever goes beyond the bounds below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DEPTH_MAX = 4
KEYS_MAX = 16

Value = int | bool | None | str | bytes | Mapping[str, "Value"]
"""What a request may hold."""

Answer = int | bool | None | str | bytes | Mapping[str, "Answer"] | Sequence["Answer"]
"""What an answer may hold."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _, _SIMPLE = range(8)
_INDEFINITE = 31
_BREAK = 0xFF
_SIMPLE_VALUES: Mapping[int, bool | None] = {20: False, 21: True, 22: None}
_SIMPLE_ENCODED = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}


class Malformed(Exception):
    """The bytes are not one map within the bounds. A request like that is answered with EINVAL."""


def decode_map(data: bytes) -> dict[str, Value]:
    """The one map that all of `data` is; raises Malformed."""
    reader = _Reader(data)
    value = reader.value(DEPTH_MAX)
    if not isinstance(value, dict):
        raise Malformed("not a map")
    if reader.position != len(data):
        raise Malformed("bytes follow the map")
    return value


def encode(value: Answer) -> bytes:
    """The shortest encoding, maps in their own order. Only what a device says itself comes here."""
    if value is None or isinstance(value, bool):
        return _SIMPLE_ENCODED[value]
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, str):
        return _head(_TEXT, len(value.encode())) + value.encode()
    if isinstance(value, Mapping):
        return _head(_MAP, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    return _head(_ARRAY, len(value)) + b"".join(encode(item) for item in value)


def _head(major_type: int, argument: int) -> bytes:
    first = major_type << 5
    if argument < 24:
        return bytes([first | argument])
    for additional, size_bytes in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size_bytes:
            return bytes([first | additional]) + argument.to_bytes(size_bytes, "big")
    raise ValueError("an integer beyond 64 bits")


class _Reader:
    """Takes one item after the other off the front."""

    def __init__(self, data: bytes) -> None:
        self.position = 0
        self._data = data

    def value(self, depth: int) -> Value:
        """The next item; maps may be nested `depth` deep from here on."""
        major_type, additional = divmod(self._byte(), 32)
        if major_type == _SIMPLE:
            if additional not in _SIMPLE_VALUES:
                raise Malformed("a float, or a simple value that is not known")
            return _SIMPLE_VALUES[additional]
        if major_type == _MAP:
            if depth == 0:
                raise Malformed(f"nested more than {DEPTH_MAX} deep")
            return self._map(None if additional == _INDEFINITE else self._argument(additional), depth - 1)
        argument = self._argument(additional)
        if major_type == _UNSIGNED:
            return argument
        if major_type == _NEGATIVE:
            return -1 - argument
        if major_type == _BYTES:
            return self._take(argument)
        if major_type == _TEXT:
            return self._text(argument)
        raise Malformed("an array or a tag")

    def _map(self, count: int | None, depth: int) -> dict[str, Value]:
        """A map of `count` pairs, or (None) up to the break."""
        found: dict[str, Value] = {}
        while count is None or len(found) < count:
            if count is None and self._peek() == _BREAK:
                self.position += 1
                break
            if len(found) == KEYS_MAX:
                raise Malformed(f"more than {KEYS_MAX} keys")
            key = self.value(0)
            if not isinstance(key, str):
                raise Malformed("a key that is no text")
            if key in found:
                raise Malformed("a key twice")
            found[key] = self.value(depth)
        return found

    def _argument(self, additional: int) -> int:
        if additional < 24:
            return additional
        if additional > 27:
            raise Malformed("a length that is not definite, or reserved")
        return int.from_bytes(self._take(1 << additional - 24), "big")

    def _text(self, size_bytes: int) -> str:
        try:
            return self._take(size_bytes).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("text that is not UTF-8") from None

    def _byte(self) -> int:
        return self._take(1)[0]

    def _peek(self) -> int | None:
        return self._data[self.position] if self.position < len(self._data) else None

    def _take(self, size_bytes: int) -> bytes:
        part = self._data[self.position : self.position + size_bytes]
        if len(part) != size_bytes:
            raise Malformed("cut short")
        self.position += size_bytes
        return part
