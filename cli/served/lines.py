"""Byte streams of a served device: one line each, non-blocking, perhaps a bad one."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Protocol

from cli.served.faults import LinkFaults

_READ_SIZE_BYTES = 65536
_UNSENT_SIZE_BYTES_MAX = 65536
_SEND_SECONDS_MAX = 1.0


def prepared(connection: socket.socket) -> socket.socket:
    """A connection that was accepted: it is read when something is there, and small answers leave at once."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send_all(connection: socket.socket, data: bytes) -> None:
    """Send, for at most a second: who takes nothing for so long is gone. Raises OSError."""
    connection.settimeout(_SEND_SECONDS_MAX)
    try:
        connection.sendall(data)
    finally:
        connection.setblocking(False)


class Line(Protocol):
    """Where bytes come from and go to."""

    def filenos(self) -> list[int]:
        """What to wait for; it changes where connections come and go."""

    def read(self) -> list[bytes]:
        """What has arrived."""

    def write(self, data: bytes) -> None:
        """Send; what the other side does not take in time is lost, as on a wire."""


class FdLine:
    """A pseudo-terminal's end, or one end of a wire between two devices."""

    def __init__(self, descriptor: int, arriving: LinkFaults, leaving: LinkFaults) -> None:
        self._descriptor: int | None = descriptor
        self._arriving = arriving
        self._leaving = leaving
        self._unsent = bytearray()

    def filenos(self) -> list[int]:
        return [] if self._descriptor is None else [self._descriptor]

    def read(self) -> list[bytes]:
        if self._descriptor is None:
            return []
        try:
            data = os.read(self._descriptor, _READ_SIZE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:  # whoever was there is gone for good
            self._descriptor = None
            return []
        return self._arriving.pass_on(data)

    def write(self, data: bytes) -> None:
        for part in self._leaving.pass_on(data):
            if len(self._unsent) + len(part) <= _UNSENT_SIZE_BYTES_MAX:
                self._unsent += part
        self.flush()

    def flush(self) -> None:
        """Send what could not be sent before."""
        if self._descriptor is None:
            self._unsent.clear()
        while self._unsent and self._descriptor is not None:
            try:
                sent = os.write(self._descriptor, self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self._descriptor = None
                return
            del self._unsent[:sent]


class TcpLine:
    """A line at a TCP port, as a serial port server offers it: the last host that connected has it."""

    def __init__(self, listener: socket.socket, arriving: LinkFaults, leaving: LinkFaults) -> None:
        self._listener = listener
        self._connection: socket.socket | None = None
        self._arriving = arriving
        self._leaving = leaving

    def filenos(self) -> list[int]:
        connection = [] if self._connection is None else [self._connection.fileno()]
        return [self._listener.fileno(), *connection]

    def read(self) -> list[bytes]:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            self._hang_up()
            self._connection = prepared(connection)
        if self._connection is None:
            return []
        try:
            data = self._connection.recv(_READ_SIZE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return []
        return self._arriving.pass_on(data)

    def write(self, data: bytes) -> None:
        for part in self._leaving.pass_on(data):
            if self._connection is not None:
                try:
                    send_all(self._connection, part)
                except OSError:
                    self._hang_up()

    def flush(self) -> None:
        """Nothing is kept back."""

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
