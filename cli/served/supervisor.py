"""Begins one process for each served device, says where they are, and ends them all when it is asked to."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from cli.served.bus_adapter import ServedBus
from cli.served.machine import Machine
from cli.served.options import ServeOptions
from cli.served.process import serve_until_stopped
from cli.served.store import DeviceStore
from cli.served.topology import PortMaker, Wiring, outer_line
from pki.errors import InputRefused, StrongroomError

_REPORT_SIZE_BYTES_MAX = 4096


class Supervisor:
    """The devices of one command. `begin` forks; so call it before there are threads."""

    def __init__(self, paths: Sequence[Path], wiring: Wiring, options: ServeOptions, *, restarts: bool) -> None:
        self._paths = list(paths)
        self._wiring = wiring
        self._options = options
        self._restarts = restarts
        self._stop_read, self._stop_write = os.pipe()
        self._signals, self._signalled = socket.socketpair()
        self._signalled.setblocking(False)
        self._ended = False
        self._numbers: dict[int, int] = {}  # process id to number of the device
        self.uids = [""] * len(self._paths)
        self._bus: ServedBus | None = None
        if wiring.bus is not None:
            self._bus = ServedBus(outer_line(wiring.bus, options.faults), wiring.bus_wires)

    @property
    def pids(self) -> list[int]:
        """The processes, in the order of the devices."""
        return sorted(self._numbers, key=lambda pid: self._numbers[pid])

    def begin(self) -> None:
        """Begin all devices and wait until they run. Raises InputRefused if one cannot; then none is left."""
        signal.set_wakeup_fd(self._signalled.fileno())
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, self._end)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        reports = [self._fork(number) for number in range(len(self._paths))]
        refused = []
        for number, report in enumerate(reports):
            told = _read_report(report)
            self.uids[number] = str(told.get("uid", ""))
            if "refused" in told:
                refused.append(str(told["refused"]))
        if refused:
            self.end()
            raise InputRefused(refused[0])

    def run(self, on_end: Callable[[int, int], None]) -> None:
        """Until a signal ends it. `on_end` is told the number and the status of a device whose process ended."""
        while not self._ended:
            bus = self._bus.filenos() if self._bus is not None else []
            ready, _, _ = select.select([self._signals.fileno(), *bus], [], [], 5.0)
            if self._signals.fileno() in ready:
                self._signals.recv(4096)
            self._reap(on_end)
            if self._bus is not None:
                self._bus.serve()
        self.end()

    def end(self) -> None:
        """Let every device write its file, and wait for that."""
        if self._stop_write >= 0:
            os.close(self._stop_write)
        self._stop_write = -1
        for pid in self._numbers:
            os.waitpid(pid, 0)
        self._numbers.clear()
        for endpoint in self._wiring.endpoints:
            endpoint.remove()

    def _end(self, _number: int, _frame: object) -> None:
        self._ended = True

    def _reap(self, on_end: Callable[[int, int], None]) -> None:
        for pid in list(self._numbers):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped == 0:
                continue
            number = self._numbers.pop(pid)
            if self._bus is not None:
                self._bus.device_is_gone(number)
            on_end(number, os.waitstatus_to_exitcode(status))
            if self._restarts and not self._ended:
                _read_report(self._fork(number))
                if self._bus is not None:
                    self._bus.device_is_there(number)

    def _fork(self, number: int) -> int:
        """Begin one device; what it has to report comes from the pipe's end that is returned."""
        report_read, report_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(report_read)
            os.close(self._stop_write)
            signal.set_wakeup_fd(-1)
            for asked in (signal.SIGTERM, signal.SIGINT):
                signal.signal(asked, signal.SIG_IGN)  # they may go to the whole group; the parent tells us in time
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run_device(self._paths[number], self._wiring.makers[number], self._options, self._stop_read, report_write)
        os.close(report_write)
        self._numbers[pid] = number
        return report_read


def _run_device(path: Path, makers: Sequence[PortMaker], options: ServeOptions, stop: int, report: int) -> NoReturn:
    """The life of a device's process. It never returns into what the parent was doing."""
    code = 1
    try:
        store = DeviceStore(path)
        machine = Machine(store.device, store, options)
        machine.power_on()
        ports = [make(machine) for make in makers]
        _tell(report, {"uid": store.device.uid.hex()})
        serve_until_stopped(machine, ports, stop)
        store.close()
        code = 0
    except StrongroomError as error:
        _tell(report, {"refused": str(error)})
        code = 3
    except BaseException:  # noqa: BLE001 (said, and then the process ends, whatever it was)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _tell(report: int, fact: dict[str, str]) -> None:
    os.write(report, json.dumps(fact).encode()[:_REPORT_SIZE_BYTES_MAX])
    os.close(report)


def _read_report(report: int) -> dict[str, object]:
    with os.fdopen(report, "rb") as file:
        told = file.read(_REPORT_SIZE_BYTES_MAX)
    return json.loads(told) if told else {"refused": "the device's process ended before it ran"}
