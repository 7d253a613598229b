"""Hop packets, which carry SMP messages along chains and buses, and COBS, which frames them on a byte stream.

docs/spec/protocol.md, section 5. Nothing in a packet is secret, and nothing in it is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from bootloader.link.crc import with_crc, without_crc

MESSAGE_SIZE_BYTES_MAX = 2048
PACKET_HEADER_SIZE_BYTES = 4
PACKET_SIZE_BYTES_MAX = PACKET_HEADER_SIZE_BYTES + MESSAGE_SIZE_BYTES_MAX + 2
ENCODED_SIZE_BYTES_MAX = PACKET_SIZE_BYTES_MAX + PACKET_SIZE_BYTES_MAX // 254 + 1
ADDRESS_MAX = 255

_COBS_RUN_MAX = 254


class HopFlags(IntFlag):
    """What a packet is."""

    REPLY = 1
    NO_SUCH_NODE = 2
    BUSY = 4


_FLAGS_KNOWN = int(HopFlags.REPLY | HopFlags.NO_SUCH_NODE | HopFlags.BUSY)


@dataclass(frozen=True, slots=True)
class HopPacket:
    """One packet; `message` is one SMP message, or empty."""

    address: int
    flags: HopFlags
    message: bytes = b""

    @property
    def is_reply(self) -> bool:
        return HopFlags.REPLY in self.flags

    def encode(self) -> bytes:
        """Header, message, CRC."""
        return with_crc(bytes([self.address, self.flags]) + len(self.message).to_bytes(2, "big") + self.message)


def parse_packet(data: bytes) -> HopPacket | None:
    """The packet of these bytes; None if it breaks a rule: then it is dropped and counted."""
    content = without_crc(data)
    if content is None or not PACKET_HEADER_SIZE_BYTES <= len(content) <= PACKET_SIZE_BYTES_MAX - 2:
        return None
    address, flags, message = content[0], content[1], content[PACKET_HEADER_SIZE_BYTES:]
    if flags & ~_FLAGS_KNOWN or int.from_bytes(content[2:4], "big") != len(message):
        return None
    return HopPacket(address, HopFlags(flags), message)


def framed(packet: HopPacket) -> bytes:
    """A packet on a byte stream: COBS between two zero bytes."""
    return b"\0" + cobs_encode(packet.encode()) + b"\0"


def cobs_encode(data: bytes) -> bytes:
    """Consistent Overhead Byte Stuffing: the same bytes without a zero, at most 1 in 254 longer."""
    encoded = bytearray()
    runs = data.split(b"\0")
    for number, run in enumerate(runs):
        full_bytes = len(run) // _COBS_RUN_MAX * _COBS_RUN_MAX
        for begin in range(0, full_bytes, _COBS_RUN_MAX):
            encoded += b"\xff" + run[begin : begin + _COBS_RUN_MAX]
        rest = run[full_bytes:]
        # A full run ends no zero; so only at the very end nothing need follow it.
        if rest or not full_bytes or number < len(runs) - 1:
            encoded += bytes([len(rest) + 1]) + rest
    return bytes(encoded)


def cobs_decode(encoded: bytes) -> bytes | None:
    """What was encoded; None if it is cut short, or has a zero."""
    if not encoded or 0 in encoded:
        return None
    decoded = bytearray()
    position = 0
    while position < len(encoded):
        code = encoded[position]
        run = encoded[position + 1 : position + code]
        if len(run) != code - 1:
            return None
        decoded += run
        position += code
        if code <= _COBS_RUN_MAX and position < len(encoded):
            decoded.append(0)
    return bytes(decoded)
