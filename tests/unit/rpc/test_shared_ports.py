"""Chains and buses: several devices behind one port, told apart, asked in turn, none starved."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rpc.addresses import open_links
from rpc.client import DeviceClient
from rpc.errors import LinkClosed, LinkError, LinkTimeout, NoSuchNode
from rpc.hop_packet import HopFlags, HopPacket
from rpc.links.chain_link import ChainNodeLink
from rpc.links.fair_lock import FairLock
from rpc.links.hop_stream import HopStream
from rpc.message import Group, Op, encode_request
from tests.unit.rpc.fake_device import FakeDevice
from tests.unit.rpc.fake_lines import BusMachine, ChainMachine, Faults, serve_pty, serve_tcp

ECHO = encode_request(Op.WRITE, Group.OS, 9, 0, {"d": "x"})
ECHO_REPLY = b"\x0b" + ECHO[1:-3] + b"r" + ECHO[-2:]


class Scripted:
    """A byte stream that answers what the test says. `deadline` is real, so a test that waits gives a short one."""

    name = "serial:scripted"

    def __init__(self, *answers: HopPacket | bytes) -> None:
        self.sent: list[bytes] = []
        self.closed = 0
        self._answers = [item if isinstance(item, bytes) else item.encode_delimited() for item in answers]

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def receive(self, deadline: float) -> bytes:
        if self._answers:
            return self._answers.pop(0)
        raise LinkTimeout("nothing more")

    def close(self) -> None:
        self.closed += 1


@contextmanager
def chain_of(count: int, faults: Faults | None = None) -> Iterator[tuple[str, list[FakeDevice]]]:
    devices = [FakeDevice(name=str(number)) for number in range(count)]
    with serve_pty(ChainMachine(devices, faults or Faults())) as port:
        yield f"chain:{port}", devices


# Chains


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_chain_tells_where_it_ends(count: int) -> None:
    with chain_of(count) as (via, _):
        nodes = open_links(via)
        assert [node.name for node in nodes] == [f"{via}#{number}" for number in range(count)]
        assert [node.link.hops for node in nodes] == list(range(count))
        nodes[0].link.close()


def test_each_node_answers_for_itself() -> None:
    with chain_of(8) as (via, devices):
        nodes = open_links(via)
        for number, node in enumerate(nodes):
            assert DeviceClient(node.link).echo("hello") == "hello"
            assert len(devices[number].requests) == 1
        nodes[0].link.close()


def test_lk_07_a_node_behind_the_end_is_not_there() -> None:
    with chain_of(3) as (via, _):
        (node,) = open_links(f"{via}#5")
        client = DeviceClient(node.link, retries=1)
        with pytest.raises(NoSuchNode, match=r"LK-07.*ends with node 2"):
            client.echo("x")
        assert client.link.counters.retries == 1
        node.link.close()


def test_the_end_of_a_chain_is_found_over_a_faulty_line() -> None:
    with chain_of(4, Faults(lose=0.2, double=0.2, seed=7)) as (via, _):
        nodes = open_links(via)
        assert len(nodes) == 4
        nodes[0].link.close()


def test_a_chain_that_is_broken_is_told_where() -> None:
    """Node 2 is dead: it answers nobody and sends nothing on."""
    machine = ChainMachine([FakeDevice() for _ in range(4)], Faults())
    machine._nodes[2].receive_from_above = lambda data: None  # type: ignore[method-assign]
    with serve_pty(machine) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpc.addresses._ASK_TIMEOUT_SECONDS", 0.05)
        with pytest.raises(LinkError, match=r"LK-08.*nodes 0 to 1 answer; node 2 is silent"):
            open_links(f"chain:{port}")


def test_no_answer_is_taken_from_another_distance() -> None:
    stream = Scripted(
        HopPacket(1, HopFlags.REPLY, ECHO_REPLY),
        HopPacket(3, HopFlags.REPLY, ECHO_REPLY),
        HopPacket(2, HopFlags.NONE, ECHO_REPLY),
        HopPacket(2, HopFlags.REPLY | HopFlags.BUSY, b""),
        HopPacket(2, HopFlags.REPLY | HopFlags.NO_SUCH_NODE, b""),
        HopPacket(2, HopFlags.REPLY, ECHO_REPLY),
    )
    link = ChainNodeLink(HopStream(stream), 2)
    assert link.exchange(ECHO, 1.0) == ECHO_REPLY
    assert link.counters.skipped_replies == 5
    assert stream.sent == [HopPacket(2, HopFlags.NONE, ECHO).encode_delimited()]


def test_what_is_no_packet_is_counted_and_passed_over() -> None:
    good = HopPacket(0, HopFlags.REPLY, ECHO_REPLY).encode_delimited()
    changed = bytearray(good)
    changed[9] ^= 1
    stream = Scripted(bytes(changed), b"\0noise\0", good[:10], good[10:])
    link = ChainNodeLink(HopStream(stream), 0)
    assert link.exchange(ECHO, 1.0) == ECHO_REPLY
    assert link.counters.bad_frames == 2


def test_a_port_that_ended_is_given_back_and_the_next_exchange_opens_it_again() -> None:
    class Ended(Scripted):
        def receive(self, deadline: float) -> bytes:
            raise LinkClosed("gone")

    stream = Ended()
    link = ChainNodeLink(HopStream(stream), 0)
    with pytest.raises(LinkClosed):
        link.exchange(ECHO, 1.0)
    assert stream.closed == 1


# Buses


def test_slaves_answer_while_another_is_busy() -> None:
    """A bus is held for one transaction: two slaves that work for 0.8 s each are done together."""
    machine = BusMachine({1: FakeDevice(), 2: FakeDevice()}, Faults(), busy_seconds=0.8)
    with serve_tcp(machine) as port:
        first, second = open_links(f"bus:{port}#1,2")
        began = time.monotonic()
        threads = [
            threading.Thread(target=DeviceClient(node.link, timeout_seconds=3).echo, args=("x",))
            for node in (first, second)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=5)
        assert time.monotonic() - began < 1.5
        first.link.close()


def test_lk_07_a_slave_that_does_not_acknowledge_is_not_there() -> None:
    with serve_tcp(BusMachine({1: FakeDevice()}, Faults())) as port:
        (node,) = open_links(f"bus:{port}#9")
        with pytest.raises(NoSuchNode, match=r"LK-07.*no slave.*address 9"):
            DeviceClient(node.link, retries=1).echo("x")
        node.link.close()


def test_a_slave_that_stays_busy_is_given_up_in_time() -> None:
    with serve_tcp(BusMachine({1: FakeDevice()}, Faults(), busy_seconds=30)) as port:
        (node,) = open_links(f"bus:{port}#1")
        with pytest.raises(LinkTimeout, match="LK-08"):
            DeviceClient(node.link, retries=0, timeout_seconds=0.2).echo("x")
        node.link.close()


# Turns


def test_the_lock_is_granted_in_the_order_of_asking() -> None:
    lock = FairLock()
    order: list[int] = []
    with lock:
        threads = []
        for number in range(8):
            thread = threading.Thread(target=lambda number=number: _take(lock, order, number))
            thread.start()
            threads.append(thread)
            while len(lock._queue) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join(timeout=5)
    assert order == list(range(8))


def test_one_that_gives_up_waiting_does_not_keep_its_place() -> None:
    lock = FairLock()
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock._changed, "wait_for", _interrupted)
        with pytest.raises(KeyboardInterrupt), lock:
            pass
    with lock:
        pass


def test_nodes_of_one_chain_take_turns() -> None:
    """Four threads ask for half a second; none is left behind."""
    with chain_of(4) as (via, devices):
        nodes = open_links(via)
        until = time.monotonic() + 0.5

        def ask(node: int) -> None:
            client = DeviceClient(nodes[node].link)
            while time.monotonic() < until:
                client.echo("x")

        threads = [threading.Thread(target=ask, args=(node,)) for node in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)
        counts = [len(device.requests) for device in devices]
        assert min(counts) > 0.5 * max(counts)
        nodes[0].link.close()


def _take(lock: FairLock, order: list[int], number: int) -> None:
    with lock:
        order.append(number)


def _interrupted(_: object) -> None:
    raise KeyboardInterrupt
