"""Sending what is larger than a message: a package by the image group, objects by ours (protocol.md, sections 3 and 4).

The device says which byte it wants next, and the host obeys: that is how uploads resume, how a device gains the time to
erase a sector, and how lost and doubled messages heal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rpc.errors import LinkError, MessageMalformed

UNCHANGED_MAX: Final = 2_048
"""Answers in a row that repeat an offset. One erases one sector: no board has nearly as many."""
SETBACKS_MAX: Final = 16
"""Times that a device may want to have again what it had already, in one upload."""
REQUESTS_PER_BLOCK_MAX: Final = 16
REQUESTS_BESIDE_MAX: Final = 4_096
"""Together they bound an upload whose device takes next to nothing of each block."""
PROBE_AFTER: Final = 2
PROBE_SIZE_BYTES: Final = 1
"""What is sent to a device that has repeated an offset PROBE_AFTER times: it erases a row of sectors, and would throw
away a whole block for each. After one repeat the next block is usually taken (docs/adr/0081)."""


@dataclass(slots=True)
class UploadPosition:
    """Where an upload stands. Pure: bytes are read and sent by others."""

    size_bytes: int
    block_size_bytes: int
    offset: int = 0
    _answers: int = 0
    _unchanged: int = 0
    _setbacks: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the device has every byte."""
        return self.offset == self.size_bytes

    @property
    def next_size_bytes(self) -> int:
        """How many bytes go into the next request: a block, or one while the device is erasing.

        The first request always carries a block, by which the device recognises an upload that it knows.
        """
        is_erasing = self._unchanged >= PROBE_AFTER and self.offset > 0
        wanted = PROBE_SIZE_BYTES if is_erasing else self.block_size_bytes
        return min(wanted, self.size_bytes - self.offset)

    def answered(self, offset: int) -> None:
        """Take the offset that the device expects now; raises LinkError (LK-05) if it leads nowhere."""
        if not 0 <= offset <= self.size_bytes:
            raise MessageMalformed("LK-03", f"`off` is no offset of an upload of {self.size_bytes} bytes")
        if offset == self.offset:
            self._unchanged += 1
        else:
            self._unchanged = 0
            self._setbacks += offset < self.offset
        self._answers += 1
        if self._answers > REQUESTS_BESIDE_MAX + REQUESTS_PER_BLOCK_MAX * (self.size_bytes // self.block_size_bytes):
            raise LinkError("LK-05", f"the device takes too little of each block; the upload is given up at {offset}")
        if self._unchanged > UNCHANGED_MAX:
            raise LinkError("LK-05", f"the device wants byte {offset} again and again; the upload is given up")
        if self._setbacks > SETBACKS_MAX:
            raise LinkError("LK-05", f"the device went back {self._setbacks} times; the upload is given up")
        self.offset = offset
