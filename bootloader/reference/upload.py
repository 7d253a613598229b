"""From blocks of any size to head, chunks and trailer: the bytes of one upload, in order (device-state.md, section 5).

At most one chunk is held.
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
    def is_finished(self) -> bool:
        return self.offset_bytes == self.package_size_bytes

    def take(self, data: bytes) -> None:
        """The next bytes; raises Refused, after which the upload is over."""
        fits = self.offset_bytes + len(data) <= self.package_size_bytes
        require(fits, DeviceCode.UPLOAD_STATE, f"more than the {self.package_size_bytes:,} bytes announced")
        position = 0
        while position < len(data):
            taken = data[position : position + self._wanted_bytes() - len(self._buffer)]
            self._buffer += taken
            position += len(taken)
            self.offset_bytes += len(taken)
            if len(self._buffer) == self._wanted_bytes():
                part = bytes(self._buffer)
                self._buffer.clear()
                self._take_part(part)

    def _wanted_bytes(self) -> int:
        """The size of the part that is being received: the head, a chunk, or what there is of a trailer."""
        if self.installation is None:
            return HEAD_SIZE_BYTES
        if not self.installation.is_complete:
            return self.installation.chunk_size_bytes
        return self.package_size_bytes - self.installation.head.package_size_bytes_min

    def _take_part(self, part: bytes) -> None:
        if self.installation is None:
            self.installation = self._admit(part, self.package_size_bytes)
        elif not self.installation.is_complete:
            self.installation.take_chunk(part)
        # else it is the trailer, which has been counted, and means nothing here
