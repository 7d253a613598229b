"""The header of an SMP message, as a device reads it (docs/spec/protocol.md, section 1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

HEADER_SIZE_BYTES = 8

_LAYOUT = Struct(">B B H H B B")
_VERSION_MAX = 1


class Op(IntEnum):
    """What a message is; a reply has the op of its request + 1."""

    READ = 0
    READ_REPLY = 1
    WRITE = 2
    WRITE_REPLY = 3


class Group(IntEnum):
    """The groups of commands that a device knows."""

    OS = 0
    IMAGE = 1
    STRONGROOM = 0x4D42


class ManagementError(IntEnum):
    """Errors of SMP itself, `rc` of both versions (MCUmgr's MGMT_ERR_*)."""

    EINVAL = 3
    EBADSTATE = 6
    ENOTSUP = 8


@dataclass(frozen=True, slots=True)
class Header:
    """The first 8 bytes of a message. `version` 0 is SMP 1; `size_bytes` is what follows the header."""

    version: int
    op: int
    flags: int
    size_bytes: int
    group: int
    sequence: int
    command: int

    @property
    def is_request(self) -> bool:
        """Whether a device answers it: of a version and with an op that it knows, and no reply itself."""
        return self.version <= _VERSION_MAX and self.op in (Op.READ, Op.WRITE)

    def encode(self) -> bytes:
        """The 8 bytes."""
        return _LAYOUT.pack(
            self.version << 3 | self.op, self.flags, self.size_bytes, self.group, self.sequence, self.command
        )

    def reply(self, body: bytes) -> bytes:
        """The whole reply to this request: its version, group, sequence and command, and its op + 1, always."""
        return Header(self.version, self.op + 1, 0, len(body), self.group, self.sequence, self.command).encode() + body


def parse_header(message: bytes) -> Header | None:
    """The header of a message of any length; None if it has no whole header."""
    if len(message) < HEADER_SIZE_BYTES:
        return None
    first, flags, size_bytes, group, sequence, command = _LAYOUT.unpack_from(message)
    version, op = divmod(first, 8)
    return Header(version, op, flags, size_bytes, group, sequence, command)
