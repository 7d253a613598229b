"""Addressed buses behind an adapter, such as USB to I2C (docs/spec/protocol.md, section 5)."""

from __future__ import annotations

import time
from typing import Final

from rpc.errors import LinkTimeout, NoSuchNode
from rpc.hop_packet import HOP_MESSAGE_SIZE_MAX_BYTES, HopFlags, HopPacket
from rpc.link import LinkCounters, reply_among, require_size
from rpc.links.hop_stream import HopStream

BUS_ADDRESS_MAX: Final = 127
_ADAPTER_TIMEOUT_SECONDS: Final = 0.5
"""A transaction on the bus takes milliseconds. An adapter that is silent for longer has lost it."""
_POLL_FIRST_SECONDS: Final = 0.001
_POLL_MAX_SECONDS: Final = 0.05
_ACKNOWLEDGED: Final = HopFlags.REPLY
_BUSY: Final = HopFlags.REPLY | HopFlags.BUSY
_NO_SLAVE: Final = HopFlags.REPLY | HopFlags.NO_SUCH_NODE


class BusSlaveLink:
    """A link to one slave. The bus is held for one transaction only: the others go on while this one erases."""

    hops: Final = 0
    max_message_bytes: Final = HOP_MESSAGE_SIZE_MAX_BYTES

    def __init__(self, port: HopStream, address: int) -> None:
        if not 1 <= address <= BUS_ADDRESS_MAX:
            raise ValueError(f"a bus has addresses 1 to {BUS_ADDRESS_MAX}, not {address}")
        self._port = port
        self._address = address
        self.counters = LinkCounters()

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""
        return f"bus:{self._port.name}#{self._address}"

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        """Write a request, then read until the slave has the reply; raises LinkTimeout, LinkClosed, NoSuchNode."""
        require_size(message, self)
        deadline = time.monotonic() + timeout_seconds
        self._transaction(message, deadline)
        pause_seconds = _POLL_FIRST_SECONDS
        while time.monotonic() < deadline:
            answer = self._transaction(b"", deadline)
            if answer:
                reply = reply_among([answer], message, self.counters)
                if reply is not None:
                    return reply
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _POLL_MAX_SECONDS)
        raise LinkTimeout(f"no reply over {self.name} within {timeout_seconds:g} s")

    def close(self) -> None:
        """Give the port back; a later exchange with any slave opens it again."""
        with self._port.lock:
            self._port.close()

    def _transaction(self, message: bytes, deadline: float) -> bytes:
        """One write (answered by nothing) or read (nothing while the slave is busy) of the bus."""
        with self._port.lock:
            self._port.send(HopPacket(self._address, HopFlags.NONE, message), self.counters)
            answered_by = min(deadline, time.monotonic() + _ADAPTER_TIMEOUT_SECONDS)
            try:
                while True:
                    for packet in self._port.receive(answered_by, self.counters):
                        if packet.address == self._address and _answers(packet, is_write=bool(message)):
                            return packet.message
                        self.counters.skipped_replies += 1
            except LinkTimeout:
                raise LinkTimeout(f"the adapter of {self.name} does not answer") from None


def _answers(packet: HopPacket, *, is_write: bool) -> bool:
    """Whether this can be the answer; what can not is of a transaction that was given up. Raises NoSuchNode."""
    if packet.flags == _NO_SLAVE:
        raise NoSuchNode(f"no slave of the bus acknowledges address {packet.address}")
    if is_write:
        return packet.flags == _ACKNOWLEDGED and not packet.message
    return packet.flags == _BUSY or (packet.flags == _ACKNOWLEDGED and bool(packet.message))
