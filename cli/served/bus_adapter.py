"""The bus and its adapter, in the process that has begun the devices: the bus hardware of each, and the host's line."""

from __future__ import annotations

import socket
from contextlib import suppress

from bootloader.link.bus import BusAdapter, BusSlave
from bootloader.link.statistics import LinkStatistics
from cli.served.lines import FdLine, TcpLine
from cli.served.ports import BUS_ANSWER, BUS_COUNTERS, BUS_RESET

_MESSAGE_SIZE_BYTES_MAX = 65536


class ServedBus:
    """Slaves 1, 2, … by their wires to the devices' processes, and what a host's adapter says to them."""

    def __init__(self, line: FdLine | TcpLine, wires: list[socket.socket]) -> None:
        self._line = line
        self._wires = wires
        self._statistics = [LinkStatistics() for _ in wires]
        self._slaves = {number + 1: BusSlave(number + 1, self._statistics[number]) for number in range(len(wires))}
        self._adapter = BusAdapter(self._slaves)

    def filenos(self) -> list[int]:
        """What to wait for."""
        return [*self._line.filenos(), *(end.fileno() for end in self._wires)]

    def device_is_gone(self, number: int) -> None:
        """The process of device `number` (from 0) has ended: nobody acknowledges its address."""
        self._slaves.pop(number + 1, None)

    def device_is_there(self, number: int) -> None:
        """The process of device `number` (from 0) has begun."""
        self._statistics[number] = LinkStatistics()
        self._slaves[number + 1] = BusSlave(number + 1, self._statistics[number])

    def serve(self) -> None:
        """Carry out what the host has asked for, and take what the devices have answered."""
        for number, end in enumerate(self._wires):
            self._take_answers(number, end)
        for data in self._line.read():
            for answer in self._adapter.receive(data):
                self._line.write(answer)
        for address, slave in self._slaves.items():
            request = slave.take_request()
            if request is not None:
                counters = self._statistics[address - 1]
                with suppress(OSError):
                    self._wires[address - 1].send(BUS_COUNTERS.pack(*counters.answer().values()) + request)

    def _take_answers(self, number: int, end: socket.socket) -> None:
        try:
            data = end.recv(_MESSAGE_SIZE_BYTES_MAX, socket.MSG_DONTWAIT)
        except OSError:
            return
        slave = self._slaves.get(number + 1)
        if slave is None:
            return
        if data[:1] == BUS_RESET:
            self.device_is_there(number)
        else:
            slave.answer(data[1:] if data[:1] == BUS_ANSWER else None)
