"""One nest of the simulated fixture: a board or none, its supply, its link, and the probe (docs/spec/fixture.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from bootloader.reference.factory_image import Block
from bootloader.simulation.device import SimulatedDevice, blank_flash
from bootloader.simulation.platform import READOUT_LEVEL_MAX
from bootloader.simulation.sim_flash import Tear
from cli.served.bench import Bench, MemoryStore, Tap, is_blank_flash, whole_flash
from cli.served.endpoints import Endpoint, SerialEndpoint
from cli.served.faults import LinkFaults
from cli.served.lines import FdLine
from cli.served.machine import Machine
from cli.served.options import FaultOptions, ServeOptions
from cli.served.ports import Port, StreamPort, TcpPort, UdpPort
from cli.served.store import DeviceStore


class Refusal(Exception):
    """The fixture does not do it; the text says why, and nothing was done."""


@dataclass(slots=True)
class _InNest:
    device: SimulatedDevice
    store: DeviceStore | MemoryStore
    machine: Machine | None = None
    port: Port | None = None


class Nest:
    """A place for one board."""

    def __init__(self, number: int, endpoint: Endpoint, options: ServeOptions, tap: Tap | None) -> None:
        self.number = number
        self.endpoint = endpoint
        self._options = options
        self._tap = tap
        self._content: _InNest | None = None
        self._set_faults(options.faults)

    # --- the loop ---

    def filenos(self) -> list[int]:
        """What to wait for: also while nothing listens, for then what comes is lost."""
        port = self._content.port if self._content is not None else None
        if port is not None:
            return port.filenos()
        return [self.endpoint.line if isinstance(self.endpoint, SerialEndpoint) else self.endpoint.socket.fileno()]

    def serve(self) -> None:
        """Take what has arrived at the link."""
        content = self._content
        if content is None or content.machine is None or content.port is None:
            self._drain()
            return
        starts = content.machine.starts
        content.port.serve()
        content.machine.reset_if_wanted()
        if content.machine.starts != starts:
            content.port.restart()

    def _drain(self) -> None:
        if isinstance(self.endpoint, SerialEndpoint):
            FdLine(self.endpoint.line, self._perfect, self._perfect).read()
        elif self.endpoint.is_tcp:
            connection, _ = self.endpoint.socket.accept()
            connection.close()
        else:
            self.endpoint.socket.recv(1)

    # --- the operator's hands ---

    @property
    def uid(self) -> bytes | None:
        """Of the board that lies in it."""
        return self._content.device.uid if self._content is not None else None

    @property
    def device(self) -> SimulatedDevice:
        """The board that lies in it; raises Refusal without one."""
        return self._board().device

    def insert(self, bench: Bench, uid: bytes) -> None:
        """Put a board in, and power on."""
        if self._content is not None:
            raise Refusal(f"nest {self.number} has a board in it")
        self._content = _InNest(*bench.take(uid))
        self.power_on()

    def remove(self) -> None:
        """Power off, and out."""
        content = self._board()
        self.power_off()
        content.store.close()
        self._content = None

    # --- the supply ---

    def power_on(self) -> None:
        """Does nothing to a board that has power."""
        content = self._board()
        if content.machine is None or not content.machine.listens:
            content.machine = Machine(content.device, content.store, self._options)
            content.machine.power_on()
            content.port = self._port(content.machine)

    def power_off(self) -> None:
        """RAM is lost."""
        content = self._board()
        content.machine = content.port = None
        content.device.mailbox = None
        content.device.running = None

    def cut_power(self, operation: int, tear: Tear, seed: int, *, stays_off: bool) -> None:
        """Let the power fail during a flash operation ahead."""
        content = self._board()
        content.device.flash.seed(seed)
        content.device.flash.cut_power_at(operation, tear, outlives_resets=True)
        if content.machine is not None:
            content.machine.stays_off_after_cut = stays_off

    # --- the probe ---

    def read_flash(self, *, as_hash: bool) -> bytes:
        """All of flash, or its SHA-256."""
        device = self._probed()
        if device.platform.option_bytes.readout_level:
            raise Refusal("readout protection is set")
        flash = whole_flash(device)
        return sha256(flash).digest() if as_hash else flash

    def set_option_bytes(self, changes: dict[str, Any]) -> None:
        """Write some of them; a lower readout level erases flash. The board stands still until the next power-on."""
        content = self._board()
        device = self._probed()
        self.power_off()
        try:
            device.set_option_bytes(replace(device.platform.option_bytes, **changes))
        except ValueError as error:
            raise Refusal(str(error)) from None
        content.store.write_whole()

    def erase(self) -> None:
        """All of flash; where readout protection is at level 1, by lifting it. The board stands still then."""
        content = self._board()
        device = self._probed()
        self.power_off()
        if device.platform.option_bytes.readout_level:
            device.set_option_bytes(replace(device.platform.option_bytes, readout_level=0))
        else:
            device.flash.restore(blank_flash(device.board).snapshot())
        content.store.write_whole()

    def program(self, blocks: list[Block]) -> None:
        """Write to blank flash, whole write units."""
        content = self._board()
        device = self._probed()
        if device.platform.option_bytes.readout_level:
            raise Refusal("readout protection is set")
        if not is_blank_flash(device):
            raise Refusal("flash is not blank: erase it first")
        board = device.board
        for address, data in blocks:
            inside = (
                board.flash_address <= address and address + len(data) <= board.flash_address + board.flash_size_bytes
            )
            if not inside or address % board.write_unit_bytes:
                raise Refusal(f"{len(data)} bytes at {address:#010x} are not in flash, or not in whole write units")
        for address, data in blocks:
            device.flash.load(address, data)
        content.store.write_whole()

    def _probed(self) -> SimulatedDevice:
        device = self._board().device
        option_bytes = device.platform.option_bytes
        if option_bytes.readout_level == READOUT_LEVEL_MAX or option_bytes.debug_closed:
            raise Refusal("the debug port is closed")
        if device.flash.is_power_lost:
            device.flash.power_on()  # the probe brings its own
        return device

    # --- the wire ---

    def set_faults(self, faults: FaultOptions) -> None:
        """From now on."""
        self._set_faults(faults)
        if self._content is not None and self._content.machine is not None:
            self._content.port = self._port(self._content.machine)

    def _set_faults(self, faults: FaultOptions) -> None:
        self._perfect = LinkFaults(FaultOptions(), "perfect")
        self._arriving = LinkFaults(faults, f"nest {self.number} in", self._tap)
        self._leaving = LinkFaults(faults, f"nest {self.number} out", self._tap)

    def _port(self, machine: Machine) -> Port:
        endpoint = self.endpoint
        if isinstance(endpoint, SerialEndpoint):
            return StreamPort(machine, FdLine(endpoint.line, self._arriving, self._leaving), None)
        kind = TcpPort if endpoint.is_tcp else UdpPort
        return kind(machine, endpoint.socket, self._arriving, self._leaving)

    def _board(self) -> _InNest:
        if self._content is None:
            raise Refusal(f"nest {self.number} has no board in it")
        return self._content
