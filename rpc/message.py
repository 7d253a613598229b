"""SMP messages, as a host has them: a header of 8 bytes and one CBOR map (docs/spec/protocol.md, section 1).

Strict on what comes in: bounded, no key twice, nothing behind the map. Maps of indefinite length are taken, because
some servers of the field send them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Final, NoReturn

import cbor2

from rpc.errors import MessageMalformed

HEADER_SIZE_BYTES: Final = 8
MESSAGE_SIZE_MAX_BYTES: Final = 65_535
"""The most that console framing and UDP can carry. A reply longer than this is none."""

_HEADER: Final = struct.Struct(">BBHHBB")
_VERSION_2: Final = 1
_VERSION_SHIFT: Final = 3
_OP_MASK: Final = 0b111
_DEPTH_MAX: Final = 8
_KEYS_MAX: Final = 64


class Op(IntEnum):
    """What a message is. A reply has the op of its request, plus 1."""

    READ = 0
    READ_REPLY = 1
    WRITE = 2
    WRITE_REPLY = 3


class Group(IntEnum):
    """The groups of commands that this host uses."""

    OS = 0
    IMAGE = 1
    STRONGROOM = 0x4D42


@dataclass(frozen=True, slots=True)
class Header:
    """The header, without the flags, which are 0."""

    version: int
    op: int
    body_size_bytes: int
    group: int
    sequence: int
    command: int

    def encode(self) -> bytes:
        """The 8 bytes."""
        version_and_op = self.version << _VERSION_SHIFT | self.op
        return _HEADER.pack(version_and_op, 0, self.body_size_bytes, self.group, self.sequence, self.command)

    @classmethod
    def parse(cls, message: bytes) -> Header:
        """The header of a whole message; raises MessageMalformed (LK-01) if it does not fit the message's length."""
        if len(message) < HEADER_SIZE_BYTES:
            raise MessageMalformed("LK-01", f"a message has a header of 8 bytes; these are {len(message)}")
        first, flags, body_size_bytes, group, sequence, command = _HEADER.unpack_from(message)
        version = first >> _VERSION_SHIFT
        if version > _VERSION_2 or first & _OP_MASK > Op.WRITE_REPLY or flags != 0:
            raise MessageMalformed("LK-01", f"no SMP header of version 1 or 2: {message[:HEADER_SIZE_BYTES].hex()}")
        if body_size_bytes != len(message) - HEADER_SIZE_BYTES:
            raise MessageMalformed(
                "LK-01", f"the header announces {body_size_bytes} bytes, {len(message) - HEADER_SIZE_BYTES} follow"
            )
        return cls(version, first & _OP_MASK, body_size_bytes, group, sequence, command)


def encode_request(op: Op, group: int, sequence: int, command: int, fields: dict[str, object]) -> bytes:
    """A request of SMP version 2; the map in deterministic encoding (RFC 8949, section 4.2.1)."""
    body = cbor2.dumps(fields, canonical=True)
    return Header(_VERSION_2, op, len(body), group, sequence, command).encode() + body


def is_reply_to(message: bytes, request: bytes) -> bool:
    """Whether the message has the header of a reply to `request`; raises MessageMalformed (LK-01) if it has none."""
    reply, asked = Header.parse(message), Header.parse(request)
    return (reply.op, reply.group, reply.sequence, reply.command) == (
        asked.op + 1,
        asked.group,
        asked.sequence,
        asked.command,
    )


def body_of(message: bytes) -> dict[str, object]:
    """The map of a message whose header was parsed; raises MessageMalformed (LK-02)."""
    encoded = BytesIO(message[HEADER_SIZE_BYTES:])
    decoder = cbor2.CBORDecoder(
        encoded,
        tag_hook=_refuse_tag,
        semantic_decoders=_NO_TAGS,
        str_errors="strict",
        max_depth=_DEPTH_MAX,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    try:
        body = decoder.decode()
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError) as error:
        raise MessageMalformed("LK-02", f"not one CBOR map: {str(error) or type(error).__name__}") from None
    if encoded.tell() != len(message) - HEADER_SIZE_BYTES:
        raise MessageMalformed("LK-02", "bytes follow the map")
    if not isinstance(body, dict) or len(body) > _KEYS_MAX:
        raise MessageMalformed("LK-02", "not a map of at most 64 keys")
    _require_plain(body, _DEPTH_MAX)
    return body


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")


# Tags that cbor2 would make something of by itself: numbers, times, references, patterns, sets, a self-description.
_KNOWN_TAGS: Final = (*range(6), 25, *range(28, 31), *range(35, 38), 100, 256, 258, 260, 261, 1004, 43000, 55799)
_NO_TAGS: Final = dict.fromkeys(_KNOWN_TAGS, _refuse_tag)


def _require_plain(value: object, depth: int) -> None:
    """Only what JSON could say, and byte strings."""
    if depth == 0:
        raise MessageMalformed("LK-02", f"nested more than {_DEPTH_MAX} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise MessageMalformed("LK-02", "a key of a map is no text")
            _require_plain(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner, depth - 1)
    elif value is not None and type(value) not in {bool, int, float, str, bytes}:
        raise MessageMalformed("LK-02", f"a value of a type that SMP does not use: {type(value).__name__}")
