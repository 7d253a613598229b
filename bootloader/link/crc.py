"""CRC-16/XMODEM, which finds what a bad wire does to a frame. It protects against nobody who means it."""

from __future__ import annotations

from binascii import crc_hqx

CRC_SIZE_BYTES = 2


def crc16(data: bytes) -> int:
    """CRC-16 with polynomial 0x1021, initial value 0, nothing reflected."""
    return crc_hqx(data, 0)


def with_crc(data: bytes) -> bytes:
    """The data, and its CRC behind it, big-endian."""
    return data + crc16(data).to_bytes(CRC_SIZE_BYTES, "big")


def without_crc(data: bytes) -> bytes | None:
    """What stands before a right CRC; None if it is wrong, or not there."""
    content, crc = data[:-CRC_SIZE_BYTES], data[-CRC_SIZE_BYTES:]
    return content if len(crc) == CRC_SIZE_BYTES and crc16(content) == int.from_bytes(crc, "big") else None
