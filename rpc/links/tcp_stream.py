"""A TCP connection as a row of bytes."""

from __future__ import annotations

import socket
from typing import Final

from rpc.errors import LinkClosed, LinkTimeout
from rpc.links.byte_stream import seconds_left

_CONNECT_TIMEOUT_SECONDS: Final = 4.0
_SEND_TIMEOUT_SECONDS: Final = 10.0
_RECEIVE_SIZE_BYTES: Final = 65_536


class TcpStream:
    """Connects when it is first used, and again after the other side ended it. `scheme` is only for the name."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._socket: socket.socket | None = None

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"tcp://{host}:{self._port}"

    def send(self, data: bytes) -> None:
        """Hand over all bytes; raises LinkClosed."""
        connection = self._connected()
        try:
            connection.settimeout(_SEND_TIMEOUT_SECONDS)
            connection.sendall(data)
        except TimeoutError:
            self.close()  # a message may have been cut in two
            raise LinkClosed(f"{self.name} takes no more bytes; the connection is given up") from None
        except OSError as error:
            raise self._ended(error) from None

    def receive(self, deadline: float) -> bytes:
        """What has arrived; raises LinkTimeout at `deadline`, LinkClosed."""
        connection = self._connected()
        remaining = seconds_left(deadline)
        if remaining == 0:
            raise LinkTimeout(f"no reply over {self.name} in time")
        try:
            connection.settimeout(remaining)
            data = connection.recv(_RECEIVE_SIZE_BYTES)
        except TimeoutError:
            raise LinkTimeout(f"no reply over {self.name} in time") from None
        except OSError as error:
            raise self._ended(error) from None
        if not data:
            raise self._ended(None)
        return data

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            try:
                self._socket = socket.create_connection((self._host, self._port), _CONNECT_TIMEOUT_SECONDS)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                raise self._ended(error) from None
        return self._socket

    def _ended(self, error: OSError | None) -> LinkClosed:
        self.close()
        return LinkClosed(f"{self.name}: {_words(error)}")


def _words(error: OSError | None) -> str:
    return "the other side ended the connection" if error is None else error.strerror or str(error)
