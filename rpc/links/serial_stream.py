"""A serial port, or a pseudo-terminal in its place, as a row of bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rpc.errors import LinkClosed, LinkTimeout

if TYPE_CHECKING:
    from serial import Serial

DEFAULT_BAUD: Final = 115_200
_READ_SLICE_SECONDS: Final = 0.05
_WRITE_TIMEOUT_SECONDS: Final = 10.0
_READ_SIZE_MAX_BYTES: Final = 65_536


class SerialStream:
    """8N1, no flow control. Opens when it is first used, for this process alone, and drops what was waiting there."""

    def __init__(self, path: str, baud: int = DEFAULT_BAUD) -> None:
        self._path, self._baud = path, baud
        self._port: Serial | None = None

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""
        return f"serial:{self._path}" + ("" if self._baud == DEFAULT_BAUD else f"@{self._baud}")

    def send(self, data: bytes) -> None:
        """Hand over all bytes; raises LinkClosed, LinkTimeout."""
        from serial import SerialException, SerialTimeoutException

        port = self._opened()
        try:
            port.write(data)
            port.flush()
        except SerialTimeoutException:
            raise LinkTimeout(f"{self.name} takes no more bytes") from None
        except (SerialException, OSError) as error:
            raise self._ended(error) from None

    def receive(self, deadline: float) -> bytes:
        """What has arrived; raises LinkTimeout at `deadline`, LinkClosed."""
        from serial import SerialException

        port = self._opened()
        try:
            while time.monotonic() < deadline:
                first = bytes(port.read(1))
                if first:
                    return first + bytes(port.read(min(port.in_waiting, _READ_SIZE_MAX_BYTES)))
        except (SerialException, OSError) as error:
            raise self._ended(error) from None
        raise LinkTimeout(f"no reply over {self.name} in time")

    def close(self) -> None:
        """Give the port back."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _opened(self) -> Serial:
        if self._port is None:
            from serial import Serial, SerialException

            try:
                self._port = Serial(
                    self._path,
                    self._baud,
                    timeout=_READ_SLICE_SECONDS,
                    write_timeout=_WRITE_TIMEOUT_SECONDS,
                    exclusive=True,
                )
                self._port.reset_input_buffer()
            except (SerialException, OSError, ValueError) as error:
                raise self._ended(error) from None
        return self._port

    def _ended(self, error: Exception) -> LinkClosed:
        try:
            self.close()
        except OSError:  # the port is gone: nothing is left to give back
            self._port = None
        return LinkClosed(f"{self.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
