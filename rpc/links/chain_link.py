"""Daisy chains: each node sends on what is not for it (docs/spec/protocol.md, section 5)."""

from __future__ import annotations

import time
from typing import Final

from rpc.errors import LinkTimeout, NoSuchNode
from rpc.hop_packet import HOP_MESSAGE_SIZE_MAX_BYTES, HopFlags, HopPacket
from rpc.link import LinkCounters, reply_among, require_size
from rpc.links.hop_stream import HopStream

CHAIN_ADDRESS_MAX: Final = 255


class ChainEnded(NoSuchNode):
    """The last node said so; `last_address` is how far away it is."""

    def __init__(self, name: str, last_address: int) -> None:
        super().__init__(f"{name}: the chain ends with node {last_address}")
        self.last_address = last_address


class ChainNodeLink:
    """A link to one node of a chain; the first has address 0.

    The port is held for a whole exchange: while one node erases, the others must be free to send on (section 6).
    """

    max_message_bytes: Final = HOP_MESSAGE_SIZE_MAX_BYTES

    def __init__(self, port: HopStream, address: int) -> None:
        if not 0 <= address <= CHAIN_ADDRESS_MAX:
            raise ValueError(f"a chain has addresses 0 to {CHAIN_ADDRESS_MAX}, not {address}")
        self._port = port
        self._address = address
        self.counters = LinkCounters()

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""
        return f"chain:{self._port.name}#{self._address}"

    @property
    def hops(self) -> int:
        """The nodes that stand before this one."""
        return self._address

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        """Send a request once and wait for its reply; raises LinkTimeout, LinkClosed, ChainEnded."""
        require_size(message, self)
        with self._port.lock:
            self._port.send(HopPacket(self._address, HopFlags.NONE, message), self.counters)
            deadline = time.monotonic() + timeout_seconds
            try:
                while True:
                    packets = self._port.receive(deadline, self.counters)
                    reply = reply_among(self._from_this_node(packets), message, self.counters)
                    if reply is not None:
                        return reply
            except LinkTimeout:
                raise LinkTimeout(f"no reply over {self.name} within {timeout_seconds:g} s") from None

    def close(self) -> None:
        """Give the port back; a later exchange with any node opens it again."""
        with self._port.lock:
            self._port.close()

    def _from_this_node(self, packets: list[HopPacket]) -> list[bytes]:
        """Messages that came exactly as far as this node is away; raises ChainEnded."""
        messages = []
        for packet in packets:
            if packet.flags == HopFlags.REPLY | HopFlags.NO_SUCH_NODE and packet.address < self._address:
                raise ChainEnded(self.name, packet.address)
            if packet.flags == HopFlags.REPLY and packet.address == self._address:
                messages.append(packet.message)
            else:
                self.counters.skipped_replies += 1
        return messages
