"""CRC-16/XMODEM: polynomial 0x1021, initial value 0, not reflected; sent big-endian (protocol.md, section 5)."""

from __future__ import annotations

from binascii import crc_hqx


def crc16_xmodem(data: bytes) -> bytes:
    """The two bytes that follow `data`."""
    return crc_hqx(data, 0).to_bytes(2, "big")
