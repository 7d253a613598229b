"""Attribute packing for python-pkcs11 that takes what modules really return.

Its own mapper fails on vendor object classes, on empty dates (NSS) and on labels that are not UTF-8; one such object on
a token would make every search fail.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Any, cast

from pkcs11.attributes import AttributeMapper
from pkcs11.constants import Attribute, ObjectClass
from pkcs11.mechanisms import KeyType

NSS_DB = 0xD5A0DB00
"""CKA_NSS_DB: NSS softokn wants an EC private key's public point in it before it unwraps one (docs/adr/0073)."""

_ULONG = struct.Struct("@L")


def _pack_ulong(value: int) -> bytes:
    return _ULONG.pack(int(value))


def _unpack_ulong(data: bytes) -> int:
    """An unsigned long, or -1 for a value of another size."""
    return int(_ULONG.unpack(data)[0]) if len(data) == _ULONG.size else -1


def _unpack_enum(enum: type[IntEnum]) -> Callable[[bytes], int]:
    def unpack(data: bytes) -> int:
        value = _unpack_ulong(data)
        try:
            return enum(value)
        except ValueError:
            return value

    return unpack


def _pack_text(text: str) -> bytes:
    return text.encode("utf-8")


def _unpack_text(data: bytes) -> str:
    return data.decode("utf-8", errors="backslashreplace")


def _pack_mechanisms(mechanisms: Any) -> bytes:
    return b"".join(_pack_ulong(mechanism) for mechanism in mechanisms)


def _unpack_mechanisms(data: bytes) -> tuple[int, ...]:
    whole = len(data) - len(data) % _ULONG.size
    return tuple(number for (number,) in _ULONG.iter_unpack(data[:whole]))


def make_attribute_mapper() -> AttributeMapper:
    """A mapper whose unpacking never raises."""
    mapper = AttributeMapper()
    mapper.register_handler(Attribute.CLASS, _pack_ulong, _unpack_enum(ObjectClass))
    mapper.register_handler(Attribute.KEY_TYPE, _pack_ulong, _unpack_enum(KeyType))
    mapper.register_handler(Attribute.CERTIFICATE_TYPE, _pack_ulong, _unpack_ulong)
    mapper.register_handler(Attribute.KEY_GEN_MECHANISM, _pack_ulong, _unpack_ulong)
    mapper.register_handler(Attribute.LABEL, _pack_text, _unpack_text)
    mapper.register_handler(Attribute.UNIQUE_ID, _pack_text, _unpack_text)
    mapper.register_handler(Attribute.START_DATE, bytes, bytes)
    mapper.register_handler(Attribute.END_DATE, bytes, bytes)
    mapper.register_handler(cast(Attribute, NSS_DB), bytes, bytes)
    mapper.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
    return mapper
