"""Hop packets, which carry messages along chains and over buses, sans I/O (docs/spec/protocol.md, section 5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from rpc.cobs import cobs_decode, cobs_encode
from rpc.crc16 import crc16_xmodem
from rpc.errors import MessageMalformed

HOP_MESSAGE_SIZE_MAX_BYTES: Final = 2_048
_HEADER: Final = struct.Struct(">BBH")
_CRC_SIZE_BYTES: Final = 2
_DELIMITER: Final = b"\0"
_ENCODED_SIZE_MAX_BYTES: Final = _HEADER.size + HOP_MESSAGE_SIZE_MAX_BYTES + _CRC_SIZE_BYTES + 16


class HopFlags(IntFlag):
    """What a packet is besides a request."""

    NONE = 0
    REPLY = 1
    NO_SUCH_NODE = 2
    BUSY = 4


_FLAGS_ALL: Final = int(HopFlags.REPLY | HopFlags.NO_SUCH_NODE | HopFlags.BUSY)


@dataclass(frozen=True, slots=True)
class HopPacket:
    """One packet: `address` is the number of hops to go, or come (chain), or the slave's address (bus)."""

    address: int
    flags: HopFlags
    message: bytes

    def encode(self) -> bytes:
        """The packet with its CRC, as a bus carries it."""
        body = _HEADER.pack(self.address, self.flags, len(self.message)) + self.message
        return body + crc16_xmodem(body)

    def encode_delimited(self) -> bytes:
        """The packet in COBS between 0x00 bytes, as a chain and a bus adapter carry it."""
        return _DELIMITER + cobs_encode(self.encode()) + _DELIMITER

    @classmethod
    def parse(cls, data: bytes) -> HopPacket:
        """One whole packet; raises MessageMalformed (LK-04) if it breaks a rule or its CRC is wrong."""
        if len(data) < _HEADER.size + _CRC_SIZE_BYTES:
            raise MessageMalformed("LK-04", "shorter than a hop packet")
        body, crc = data[:-_CRC_SIZE_BYTES], data[-_CRC_SIZE_BYTES:]
        if crc16_xmodem(body) != crc:
            raise MessageMalformed("LK-04", "the CRC of a hop packet is wrong")
        address, flags, size_bytes = _HEADER.unpack_from(body)
        if flags & ~_FLAGS_ALL or size_bytes > HOP_MESSAGE_SIZE_MAX_BYTES or len(body) != _HEADER.size + size_bytes:
            raise MessageMalformed("LK-04", "flags or length of a hop packet break a rule")
        return cls(address, HopFlags(flags), body[_HEADER.size :])


class HopDecoder:
    """Finds packets in what a stream delivers, in pieces of any size. Keeps at most one packet."""

    def __init__(self) -> None:
        self.bad_frames = 0
        self._encoded = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[HopPacket]:
        """Take what arrived; give the packets that are complete now, in order."""
        packets: list[HopPacket] = []
        pieces = data.split(_DELIMITER)
        for number, piece in enumerate(pieces):
            self._extend(piece)
            if number < len(pieces) - 1:
                packets += self._end()
        return packets

    def _extend(self, piece: bytes) -> None:
        if len(self._encoded) + len(piece) > _ENCODED_SIZE_MAX_BYTES:
            self._too_long = True
            self._encoded.clear()
        if not self._too_long:
            self._encoded += piece

    def _end(self) -> list[HopPacket]:
        encoded, too_long = bytes(self._encoded), self._too_long
        self._encoded.clear()
        self._too_long = False
        if not encoded and not too_long:
            return []
        try:
            if too_long:
                raise ValueError("longer than a packet")
            return [HopPacket.parse(cobs_decode(encoded))]
        except (ValueError, MessageMalformed):
            self.bad_frames += 1
            return []
