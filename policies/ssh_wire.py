"""The data types of SSH (RFC 4251, section 5), read strictly: every length is checked, nothing may be left over."""

from __future__ import annotations


class WireError(ValueError):
    """Bytes that are not what the reader was asked for. The message is a reason, without rule or place."""


class WireReader:
    """Reads one SSH structure from its first byte to its last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def raw(self, size_bytes: int) -> bytes:
        """The next bytes as they are. Raises WireError."""
        end = self._position + size_bytes
        if end > len(self._data):
            raise WireError("cut short")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self) -> int:
        """An unsigned 8-bit integer. Raises WireError."""
        return self.raw(1)[0]

    def uint32(self) -> int:
        """An unsigned 32-bit integer, big-endian. Raises WireError."""
        return int.from_bytes(self.raw(4), "big")

    def string(self) -> bytes:
        """A string: its length as uint32, then its bytes. Raises WireError."""
        return self.raw(self.uint32())

    def text(self) -> str:
        """A string of printable ASCII. Raises WireError."""
        data = self.string()
        if not all(0x20 < byte < 0x7F for byte in data):
            raise WireError("a name is not printable ASCII")
        return data.decode("ascii")

    def positive_mpint(self) -> int:
        """A multiple-precision integer above zero, in its shortest form. Raises WireError."""
        data = self.string()
        if not data or data[0] & 0x80 or (data[0] == 0 and (len(data) == 1 or not data[1] & 0x80)):
            raise WireError("a number is negative, zero, or not in its shortest form")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        """Raises WireError if bytes are left."""
        if self._position != len(self._data):
            raise WireError(f"{len(self._data) - self._position} bytes too many")


def wire_string(data: bytes) -> bytes:
    """`data` as an SSH string."""
    return len(data).to_bytes(4, "big") + data
