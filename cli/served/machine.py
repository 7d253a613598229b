"""One simulated device at work: powered on, answering, resetting, perhaps losing its power. No I/O but its store's."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from bootloader.link.server import SmpServer
from bootloader.link.statistics import LinkStatistics
from bootloader.link.target import Target
from bootloader.link.update_target import UpdateModeTarget
from bootloader.simulation.application import SimulatedApplication
from bootloader.simulation.device import ApplicationRuns, Dead, PowerOn, SimulatedDevice
from bootloader.simulation.sim_flash import Operation, PowerCut
from cli.served.options import ServeOptions


class Store(Protocol):
    """Where what happens to flash is put on record."""

    def keep(self, operations: Sequence[Operation]) -> None: ...
    def write_whole(self) -> None: ...
    def write_whole_if_log_is_long(self) -> None: ...


class Machine:
    """A device under power. `statistics` are those of its links since the last start; `starts` counts those."""

    def __init__(self, device: SimulatedDevice, store: Store, options: ServeOptions) -> None:
        self.device = device
        self.statistics = LinkStatistics()
        self.starts = 0
        self.stays_off_after_cut = False
        self._store = store
        self._options = options
        self._target: Target | None = None
        self._server: SmpServer | None = None
        self._started_at = 0.0
        # A device that draws the same numbers after its process was killed would repeat its nonces.
        device.platform.seed(secrets.randbits(64))
        if options.cut is not None:
            device.flash.seed(options.cut.seed)
            device.flash.power_on()
            device.flash.cut_power_at(options.cut.operation, options.cut.tear, outlives_resets=True)

    @property
    def listens(self) -> bool:
        """Whether anything runs that answers."""
        return self._server is not None

    def power_on(self, kind: PowerOn = PowerOn.COLD) -> None:
        """Power, or a reset, and what runs then; a cut in the middle is followed by another start."""
        self._server = None
        self.starts += 1
        self.statistics = LinkStatistics()
        self._with_flash(lambda: self._start(kind))

    def handle(self, message: bytes) -> bytes | None:
        """The answer to a message, once flash is on record; None if there is none, or the power failed meanwhile."""
        server = self._server
        return None if server is None else self._with_flash(lambda: server.handle(message))

    def reset_if_wanted(self) -> bool:
        """After an answer was sent: the reset that it announced. Says whether there was one."""
        if self._target is None or self._server is None or not self._server.wants_reset:
            return False
        self.device.mailbox = self._target.mailbox
        time.sleep(self._options.reset_after_seconds)
        self.power_on(PowerOn.WARM)
        self._store.write_whole_if_log_is_long()
        return True

    def _start(self, kind: PowerOn) -> None:
        device = self.device
        running = device.power_on(kind)
        self._started_at = time.monotonic()
        if isinstance(running, ApplicationRuns):
            application = self._application(running)
            if self._options.confirms and application.confirmation() is not None:
                running = device.application_confirms()
        if isinstance(running, Dead):
            return
        self._target = self._application(running) if isinstance(running, ApplicationRuns) else self._update_mode()
        options = self._options
        self._server = SmpServer(self._target, detailed_codes=options.detailed_codes, statistics=self.statistics)

    def _application(self, running: ApplicationRuns) -> SimulatedApplication:
        return SimulatedApplication(self.device, running.head, self._is_in_safe_state)

    def _update_mode(self) -> UpdateModeTarget:
        return UpdateModeTarget(self.device.bootloader)

    def _is_in_safe_state(self) -> bool:
        return time.monotonic() - self._started_at >= self._options.unsafe_for_seconds

    def _with_flash(self, action: Callable[[], bytes | None]) -> bytes | None:
        """Do it, and put on record what it did to flash, before anyone is told; erases take their time."""
        log: list[Operation] = []
        self.device.flash.log = log
        try:
            result = action()
        except PowerCut:
            self._after_power_cut()
            return None
        finally:
            self.device.flash.log = None
        self._store.keep(log)
        if self._options.erase_seconds:
            time.sleep(self._options.erase_seconds * sum(operation.data is None for operation in log))
        return result

    def _after_power_cut(self) -> None:
        """What is torn is kept as it is; the power comes back after a while, to a device that remembers nothing."""
        self._server = None
        self.device.mailbox = None
        self.device.flash.log = None
        self._store.write_whole()
        if self.stays_off_after_cut:
            return
        time.sleep(self._options.power_back_after_seconds)
        self.power_on(PowerOn.COLD)
