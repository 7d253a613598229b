"""A simulated device in one file, `device.img`: board, UID, mailbox and flash with all its scars. Simulation only.

Integers are little-endian. The file is one line of text, which says what it is, and a zlib stream of
u32-counted parts: board text, UID, mailbox, option bytes, two seeds (of flash and of the platform), then each sector.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from bootloader.reference.board import BoardInvalid, load_board
from bootloader.reference.start import Mailbox, MailboxRequest
from bootloader.simulation.device import SimulatedDevice, blank_flash
from bootloader.simulation.flash_log import log_path, read_log
from bootloader.simulation.platform import READOUT_LEVEL_MAX, OptionBytes, SimulatedPlatform
from bootloader.simulation.sim_flash import FlashSnapshot
from bootloader.simulation.sim_sector import PAGE_SIZE_BYTES, SimSector

_FIRST_LINE = b"Strongroom simulated device, SIMULATION ONLY, format version "
_FORMAT_VERSION = 2
_FILE_SIZE_BYTES_MAX = 256 * 1024 * 1024
_CONTENT_SIZE_BYTES_MAX = 512 * 1024 * 1024
_UID_SIZE_BYTES_MAX = 16
_HASH_SIZE_BYTES_MAX = 32
_SECTOR_SIZE_BYTES_MAX = 1024 * 1024

_U32 = Struct("<I")
_U64 = Struct("<Q")
_PAGE = Struct(f"<I {PAGE_SIZE_BYTES}s")
_MAILBOX_REQUESTS = (None, MailboxRequest.CONFIRM, MailboxRequest.UPDATE)


class DeviceFileInvalid(Exception):
    """The file is not a simulated device that this version reads; the text says why."""


def encode_device(device: SimulatedDevice) -> bytes:
    """The file's bytes. The device keeps its flash and its mailbox; what runs on it is lost, as in a power cut."""
    mailbox = device.mailbox
    request = mailbox.request if mailbox is not None else None
    parts = [
        _counted(device.board.text.encode()),
        _counted(device.uid),
        _U32.pack(_MAILBOX_REQUESTS.index(request)),
        _counted(mailbox.head_hash if mailbox is not None else b""),
        _encode_option_bytes(device.platform.option_bytes),
        _U64.pack(device.flash.draw_seed()),
        _U64.pack(device.platform.draw_seed()),
    ]
    parts += [_encode_sector(sector) for sector in device.flash.snapshot().sectors]
    return _FIRST_LINE + b"%d\n" % _FORMAT_VERSION + zlib.compress(b"".join(parts), 1)


def decode_device(data: bytes) -> SimulatedDevice:
    """The device of a file's bytes, without power; raises DeviceFileInvalid."""
    line, newline, compressed = data.partition(b"\n")
    if not line.startswith(_FIRST_LINE) or not newline:
        raise DeviceFileInvalid("not the file of a simulated device")
    if line != _FIRST_LINE + b"%d" % _FORMAT_VERSION:
        raise DeviceFileInvalid("a simulated device of another format version: make it anew with this version")
    reader = _Reader(_decompress(compressed))
    try:
        board = load_board(reader.counted(_CONTENT_SIZE_BYTES_MAX).decode())
    except (BoardInvalid, UnicodeDecodeError) as error:
        raise DeviceFileInvalid(f"the board in the file: {error}") from None
    uid = reader.counted(_UID_SIZE_BYTES_MAX)
    if len(uid) != board.uid_size_bytes:
        raise DeviceFileInvalid("the UID is not one of the board")
    mailbox = _read_mailbox(reader)
    option_bytes = _read_option_bytes(reader)
    flash = blank_flash(board, _U64.unpack(reader.take(_U64.size))[0])
    platform = SimulatedPlatform(_U64.unpack(reader.take(_U64.size))[0], option_bytes)
    sectors = tuple(_read_sector(reader, sector.size_bytes, board.write_unit_bytes) for sector in board.sectors)
    reader.demand_end()
    flash.restore(FlashSnapshot(sectors, frozenset()))
    device = SimulatedDevice(board, uid, flash, platform)
    device.mailbox = mailbox
    return device


def create_device_file(path: Path, device: SimulatedDevice) -> None:
    """Write a new file, durably; raises FileExistsError rather than overwrite."""
    temporary = _write_temporary(path, encode_device(device))
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def replace_device_file(path: Path, device: SimulatedDevice) -> None:
    """Write over an existing file, durably: after a crash it is the old one or the new one."""
    put_device_file(path, encode_device(device))


def put_device_file(path: Path, content: bytes, lock: Callable[[Path], None] = lambda _: None) -> None:
    """Write content over a device file, durably, and drop its log. `lock` gets the file before it has its name."""
    temporary = _write_temporary(path, content)
    try:
        lock(temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise
    _sync_folder(path.parent)
    log_path(path).unlink(missing_ok=True)


def read_device_file(path: Path) -> SimulatedDevice:
    """The device of a file, and of the log beside it; raises DeviceFileInvalid or OSError."""
    with path.open("rb") as file:
        data = file.read(_FILE_SIZE_BYTES_MAX + 1)
    if len(data) > _FILE_SIZE_BYTES_MAX:
        raise DeviceFileInvalid("larger than any simulated device")
    device = decode_device(data)
    if operations := read_log(path, data):
        device.mailbox = None  # whoever wrote the log had its power cut
        device.flash.replay(operations)
    return device


def _encode_sector(sector: SimSector) -> bytes:
    """Content, flags, and the pages that hold unstable bits; three empty parts for a sector that was never touched."""
    if not any(sector.flags) and not sector.unstable and sector.is_blank:
        return _counted(b"") + _counted(b"") + _U32.pack(0)
    pages = [_PAGE.pack(page, mask.to_bytes(PAGE_SIZE_BYTES, "little")) for page, mask in sector.unstable.items()]
    return _counted(bytes(sector.content)) + _counted(bytes(sector.flags)) + _U32.pack(len(pages)) + b"".join(pages)


def _read_sector(reader: _Reader, size_bytes: int, write_unit_bytes: int) -> SimSector:
    content = bytearray(reader.counted(_SECTOR_SIZE_BYTES_MAX))
    flags = bytearray(reader.counted(_SECTOR_SIZE_BYTES_MAX))
    page_count = reader.u32()
    if not content and not flags and page_count == 0:
        return SimSector.blank(size_bytes, write_unit_bytes)
    page_count_max = -(-size_bytes // PAGE_SIZE_BYTES)
    if len(content) != size_bytes or len(flags) != size_bytes // write_unit_bytes or page_count > page_count_max:
        raise DeviceFileInvalid("a sector is not one of the board")
    unstable: dict[int, int] = {}
    for _ in range(page_count):
        page, mask = _PAGE.unpack(reader.take(_PAGE.size))
        if page >= page_count_max or page in unstable:
            raise DeviceFileInvalid("unstable bits outside their sector, or twice")
        unstable[page] = int.from_bytes(mask, "little")
    return SimSector(content, flags, unstable, write_unit_bytes)


def _read_mailbox(reader: _Reader) -> Mailbox | None:
    number = reader.u32()
    head_hash = reader.counted(_HASH_SIZE_BYTES_MAX)
    if number >= len(_MAILBOX_REQUESTS):
        raise DeviceFileInvalid("an unknown request in the mailbox")
    request = _MAILBOX_REQUESTS[number]
    return Mailbox(request, head_hash) if request is not None else None


def _encode_option_bytes(option_bytes: OptionBytes) -> bytes:
    flags = (option_bytes.write_protect, option_bytes.brown_out, option_bytes.debug_closed)
    return bytes([option_bytes.readout_level, *flags])


def _read_option_bytes(reader: _Reader) -> OptionBytes:
    level, *flags = reader.take(4)
    if level > READOUT_LEVEL_MAX or any(flag > 1 for flag in flags):
        raise DeviceFileInvalid("option bytes that no device has")
    return OptionBytes(level, *map(bool, flags))


@dataclass(slots=True)
class _Reader:
    """Takes parts off the front; raises DeviceFileInvalid where the file is too short, or too long."""

    data: bytes
    position: int = 0

    def take(self, size_bytes: int) -> bytes:
        part = self.data[self.position : self.position + size_bytes]
        if len(part) != size_bytes:
            raise DeviceFileInvalid("the file is cut short")
        self.position += size_bytes
        return part

    def u32(self) -> int:
        return int(_U32.unpack(self.take(_U32.size))[0])

    def counted(self, size_bytes_max: int) -> bytes:
        size_bytes = self.u32()
        if size_bytes > size_bytes_max:
            raise DeviceFileInvalid("a part of the file is larger than it can be")
        return self.take(size_bytes)

    def demand_end(self) -> None:
        if self.position != len(self.data):
            raise DeviceFileInvalid("the file goes on behind its end")


def _counted(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _decompress(compressed: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(compressed, _CONTENT_SIZE_BYTES_MAX)
    except zlib.error:
        raise DeviceFileInvalid("the file is damaged") from None
    if not decompressor.eof or decompressor.unused_data:
        raise DeviceFileInvalid("the file is cut short, or goes on behind its end")
    return data


def _write_temporary(path: Path, data: bytes) -> Path:
    """A file beside `path`, written and synced."""
    descriptor, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
