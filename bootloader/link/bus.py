"""A slave on an addressed bus (I2C, SPI), and the adapter through which a host drives the bus.

docs/spec/protocol.md, section 5. Only the master begins: it writes a packet, then reads until the slave has an answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from bootloader.link.hop import HopFlags, HopPacket, framed
from bootloader.link.statistics import LinkStatistics
from bootloader.link.stream import StreamSplitter

ADDRESS_MIN, BUS_ADDRESS_MAX = 1, 127


class BusSlave:
    """The slave's side of each transaction. One request and one answer are held, never more."""

    def __init__(self, address: int, statistics: LinkStatistics) -> None:
        if not ADDRESS_MIN <= address <= BUS_ADDRESS_MAX:
            raise ValueError(f"an address on a bus is {ADDRESS_MIN} to {BUS_ADDRESS_MAX}")
        self.address = address
        self._statistics = statistics
        self._request: bytes | None = None
        self._is_at_work = False
        self._answer: bytes | None = None

    def write(self, packet: HopPacket) -> None:
        """The master writes a request; an answer that it did not fetch is gone. One too many is dropped and counted."""
        self._statistics.received += 1
        if packet.address != self.address or packet.flags or not packet.message:
            self._statistics.bad += 1
        elif self._request is not None or self._is_at_work:
            self._statistics.dropped += 1
        else:
            self._request, self._answer = packet.message, None

    def read(self) -> HopPacket:
        """The master reads: the answer, as often as it reads until it writes again, or *busy*."""
        self._statistics.sent += 1
        if self._answer is None:
            self._statistics.busy += 1
            return HopPacket(self.address, HopFlags.REPLY | HopFlags.BUSY)
        return HopPacket(self.address, HopFlags.REPLY, self._answer)

    def take_request(self) -> bytes | None:
        """The request that waits. Until `answer` the slave is at work and takes no other."""
        request, self._request = self._request, None
        self._is_at_work = self._is_at_work or request is not None
        return request

    def answer(self, message: bytes | None) -> None:
        """What the request that was taken is answered with; None if with nothing, and then the master reads *busy*."""
        self._answer = message
        self._is_at_work = False


class BusAdapter:
    """What stands between a host's byte stream and the bus: each transaction as one COBS packet each way."""

    def __init__(self, slaves: Mapping[int, BusSlave]) -> None:
        """`slaves` by address; who is taken out of the mapping does not acknowledge any more."""
        self._slaves = slaves
        self._stream = StreamSplitter()

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes of the host; what is to be sent back to it, one answer for each transaction."""
        packets = [item for item in self._stream.receive(data) if isinstance(item, HopPacket)]
        return [framed(self._transact(packet)) for packet in packets]

    def _transact(self, packet: HopPacket) -> HopPacket:
        slave = self._slaves.get(packet.address)
        if slave is None:
            return HopPacket(packet.address, HopFlags.REPLY | HopFlags.NO_SUCH_NODE)
        if not packet.message:
            return slave.read()
        slave.write(packet)
        return HopPacket(packet.address, HopFlags.REPLY)
