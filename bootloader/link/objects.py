"""Objects that are larger than a request come in pieces (docs/spec/protocol.md, section 4)."""

from __future__ import annotations

OBJECT_SIZE_BYTES_MAX = 2304


class ObjectReceiver:
    """One object at a time, of at most 2,304 bytes, in order. The first piece of another one begins anew."""

    def __init__(self) -> None:
        self._command: int | None = None
        self._size_bytes = 0
        self._buffer = bytearray()

    def begin(self, command: int, size_bytes: int) -> None:
        """A first piece has come: forget what there was."""
        self._command = command
        self._size_bytes = size_bytes
        self._buffer.clear()

    def expected_offset(self, command: int) -> int:
        """Where the next piece of this command's object goes on; 0 where none is begun, or it was whole already."""
        return len(self._buffer) if command == self._command else 0

    def take(self, data: bytes) -> bytes | None:
        """Take the piece for the expected offset; the object, once it is whole. The caller has seen that it fits."""
        self._buffer += data
        if len(self._buffer) < self._size_bytes:
            return None
        whole = bytes(self._buffer)
        self._command = None
        self._buffer.clear()
        return whole

    def fits(self, data: bytes) -> bool:
        """Whether a piece stays within the announced size."""
        return len(self._buffer) + len(data) <= self._size_bytes
