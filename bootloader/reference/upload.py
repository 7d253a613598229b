"""From blocks of any size to head, chunks and trailer: the bytes of one upload, in order (device-state.md, section 5).

At most one chunk is held. A block is taken up to the chunk that has to wait for an erase (section 10).
"""

from __future__ import annotations

from collections.abc import Callable

from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.install import Installation
from bootloader.reference.sizes import HEAD_SIZE_BYTES


class Upload:
    """One upload, from its announcement to its last byte. `admit` judges the head and gives the installation."""

    def __init__(self, package_size_bytes: int, admit: Callable[[bytes, int], Installation]) -> None:
        """Raises Refused(HEAD_TRUNCATED) if not even a head is announced."""
        announced = package_size_bytes >= HEAD_SIZE_BYTES
        require(announced, DeviceCode.HEAD_TRUNCATED, f"{package_size_bytes} bytes announced")
        self.package_size_bytes = package_size_bytes
        self.offset_bytes = 0
        self.installation: Installation | None = None
        self._admit = admit
        self._buffer = bytearray()

    @property
    def first_bytes(self) -> bytes:
        """The head, or what has come of it: whoever sends the same again goes on where this upload is."""
        return self.installation.head.raw if self.installation is not None else bytes(self._buffer)

    @property
    def is_finished(self) -> bool:
        return self.offset_bytes == self.package_size_bytes

    def take(self, data: bytes) -> None:
        """The next bytes, up to what has to wait for an erase; raises Refused, after which the upload is over."""
        fits = self.offset_bytes + len(data) <= self.package_size_bytes
        require(fits, DeviceCode.UPLOAD_STATE, f"more than the {self.package_size_bytes:,} bytes announced")
        position = 0
        while position < len(data):
            wanted_bytes = self._wanted_bytes()
            part = bytes(self._buffer) + data[position : position + wanted_bytes - len(self._buffer)]
            if len(part) < wanted_bytes:
                self._hold(part)
                return
            taken_bytes = self._take_part(part)
            if taken_bytes < len(part):
                if taken_bytes:
                    self._hold(part[:taken_bytes])
                return
            position += len(part) - len(self._buffer)
            self._hold(part)
            self._buffer.clear()

    def _hold(self, part: bytes) -> None:
        """Keep so much of the part that is being received."""
        self.offset_bytes += len(part) - len(self._buffer)
        self._buffer[:] = part

    def _wanted_bytes(self) -> int:
        """The size of the part that is being received: the head, a chunk, or what there is of a trailer."""
        if self.installation is None:
            return HEAD_SIZE_BYTES
        if not self.installation.is_complete:
            return self.installation.chunk_size_bytes
        return self.package_size_bytes - self.installation.head.package_size_bytes_min

    def _take_part(self, part: bytes) -> int:
        """How many bytes of a whole part are taken: all, or fewer where an erase came first."""
        if self.installation is None:
            self.installation = self._admit(part, self.package_size_bytes)
        elif not self.installation.is_complete:
            return self.installation.take_chunk(part)
        return len(part)  # a trailer has been counted, and means nothing here
