"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): no 0x00 inside, so 0x00 can stand between packets."""

from __future__ import annotations

from typing import Final

_RUN_MAX_BYTES: Final = 254


def cobs_encode(data: bytes) -> bytes:
    """The same bytes without any 0x00; at most one byte in 254 longer, and one."""
    encoded = bytearray()
    runs = data.split(b"\0")
    for number, run in enumerate(runs, start=1):
        start = 0
        while len(run) - start >= _RUN_MAX_BYTES:
            encoded += b"\xff" + run[start : start + _RUN_MAX_BYTES]
            start += _RUN_MAX_BYTES
        if 0 < start == len(run) and number == len(runs):
            break  # a full run says itself that no 0x00 follows
        encoded.append(len(run) - start + 1)
        encoded += run[start:]
    return bytes(encoded)


def cobs_decode(encoded: bytes) -> bytes:
    """The bytes that were encoded; raises ValueError if there are none."""
    data = bytearray()
    position = 0
    joined_by_zero = False
    while position < len(encoded):
        code = encoded[position]
        run = encoded[position + 1 : position + code]
        if code == 0 or len(run) != code - 1 or 0 in run:
            raise ValueError("not encoded by COBS")
        if joined_by_zero:
            data.append(0)
        data += run
        joined_by_zero = code <= _RUN_MAX_BYTES
        position += code
    return bytes(data)
