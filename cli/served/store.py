"""The file of a served device: locked while it is served, and never behind what the device has answered.

The flash operations of each request are written to a log beside the file, and synced, before the request is answered
(bootloader/simulation/flash_log.py). So `kill -9` at any moment leaves what a power cut between two flash operations
would leave, and whoever holds an answer finds its effect. Cuts within an operation are the simulation's business.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from bootloader.simulation.device import SimulatedDevice
from bootloader.simulation.device_file import DeviceFileInvalid, encode_device, put_device_file, read_device_file
from bootloader.simulation.flash_log import encode_group, log_header, log_path
from bootloader.simulation.sim_flash import Operation
from pki.errors import InputRefused, OutputError

_FOLD_SIZE_BYTES = 16 * 1024 * 1024


class DeviceStore:
    """One device and its file. No other process uses it before `close`."""

    def __init__(self, path: Path) -> None:
        """Raises InputRefused if the file cannot be used, or is in use."""
        self._path = path
        self._lock = _lock(path)
        self._log: int | None = None
        self._log_size_bytes = 0
        try:
            self.device: SimulatedDevice = read_device_file(path)
            self._content = path.read_bytes()
        except DeviceFileInvalid as error:
            self._release()
            raise InputRefused(f"device file {path}: {error}") from None
        except OSError as error:
            self._release()
            raise InputRefused(f"device file {path}: cannot be read ({error.strerror})") from None
        if log_path(path).exists():
            self.write_whole()

    def keep(self, operations: Sequence[Operation]) -> None:
        """Put flash operations on record, durably. Raises OutputError."""
        if not operations:
            return
        try:
            if self._log is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
                self._log = os.open(log_path(self._path), flags, 0o600)
                self._append(log_header(self._content))
            self._append(encode_group(operations))
            os.fdatasync(self._log)
        except OSError as error:
            raise OutputError(f"flash log of {self._path}: cannot be written ({error.strerror})") from None

    def write_whole(self) -> None:
        """Write the device to its file as it is, and begin a new log. Raises OutputError."""
        self._content = encode_device(self.device)
        try:
            put_device_file(self._path, self._content, self._take_lock_of)
        except OSError as error:
            raise OutputError(f"device file {self._path}: cannot be written ({error.strerror})") from None
        self._close_log()

    def write_whole_if_log_is_long(self) -> None:
        """At a reset: what is erased is not yet being programmed, so the file alone says all. Raises OutputError."""
        if self._log_size_bytes > _FOLD_SIZE_BYTES:
            self.write_whole()

    def close(self) -> None:
        """Write the device to its file, and let others use it. Raises OutputError."""
        try:
            self.write_whole()
        finally:
            self._release()

    def _append(self, data: bytes) -> None:
        if self._log is None:
            raise AssertionError("the log is open")
        os.write(self._log, data)
        self._log_size_bytes += len(data)

    def _take_lock_of(self, new_file: Path) -> None:
        """The file that is about to have the device's name is locked before it has it."""
        descriptor = os.open(new_file, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(self._lock)
        self._lock = descriptor

    def _close_log(self) -> None:
        if self._log is not None:
            os.close(self._log)
        self._log = None
        self._log_size_bytes = 0

    def _release(self) -> None:
        self._close_log()
        os.close(self._lock)


def _lock(path: Path) -> int:
    """An exclusive lock on the file itself. A file that was replaced since it was opened is in use by another."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise InputRefused(f"device file {path}: cannot be opened for writing ({error.strerror})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        in_use = os.fstat(descriptor).st_ino != path.stat().st_ino
    except OSError:
        in_use = True
    if in_use:
        os.close(descriptor)
        raise InputRefused(f"device file {path}: another process is using it; wait until that has finished")
    return descriptor
