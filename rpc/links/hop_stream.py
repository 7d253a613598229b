"""Hop packets over a row of bytes: what chains and bus adapters have in common."""

from __future__ import annotations

from rpc.errors import LinkClosed
from rpc.hop_packet import HopDecoder, HopPacket
from rpc.link import LinkCounters
from rpc.links.byte_stream import ByteStream
from rpc.links.fair_lock import FairLock


class HopStream:
    """One port that several devices are reached through. `lock` is held by whoever sends and waits."""

    def __init__(self, stream: ByteStream) -> None:
        self.lock = FairLock()
        self._stream = stream
        self._decoder = HopDecoder()

    @property
    def name(self) -> str:
        """The address of the port, as `--via` writes it."""
        return self._stream.name

    def send(self, packet: HopPacket, counters: LinkCounters) -> None:
        """Hand over one packet; raises LinkClosed, LinkTimeout."""
        encoded = packet.encode_delimited()
        try:
            self._stream.send(encoded)
        except LinkClosed:
            self.close()
            raise
        counters.bytes_sent += len(encoded)

    def receive(self, deadline: float, counters: LinkCounters) -> list[HopPacket]:
        """The packets that came, perhaps none yet; raises LinkTimeout at `deadline`, LinkClosed."""
        try:
            data = self._stream.receive(deadline)
        except LinkClosed:
            self.close()
            raise
        counters.bytes_received += len(data)
        bad_before = self._decoder.bad_frames
        packets = self._decoder.feed(data)
        counters.bad_frames += self._decoder.bad_frames - bad_before
        return packets

    def close(self) -> None:
        """Give the port back, and forget what was half received."""
        self._stream.close()
        self._decoder = HopDecoder()
