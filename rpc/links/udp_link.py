"""One message a datagram (docs/spec/protocol.md, section 5)."""

from __future__ import annotations

import socket
import time
from typing import Final

from rpc.errors import LinkClosed, LinkTimeout
from rpc.link import LinkCounters, reply_among, require_size
from rpc.links.byte_stream import seconds_left

DEFAULT_PORT: Final = 1337
_ETHERNET_PAYLOAD_BYTES: Final = 1_500
_IPV4_AND_UDP_BYTES: Final = 28
_IPV6_AND_UDP_BYTES: Final = 48
_RECEIVE_SIZE_BYTES: Final = 65_536


class UdpLink:
    """The socket is connected: the system hands over only what comes from the peer's address and port."""

    hops: Final = 0

    def __init__(self, host: str, port: int = DEFAULT_PORT) -> None:
        self._host, self._port = host, port
        self._socket: socket.socket | None = None
        self.counters = LinkCounters()
        overhead = _IPV6_AND_UDP_BYTES if ":" in host else _IPV4_AND_UDP_BYTES
        self.max_message_bytes = _ETHERNET_PAYLOAD_BYTES - overhead

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"udp://{host}:{self._port}"

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        """Send a request once and wait for its reply; raises LinkTimeout, LinkClosed."""
        require_size(message, self)
        deadline = time.monotonic() + timeout_seconds
        try:
            connected = self._opened()
            connected.send(message)
            self.counters.bytes_sent += len(message)
            while True:
                reply = reply_among([self._receive(connected, deadline)], message, self.counters)
                if reply is not None:
                    return reply
        except TimeoutError:
            raise LinkTimeout(f"no reply over {self.name} within {timeout_seconds:g} s") from None
        except OSError as error:
            self.close()
            raise LinkClosed(f"{self.name}: {error.strerror or error}") from None

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _receive(self, connected: socket.socket, deadline: float) -> bytes:
        remaining = seconds_left(deadline)
        if remaining == 0:
            raise TimeoutError
        connected.settimeout(remaining)
        datagram = connected.recv(_RECEIVE_SIZE_BYTES)
        self.counters.bytes_received += len(datagram)
        return datagram

    def _opened(self) -> socket.socket:
        if self._socket is None:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            # Over UDP nobody says that an address is the wrong one: of a name that has both kinds, IPv4 is taken.
            family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            if family == socket.AF_INET6:
                self.max_message_bytes = _ETHERNET_PAYLOAD_BYTES - _IPV6_AND_UDP_BYTES
            opened = socket.socket(family, kind, protocol)
            try:
                opened.connect(address)
            except OSError:
                opened.close()
                raise
            self._socket = opened
        return self._socket
