"""The links of one served device: a stream in a chain, a UDP port, a TCP port, a place on a bus."""

from __future__ import annotations

import socket
from contextlib import suppress
from struct import Struct
from typing import Protocol

from bootloader.link.chain import ChainNode
from bootloader.link.server import BUFFER_SIZE_BYTES
from bootloader.link.smp import HEADER_SIZE_BYTES, parse_header
from cli.served.endpoints import CONNECTIONS_MAX
from cli.served.faults import LinkFaults
from cli.served.lines import FdLine, TcpLine, prepared, send_all
from cli.served.machine import Machine

_DATAGRAM_SIZE_BYTES_MAX = 65536
_PORTION_SIZE_BYTES = 256

BUS_COUNTERS = Struct("<6I")
BUS_ANSWER, BUS_NO_ANSWER, BUS_RESET = b"A", b"N", b"R"
"""What the processor of a slave on a bus tells the part that holds the bus: an answer, none, a reset."""


class Port(Protocol):
    """One link of a device."""

    def filenos(self) -> list[int]:
        """What to wait for."""

    def serve(self) -> None:
        """Take what has arrived, and answer it."""

    def restart(self) -> None:
        """The device was reset: what was held in RAM is gone."""


class StreamPort:
    """A node of a chain, or a device alone on a serial line: a chain of one."""

    def __init__(self, machine: Machine, above: FdLine | TcpLine, below: FdLine | None) -> None:
        self._machine = machine
        self._above = above
        self._below = below
        self.restart()

    def restart(self) -> None:
        self._node = ChainNode(self._machine.statistics, has_next=self._below is not None)

    def filenos(self) -> list[int]:
        return self._above.filenos() + (self._below.filenos() if self._below is not None else [])

    def serve(self) -> None:
        node = self._node
        for data in self._above.read():
            for begin in range(0, len(data), _PORTION_SIZE_BYTES):  # a wire brings it bit by bit, and none waits
                node.receive_from_above(data[begin : begin + _PORTION_SIZE_BYTES])
                self._send()
        for data in self._below.read() if self._below is not None else []:
            for begin in range(0, len(data), _PORTION_SIZE_BYTES):
                node.receive_from_below(data[begin : begin + _PORTION_SIZE_BYTES])
                self._send()
        self._send()
        request = node.take_request()
        if request is None or not self._machine.listens:
            return
        answer = self._machine.handle(request.message)
        if answer is not None:
            node.answer(request, answer)
            self._send()

    def _send(self) -> None:
        """A device that nothing runs on forwards nothing."""
        self._above.flush()
        while (data := self._node.send_up()) is not None:
            if self._machine.listens:
                self._above.write(data)
        while (data := self._node.send_down()) is not None:
            if self._below is not None and self._machine.listens:
                self._below.write(data)


class UdpPort:
    """One message a datagram."""

    def __init__(self, machine: Machine, bound: socket.socket, arriving: LinkFaults, leaving: LinkFaults) -> None:
        self._machine = machine
        self._socket = bound
        self._arriving = arriving
        self._leaving = leaving

    def restart(self) -> None:
        pass

    def filenos(self) -> list[int]:
        return [self._socket.fileno()]

    def serve(self) -> None:
        try:
            datagram, sender = self._socket.recvfrom(_DATAGRAM_SIZE_BYTES_MAX)
        except OSError:  # nothing there, or the last answer found nobody
            return
        for message in self._arriving.pass_on(datagram):
            self._machine.statistics.received += 1
            answer = self._machine.handle(message)
            for frame in self._leaving.pass_on(answer) if answer is not None else []:
                self._machine.statistics.sent += 1
                with suppress(OSError):
                    self._socket.sendto(frame, sender)


class TcpPort:
    """Messages one after the other; the header says how long each is. Who sends what is no message is hung up on."""

    def __init__(self, machine: Machine, listener: socket.socket, arriving: LinkFaults, leaving: LinkFaults) -> None:
        self._machine = machine
        self._listener = listener
        self._arriving = arriving
        self._leaving = leaving
        self._connections: dict[socket.socket, bytearray] = {}

    def restart(self) -> None:
        for connection in list(self._connections):
            self._hang_up(connection)

    def filenos(self) -> list[int]:
        return [self._listener.fileno(), *(connection.fileno() for connection in self._connections)]

    def serve(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            if len(self._connections) < CONNECTIONS_MAX:
                self._connections[prepared(connection)] = bytearray()
            else:
                connection.close()
        for connection in list(self._connections):
            self._serve_connection(connection)

    def _serve_connection(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_DATAGRAM_SIZE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        buffer = self._connections[connection]
        buffer += data
        if not data or not self._serve_messages(connection, buffer):
            self._hang_up(connection)

    def _serve_messages(self, connection: socket.socket, buffer: bytearray) -> bool:
        """Answer all whole messages; False if what comes is no message, or nobody takes the answers."""
        while (header := parse_header(bytes(buffer[:HEADER_SIZE_BYTES]))) is not None:
            size_bytes = HEADER_SIZE_BYTES + header.size_bytes
            if not header.is_request or size_bytes > BUFFER_SIZE_BYTES:
                return False
            if len(buffer) < size_bytes:
                break
            message = bytes(buffer[:size_bytes])
            del buffer[:size_bytes]
            for arrived in self._arriving.pass_on(message):
                if not self._answer(connection, arrived):
                    return False
        return True

    def _answer(self, connection: socket.socket, message: bytes) -> bool:
        self._machine.statistics.received += 1
        answer = self._machine.handle(message)
        for frame in self._leaving.pass_on(answer) if answer is not None else []:
            self._machine.statistics.sent += 1
            try:
                send_all(connection, frame)
            except OSError:
                return False
        return True

    def _hang_up(self, connection: socket.socket) -> None:
        self._connections.pop(connection, None)
        connection.close()


class BusPort:
    """The processor's side of a slave: the part that holds the bus hands over requests, with its counters."""

    def __init__(self, machine: Machine, wire: socket.socket) -> None:
        self._machine = machine
        self._wire = wire

    def restart(self) -> None:
        with suppress(OSError):
            self._wire.send(BUS_RESET)

    def filenos(self) -> list[int]:
        return [self._wire.fileno()]

    def serve(self) -> None:
        try:
            data = self._wire.recv(_DATAGRAM_SIZE_BYTES_MAX)
        except OSError:
            return
        statistics = self._machine.statistics
        counters = BUS_COUNTERS.unpack_from(data)
        statistics.received, statistics.sent, statistics.bad, statistics.forwarded = counters[:4]
        statistics.dropped, statistics.busy = counters[4:]
        answer = self._machine.handle(data[BUS_COUNTERS.size :])
        with suppress(OSError):
            self._wire.send(BUS_NO_ANSWER if answer is None else BUS_ANSWER + answer)
