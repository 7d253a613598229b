"""Packages as stock clients want them: with the TLVs that MCUboot's tools expect behind the payload."""

from __future__ import annotations

import hashlib
import struct

TRAILER_MAGIC = 0x6907
TLV_SHA256 = 0x10


def with_trailer(package: bytes) -> bytes:
    """Head and payload, and MCUboot's trailer with their SHA-256, as tools of MCUboot demand. Devices only count it."""
    tlv = struct.pack("<B x H", TLV_SHA256, 32) + hashlib.sha256(package).digest()
    return package + struct.pack("<H H", TRAILER_MAGIC, 4 + len(tlv)) + tlv
