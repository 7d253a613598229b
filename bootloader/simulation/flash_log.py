"""Flash operations on record beside a device file, so that a served device loses nothing when its process is killed.

Writing the whole file after each request would cost tens of milliseconds. So the operations of a request are appended
to a log, as one group, before the request is answered; whoever reads the device file does them again. A group that is
not whole is none: the request was never answered, and the device is as a power cut before it would have left it.

The log is one line of text, the SHA-256 of the device file it goes with, and groups: u32 size and u32 CRC-32 of what
follows, then operations: u32 address, u32 size (0xFFFFFFFF: the sector there was erased), data. Little-endian. A log
that goes with another file than the one beside it says nothing: the file was written anew after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from struct import Struct

from bootloader.simulation.sim_flash import Operation

_FIRST_LINE = b"Strongroom simulated device, SIMULATION ONLY, flash log, format version 1\n"
_DIGEST_SIZE_BYTES = 32
_LOG_SIZE_BYTES_MAX = 256 * 1024 * 1024
_ERASED = 0xFFFFFFFF
_GROUP = Struct("<I I")
_OPERATION = Struct("<I I")


def log_path(device_file: Path) -> Path:
    """Where the log of a device file is."""
    return device_file.with_name(device_file.name + ".flash-log")


def log_header(device_file_content: bytes) -> bytes:
    """What a log begins with, that goes with a device file of this content."""
    return _FIRST_LINE + sha256(device_file_content).digest()


def encode_group(operations: Iterable[Operation]) -> bytes:
    """The operations of one request."""
    body = bytearray()
    for operation in operations:
        if operation.data is None:
            body += _OPERATION.pack(operation.address, _ERASED)
        else:
            body += _OPERATION.pack(operation.address, len(operation.data)) + operation.data
    return _GROUP.pack(len(body), zlib.crc32(body)) + body


def decode_log(log: bytes, device_file_content: bytes) -> list[Operation]:
    """The operations of all groups that are whole; none of a log that goes with another file."""
    header = log_header(device_file_content)
    if not log.startswith(header):
        return []
    operations: list[Operation] = []
    position = len(header)
    while position + _GROUP.size <= len(log):
        size_bytes, crc = _GROUP.unpack_from(log, position)
        body = log[position + _GROUP.size : position + _GROUP.size + size_bytes]
        if len(body) != size_bytes or zlib.crc32(body) != crc:
            break
        operations += _decode_group(body)
        position += _GROUP.size + size_bytes
    return operations


def read_log(device_file: Path, device_file_content: bytes) -> list[Operation]:
    """What was done to flash since a device file of this content was written; raises OSError but for no log at all."""
    try:
        with log_path(device_file).open("rb") as file:
            return decode_log(file.read(_LOG_SIZE_BYTES_MAX), device_file_content)
    except FileNotFoundError:
        return []


def _decode_group(body: bytes) -> list[Operation]:
    operations = []
    position = 0
    while position < len(body):
        address, size_bytes = _OPERATION.unpack_from(body, position)
        position += _OPERATION.size
        if size_bytes == _ERASED:
            operations.append(Operation(address, None))
        else:
            operations.append(Operation(address, body[position : position + size_bytes]))
            position += size_bytes
    return operations
