"""A node of a daisy chain: what comes from above goes down, or is for itself; what comes from below goes up.

docs/spec/protocol.md, section 5. Two byte streams, no I/O: whoever drives the node hands in what was received and sends
what it gives. A node alone on a serial line is a chain of one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bootloader.link.console import ConsoleReceiver, encode_lines
from bootloader.link.hop import ADDRESS_MAX, MESSAGE_SIZE_BYTES_MAX, HopFlags, HopPacket, framed
from bootloader.link.statistics import LinkStatistics
from bootloader.link.stream import ConsoleLine, StreamSplitter

QUEUE_PACKETS_MAX = 2


@dataclass(frozen=True, slots=True)
class Request:
    """An SMP message for this node. The answer goes back the way it came."""

    message: bytes
    came_as_packet: bool


class ChainNode:
    """Forwards, and holds at most one request for itself and 2 packets in each direction; drops and counts the rest."""

    def __init__(self, statistics: LinkStatistics, *, has_next: bool) -> None:
        """`has_next`: whether the line downwards leads anywhere; the last node answers for those who are not there."""
        self._statistics = statistics
        self._has_next = has_next
        self._from_above = StreamSplitter()
        self._from_below = StreamSplitter()
        self._console = ConsoleReceiver(MESSAGE_SIZE_BYTES_MAX)
        self._request: Request | None = None
        self._up: deque[bytes] = deque()
        self._down: deque[bytes] = deque()

    # --- what was received ---

    def receive_from_above(self, data: bytes) -> None:
        """Take bytes that came from the master, or from the node before."""
        for item in self._from_above.receive(data):
            if isinstance(item, ConsoleLine):
                message = self._console.receive_line(item.content)
                if message is not None:
                    self._keep_request(Request(message, came_as_packet=False))
            else:
                self._take_from_above(item)
        self._count_bad()

    def receive_from_below(self, data: bytes) -> None:
        """Take bytes that came from the next node: only replies go up."""
        for item in self._from_below.receive(data):
            if isinstance(item, HopPacket) and item.is_reply and item.address < ADDRESS_MAX:
                self._statistics.received += 1
                self._forward(self._up, HopPacket(item.address + 1, item.flags, item.message))
            else:
                self._statistics.bad += 1
        self._count_bad()

    def _take_from_above(self, packet: HopPacket) -> None:
        if packet.flags:  # a reply that goes down, or a flag that no request has
            self._statistics.bad += 1
        elif packet.address == 0:
            self._keep_request(Request(packet.message, came_as_packet=True))
        elif self._has_next:
            self._statistics.received += 1
            self._forward(self._down, HopPacket(packet.address - 1, packet.flags, packet.message))
        else:
            self._statistics.received += 1
            self._queue(self._up, framed(HopPacket(0, HopFlags.REPLY | HopFlags.NO_SUCH_NODE)))

    def _keep_request(self, request: Request) -> None:
        self._statistics.received += 1
        if self._request is not None:
            self._statistics.dropped += 1
            return
        self._request = request

    def _forward(self, queue: deque[bytes], packet: HopPacket) -> None:
        if self._queue(queue, framed(packet)):
            self._statistics.forwarded += 1

    def _queue(self, queue: deque[bytes], data: bytes) -> bool:
        if len(queue) >= QUEUE_PACKETS_MAX:
            self._statistics.dropped += 1
            return False
        queue.append(data)
        return True

    def _count_bad(self) -> None:
        for counter in (self._from_above, self._from_below, self._console):
            self._statistics.bad += counter.bad_count
            counter.bad_count = 0

    # --- the node's own business ---

    def take_request(self) -> Request | None:
        """The request that waits for this node, which makes room for the next."""
        request, self._request = self._request, None
        return request

    def answer(self, request: Request, message: bytes) -> None:
        """Send the answer to a request up, in the framing in which it came."""
        if request.came_as_packet:
            self._queue(self._up, framed(HopPacket(0, HopFlags.REPLY, message)))
        else:
            self._queue(self._up, b"".join(encode_lines(message)))

    # --- what is to be sent ---

    def send_up(self) -> bytes | None:
        """The next packet, or message in lines, for the line upwards; None if there is none."""
        return self._send(self._up)

    def send_down(self) -> bytes | None:
        """The next packet for the line downwards; None if there is none."""
        return self._send(self._down)

    def _send(self, queue: deque[bytes]) -> bytes | None:
        if not queue:
            return None
        self._statistics.sent += 1
        return queue.popleft()
