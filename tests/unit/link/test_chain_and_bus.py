"""Daisy chains and addressed buses: who gets what, what is dropped, and what a replay between nodes can do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.link.bus import BusAdapter, BusSlave
from bootloader.link.chain import QUEUE_PACKETS_MAX, ChainNode
from bootloader.link.console import ConsoleReceiver, encode_lines
from bootloader.link.hop import HopFlags, HopPacket, framed
from bootloader.link.statistics import LinkStatistics
from bootloader.link.stream import ConsoleLine, StreamSplitter
from tests.unit.link.chain_rig import Chain, names

REPLY, NO_SUCH_NODE, BUSY = 1, 2, 4


def tell(number: int, message: bytes) -> bytes:
    return b"node %d says " % number + message


@pytest.mark.parametrize("address", range(8))
def test_each_node_of_a_chain_is_reached_by_its_distance(address: int) -> None:
    chain = Chain(8, tell)
    assert names(chain.ask(address, b"hello")) == [(address, REPLY, tell(address, b"hello"))]
    assert chain.served == [(address, b"hello")]


def test_the_last_node_answers_for_those_who_are_not_there() -> None:
    """With its own distance, so that the host learns how long the chain is."""
    chain = Chain(3, tell)
    for address in (3, 4, 100, 255):
        assert names(chain.ask(address, b"hello")) == [(2, REPLY | NO_SUCH_NODE, b"")]
    assert chain.served == []


def test_a_stock_client_reaches_the_first_node() -> None:
    chain = Chain(2, tell)
    chain.nodes[0].receive_from_above(b"".join(encode_lines(b"hello")))
    lines = chain.settle().splitlines()
    receiver = ConsoleReceiver(2048)
    assert [receiver.receive_line(line) for line in lines][-1] == tell(0, b"hello")


def test_a_host_takes_lines_and_packets_from_one_stream() -> None:
    chain = Chain(2, tell)
    stream = b"".join(encode_lines(b"one")) + framed(HopPacket(1, HopFlags(0), b"two"))
    chain.nodes[0].receive_from_above(stream)
    found = StreamSplitter().receive(chain.settle())
    assert [type(item) for item in found] == [ConsoleLine, HopPacket]


@pytest.mark.parametrize("flags", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("address", [0, 1, 255])
def test_what_goes_down_is_a_request(flags: int, address: int) -> None:
    """A packet with a flag, replayed from what went up, reaches nobody."""
    chain = Chain(3, tell)
    assert chain.send(HopPacket(address, HopFlags(flags), b"hello")) == []
    assert chain.served == []
    assert chain.statistics[0].bad == 1


def test_what_goes_up_is_a_reply() -> None:
    """A node below sends requests, lines, and replies that have come too far: none goes on."""
    statistics = LinkStatistics()
    node = ChainNode(statistics, has_next=True)
    node.receive_from_below(framed(HopPacket(0, HopFlags(0), b"x")))
    node.receive_from_below(b"".join(encode_lines(b"x")))
    node.receive_from_below(framed(HopPacket(255, HopFlags.REPLY, b"x")))
    assert node.send_up() is None
    assert node.send_down() is None
    assert node.take_request() is None
    assert statistics.bad == 3


def test_a_node_keeps_two_packets_each_way_and_one_request() -> None:
    statistics = LinkStatistics()
    node = ChainNode(statistics, has_next=True)
    for number in range(5):
        node.receive_from_above(framed(HopPacket(1, HopFlags(0), b"down %d" % number)))
        node.receive_from_above(framed(HopPacket(0, HopFlags(0), b"mine %d" % number)))
        node.receive_from_below(framed(HopPacket(0, HopFlags.REPLY, b"up %d" % number)))
    assert statistics.dropped == 3 * 5 - 2 * QUEUE_PACKETS_MAX - 1
    assert [StreamSplitter().receive(data) for data in (node.send_down(), node.send_down()) if data] == [
        [HopPacket(0, HopFlags(0), b"down 0")],
        [HopPacket(0, HopFlags(0), b"down 1")],
    ]
    assert [StreamSplitter().receive(data) for data in (node.send_up(), node.send_up()) if data] == [
        [HopPacket(1, HopFlags.REPLY, b"up 0")],
        [HopPacket(1, HopFlags.REPLY, b"up 1")],
    ]
    assert (node.send_up(), node.send_down()) == (None, None)
    request = node.take_request()
    assert request is not None
    assert request.message == b"mine 0"
    assert node.take_request() is None
    node.receive_from_above(framed(HopPacket(0, HopFlags(0), b"later")))
    later = node.take_request()
    assert later is not None
    assert later.message == b"later"


def test_what_a_node_counts() -> None:
    chain = Chain(2, tell)
    chain.ask(1, b"hello")
    chain.ask(0, b"hello")
    chain.send_bytes(b"\0\x05broken\0")
    assert chain.statistics[0] == LinkStatistics(received=3, sent=3, bad=1, forwarded=2)
    assert chain.statistics[1] == LinkStatistics(received=1, sent=1)
    assert list(LinkStatistics().answer()) == ["rx", "tx", "bad", "fwd", "drop", "busy"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7), st.binary(max_size=40)), max_size=20))
def test_no_sequence_of_packets_makes_a_node_serve_what_was_not_for_it(packets: list[tuple[int, int, bytes]]) -> None:
    chain = Chain(3, tell)
    for address, flags, message in packets:
        for reply in chain.send(HopPacket(address, HopFlags(flags), message)):
            assert flags == 0
            assert reply.address == min(address, 2)
    assert chain.served == [(address, message) for address, flags, message in packets if flags == 0 and address < 3]


# --- addressed bus ---


def test_a_slave_answers_when_it_has_an_answer() -> None:
    slave = BusSlave(5, LinkStatistics())
    assert names([slave.read()]) == [(5, REPLY | BUSY, b"")], "nobody asked it anything"
    slave.write(HopPacket(5, HopFlags(0), b"question"))
    assert names([slave.read()]) == [(5, REPLY | BUSY, b"")]
    assert slave.take_request() == b"question"
    assert names([slave.read()]) == [(5, REPLY | BUSY, b"")]
    slave.answer(b"answer")
    assert names([slave.read(), slave.read()]) == [(5, REPLY, b"answer")] * 2, "the first reading may have been lost"
    slave.write(HopPacket(5, HopFlags(0), b"next"))
    assert names([slave.read()]) == [(5, REPLY | BUSY, b"")], "no answer to another question"


def test_a_slave_at_work_takes_no_second_request() -> None:
    statistics = LinkStatistics()
    slave = BusSlave(5, statistics)
    slave.write(HopPacket(5, HopFlags(0), b"first"))
    slave.write(HopPacket(5, HopFlags(0), b"second"))
    assert slave.take_request() == b"first"
    slave.write(HopPacket(5, HopFlags(0), b"third"))
    assert slave.take_request() is None
    assert statistics.dropped == 2
    slave.answer(None)
    assert names([slave.read()]) == [(5, REPLY | BUSY, b"")]
    slave.write(HopPacket(5, HopFlags(0), b"fourth"))
    assert slave.take_request() == b"fourth"


@pytest.mark.parametrize("packet", [HopPacket(6, HopFlags(0), b"x"), HopPacket(5, HopFlags.REPLY, b"x")])
def test_a_slave_takes_requests_for_itself_only(packet: HopPacket) -> None:
    statistics = LinkStatistics()
    slave = BusSlave(5, statistics)
    slave.write(packet)
    assert slave.take_request() is None
    assert statistics.bad == 1


@pytest.mark.parametrize("address", [-1, 0, 128])
def test_an_address_on_a_bus_is_1_to_127(address: int) -> None:
    with pytest.raises(ValueError, match="1 to 127"):
        BusSlave(address, LinkStatistics())


def transact(adapter: BusAdapter, packet: HopPacket) -> list[tuple[int, int, bytes]]:
    found = [StreamSplitter().receive(data) for data in adapter.receive(framed(packet))]
    return names([item for items in found for item in items if isinstance(item, HopPacket)])


def test_an_adapter_carries_one_transaction_each_way() -> None:
    slaves = {address: BusSlave(address, LinkStatistics()) for address in (1, 2)}
    adapter = BusAdapter(slaves)
    assert transact(adapter, HopPacket(2, HopFlags(0), b"question")) == [(2, REPLY, b"")]
    assert transact(adapter, HopPacket(2, HopFlags(0))) == [(2, REPLY | BUSY, b"")]
    assert slaves[1].take_request() is None
    assert slaves[2].take_request() == b"question"
    slaves[2].answer(b"answer")
    assert transact(adapter, HopPacket(2, HopFlags(0))) == [(2, REPLY, b"answer")]


@pytest.mark.parametrize("message", [b"", b"question"])
def test_who_is_not_on_the_bus_does_not_acknowledge(message: bytes) -> None:
    slaves = {1: BusSlave(1, LinkStatistics())}
    adapter = BusAdapter(slaves)
    for address in (0, 2, 127, 128, 255):
        assert transact(adapter, HopPacket(address, HopFlags(0), message)) == [(address, REPLY | NO_SUCH_NODE, b"")]
    del slaves[1]
    assert transact(adapter, HopPacket(1, HopFlags(0), message)) == [(1, REPLY | NO_SUCH_NODE, b"")]


def test_an_adapter_ignores_what_is_no_packet() -> None:
    adapter = BusAdapter({1: BusSlave(1, LinkStatistics())})
    assert adapter.receive(b"\0\x05nonsense\0" + b"".join(encode_lines(b"hello"))) == []
