"""A device at the other end of a row of bytes: SMP's console framing on serial ports, bare messages on TCP."""

from __future__ import annotations

import time
from typing import Final, Protocol

from rpc.console import ConsoleDecoder, encode_lines
from rpc.errors import LinkClosed
from rpc.link import LinkCounters, reply_among, require_size
from rpc.links.byte_stream import ByteStream
from rpc.message import HEADER_SIZE_BYTES

_MESSAGE_SIZE_MAX_BYTES: Final = 8_190


class Framing(Protocol):
    """How messages stand in a row of bytes."""

    bad_frames: int

    def encode(self, message: bytes) -> bytes:
        """The bytes of one message."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived, give the messages that are complete; raises LinkClosed where the row is lost for good."""


class ConsoleFraming(ConsoleDecoder):
    """Lines of base64, among other text."""

    def encode(self, message: bytes) -> bytes:
        """The lines of one message."""
        return encode_lines(message)


class BareFraming:
    """Messages one after the other; the header says how long each is."""

    def __init__(self) -> None:
        self.bad_frames = 0
        self._received = bytearray()

    def encode(self, message: bytes) -> bytes:
        """The message as it is."""
        return message

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete; raises LinkClosed when a header announces what no device of ours says."""
        self._received += data
        messages = []
        while len(self._received) >= HEADER_SIZE_BYTES:
            size_bytes = HEADER_SIZE_BYTES + int.from_bytes(self._received[2:4], "big")
            if size_bytes > _MESSAGE_SIZE_MAX_BYTES:
                self.bad_frames += 1
                raise LinkClosed(f"a message of {size_bytes} bytes is announced; the connection is given up")
            if len(self._received) < size_bytes:
                break
            messages.append(bytes(self._received[:size_bytes]))
            del self._received[:size_bytes]
        return messages


class StreamLink:
    """A link to the one device at the end of the stream."""

    hops: Final = 0
    max_message_bytes: Final = _MESSAGE_SIZE_MAX_BYTES

    def __init__(self, stream: ByteStream, framing: type[ConsoleFraming | BareFraming]) -> None:
        self._stream = stream
        self._framing_type = framing
        self._framing: Framing = framing()
        self.counters = LinkCounters()

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""
        return self._stream.name

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        """Send a request once and wait for its reply; raises LinkTimeout, LinkClosed."""
        require_size(message, self)
        encoded = self._framing.encode(message)
        try:
            self._stream.send(encoded)
            self.counters.bytes_sent += len(encoded)
            # Only now: at a low baud rate the request itself takes its time.
            deadline = time.monotonic() + timeout_seconds
            while True:
                reply = reply_among(self._received(deadline), message, self.counters)
                if reply is not None:
                    return reply
        except LinkClosed:
            self.close()
            raise

    def close(self) -> None:
        """Give the port or connection back, and forget what was half received."""
        self._stream.close()
        self._framing = self._framing_type()

    def _received(self, deadline: float) -> list[bytes]:
        data = self._stream.receive(deadline)
        self.counters.bytes_received += len(data)
        bad_before = self._framing.bad_frames
        try:
            return self._framing.feed(data)
        finally:
            self.counters.bad_frames += self._framing.bad_frames - bad_before
