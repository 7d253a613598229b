"""Lines that lose, double, delay and change what is sent over them; and the servers at their ends, as threads.

What the servers say at the boundary is real: sockets and pseudo-terminals. Framing comes from the device's side
(`bootloader.link`), which was written apart from the host's.
"""

from __future__ import annotations

import heapq
import os
import random
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bootloader.link.bus import BusAdapter, BusSlave
from bootloader.link.chain import ChainNode
from bootloader.link.statistics import LinkStatistics
from tests.unit.rpc.fake_device import HEADER, FakeDevice

_TICK_SECONDS = 0.02


@dataclass
class Faults:
    """Chances from 0 to 1 of each message that passes; the same seed gives the same row of faults."""

    lose: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    corrupt: float = 0.0
    delay_seconds: float = 0.3
    seed: int = 4
    happened: int = 0
    _source: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._source = random.Random(self.seed)

    def pass_on(self, data: bytes) -> list[tuple[float, bytes]]:
        """What comes out, each with its delay in seconds."""
        if self._chance(self.lose):
            return []
        if self._chance(self.corrupt):
            changed = bytearray(data)
            changed[self._source.randrange(len(changed))] ^= 1 << self._source.randrange(8)
            data = bytes(changed)
        delay_seconds = self.delay_seconds if self._chance(self.delay) else 0.0
        copies = 2 if self._chance(self.double) else 1
        return [(delay_seconds, data)] * copies

    def _chance(self, probability: float) -> bool:
        if not probability or self._source.random() >= probability:
            return False
        self.happened += 1
        return True


class Machine(Protocol):
    """What stands at the device's end of a row of bytes."""

    def receive(self, data: bytes) -> list[tuple[float, bytes]]:
        """Bytes came from the host; what goes back, each with its delay in seconds."""


class BareMachine:
    """One device on TCP: messages one after the other."""

    def __init__(self, device: FakeDevice, faults: Faults) -> None:
        self._device, self._faults = device, faults
        self._received = bytearray()

    def receive(self, data: bytes) -> list[tuple[float, bytes]]:
        """As Machine."""
        self._received += data
        out: list[tuple[float, bytes]] = []
        while len(self._received) >= HEADER.size:
            size = HEADER.size + int.from_bytes(self._received[2:4], "big")
            if len(self._received) < size:
                break
            request = bytes(self._received[:size])
            del self._received[:size]
            out += answers(self._device, request, self._faults)
        return out


class ChainMachine:
    """A chain of devices, or one alone on a serial line. Faults strike between any two of them."""

    def __init__(self, devices: list[FakeDevice], faults: Faults) -> None:
        self.statistics = [LinkStatistics() for _ in devices]
        self._faults = faults
        self._devices = devices
        last = len(devices) - 1
        self._nodes = [
            ChainNode(statistics, has_next=number < last) for number, statistics in enumerate(self.statistics)
        ]

    def receive(self, data: bytes) -> list[tuple[float, bytes]]:
        """As Machine."""
        out: list[tuple[float, bytes]] = []
        for _, passed in self._faults.pass_on(data):
            self._nodes[0].receive_from_above(passed)
        while sum(self._step(number, out) for number in range(len(self._nodes))):  # every node, each time
            pass
        return out

    def _step(self, number: int, out: list[tuple[float, bytes]]) -> bool:
        node, moved = self._nodes[number], False
        while (request := node.take_request()) is not None:
            moved = True
            answer = self._devices[number].handle(request.message)
            if answer is not None:
                node.answer(request, answer)
        while (down := node.send_down()) is not None:
            moved = True
            for _, passed in self._faults.pass_on(down):
                self._nodes[number + 1].receive_from_above(passed)
        while (up := node.send_up()) is not None:
            moved = True
            for delay_seconds, passed in self._faults.pass_on(up):
                if number:
                    self._nodes[number - 1].receive_from_below(passed)
                else:
                    out.append((delay_seconds, passed))
        return moved


class BusMachine:
    """Slaves behind an adapter; each works for `busy_seconds` before it has an answer."""

    def __init__(self, devices: dict[int, FakeDevice], faults: Faults, busy_seconds: float = 0.0) -> None:
        self.slaves = {address: BusSlave(address, LinkStatistics()) for address in devices}
        self._devices, self._faults, self._busy_seconds = devices, faults, busy_seconds
        self._adapter = BusAdapter(self.slaves)
        self._at_work: dict[int, tuple[float, bytes]] = {}

    def receive(self, data: bytes) -> list[tuple[float, bytes]]:
        """As Machine."""
        self._work()
        answers_of_bus = [
            answer for _, passed in self._faults.pass_on(data) for answer in self._adapter.receive(passed)
        ]
        self._work()
        return [passed for answer in answers_of_bus for passed in self._faults.pass_on(answer)]

    def _work(self) -> None:
        for address, slave in self.slaves.items():
            request = slave.take_request()
            if request is not None:
                self._at_work[address] = (time.monotonic() + self._busy_seconds, request)
            if address in self._at_work and time.monotonic() >= self._at_work[address][0]:
                slave.answer(self._devices[address].handle(self._at_work.pop(address)[1]))


def answers(device: FakeDevice, request: bytes, faults: Faults) -> list[tuple[float, bytes]]:
    """What a device says to a request that passes the line, after its answer has passed it too."""
    out = []
    for _, passed in faults.pass_on(request):
        answer = device.handle(passed)
        if answer is not None:
            out += faults.pass_on(answer)
    return out


class _Later:
    """What is to be sent when its time comes."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0

    def add(self, delay_seconds: float, action: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (time.monotonic() + delay_seconds, self._number, action))

    def run(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            heapq.heappop(self._waiting)[2]()


@contextmanager
def _in_thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


@contextmanager
def serve_udp(device: FakeDevice, faults: Faults | None = None) -> Iterator[str]:
    """One device; gives its address for `--via`."""
    line = faults or Faults()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(_TICK_SECONDS)

        def work(stop: threading.Event) -> None:
            later = _Later()
            while not stop.is_set():
                later.run()
                try:
                    request, peer = server.recvfrom(65_536)
                except TimeoutError:
                    continue
                for delay_seconds, answer in answers(device, request, line):
                    later.add(delay_seconds, partial(server.sendto, answer, peer))
                later.run()

        with _in_thread(work):
            yield f"udp://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def serve_tcp(machine: Machine) -> Iterator[str]:
    """A machine behind a TCP port, one connection after the other; gives the port's address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_TICK_SECONDS)

        def work(stop: threading.Event) -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    _serve_bytes(stop, machine, connection.fileno(), connection.sendall)

        with _in_thread(work):
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def serve_pty(machine: Machine) -> Iterator[str]:
    """A machine behind a pseudo-terminal; gives the address of a serial port."""
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        with _in_thread(lambda stop: _serve_bytes(stop, machine, master, lambda data: os.write(master, data))):
            yield f"serial:{os.ttyname(slave)}"
    finally:
        os.close(master)
        os.close(slave)


def _serve_bytes(stop: threading.Event, machine: Machine, source: int, send: Callable[[bytes], object]) -> None:
    later = _Later()
    while not stop.is_set():
        later.run()
        readable, _, _ = select.select([source], [], [], _TICK_SECONDS)
        if not readable:
            continue
        try:
            data = os.read(source, 65_536)
            if not data:
                return
            for delay_seconds, answer in machine.receive(data):
                later.add(delay_seconds, partial(send, answer))
            later.run()
        except OSError:
            return
