"""Nodes of a chain wired together in memory, and a host at its end that sends and takes hop packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bootloader.link.chain import ChainNode
from bootloader.link.hop import HopFlags, HopPacket, framed
from bootloader.link.statistics import LinkStatistics
from bootloader.link.stream import StreamSplitter

Serve = Callable[[int, bytes], bytes | None]


class Chain:
    """`serve(number, message)` answers for node `number`. Everything that can move has moved when a method returns."""

    def __init__(self, count: int, serve: Serve) -> None:
        self.statistics = [LinkStatistics() for _ in range(count)]
        self.nodes = [
            ChainNode(statistics, has_next=number < count - 1) for number, statistics in enumerate(self.statistics)
        ]
        self.served: list[tuple[int, bytes]] = []
        self._serve = serve
        self._host = StreamSplitter()

    def send(self, *packets: HopPacket) -> list[HopPacket]:
        """What comes back for packets that are sent one after the other."""
        found = []
        for packet in packets:
            found += self.send_bytes(framed(packet))
        return found

    def ask(self, address: int, message: bytes) -> list[HopPacket]:
        return self.send(HopPacket(address, HopFlags(0), message))

    def send_bytes(self, data: bytes) -> list[HopPacket]:
        """Raw bytes to the first node; the packets that come back."""
        self.nodes[0].receive_from_above(data)
        return [item for item in self._host.receive(self.settle()) if isinstance(item, HopPacket)]

    def settle(self) -> bytes:
        """Move until nothing moves; the bytes that reach the host."""
        to_host = bytearray()
        moved = True
        while moved:
            moved = False
            for number, node in enumerate(self.nodes):
                request = node.take_request()
                if request is not None:
                    moved = True
                    self.served.append((number, request.message))
                    answer = self._serve(number, request.message)
                    if answer is not None:
                        node.answer(request, answer)
                while (data := node.send_up()) is not None:
                    moved = True
                    if number == 0:
                        to_host += data
                    else:
                        self.nodes[number - 1].receive_from_below(data)
                while (data := node.send_down()) is not None:
                    moved = True
                    if number < len(self.nodes) - 1:
                        self.nodes[number + 1].receive_from_above(data)
        return bytes(to_host)


def names(packets: Sequence[HopPacket]) -> list[tuple[int, int, bytes]]:
    """(address, flags, message) of packets."""
    return [(packet.address, int(packet.flags), packet.message) for packet in packets]
