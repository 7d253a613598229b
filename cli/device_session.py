"""A simulated device in its file, for one command: locked, powered on, perhaps cut, and saved as it was left."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.flash import Region
from bootloader.simulation import sending
from bootloader.simulation.device import ApplicationRuns, Dead, InUpdateMode, PowerOn, Running, SimulatedDevice
from bootloader.simulation.device_file import DeviceFileInvalid, read_device_file, replace_device_file
from bootloader.simulation.sim_flash import Operation, PowerCut, Tear
from cli.device_words import code_in_words, trial_in_words, version_in_words
from pki.errors import InputRefused, OutputError

Report = Callable[[int, int], None]
"""Called with the bytes sent so far, and all of them."""


class TearChoice(StrEnum):
    """What a power cut leaves of the running flash operation, as the command line names it."""

    BEFORE = "before"
    NO_BITS = "no-bits"
    NEARLY_NOTHING = "nearly-nothing"
    TORN = "torn"
    UNSTABLE = "unstable"
    NEARLY_ALL = "nearly-all"
    ALL_BITS = "all-bits"
    AFTER = "after"

    @property
    def tear(self) -> Tear:
        """The simulation's name for it."""
        return Tear.RANDOM if self is TearChoice.TORN else Tear[self.name]


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Where to cut the power: during this operation, counted from 0 from the beginning of the action; and how."""

    operation: int
    tear: Tear
    seed: int


@dataclass(frozen=True, slots=True)
class FlashUse:
    """What an action did to flash: one operation is one write unit programmed, or one sector erased."""

    operation_count: int
    erase_count: int
    outside_journal_count: int

    def as_json(self) -> dict[str, int]:
        """For reports."""
        return {
            "flash_operations": self.operation_count,
            "sectors_erased": self.erase_count,
            "flash_operations_outside_journal": self.outside_journal_count,
        }


def load_device(path: Path) -> SimulatedDevice:
    """A scratch copy of the device in a file. Raises InputRefused."""
    try:
        return read_device_file(path)
    except DeviceFileInvalid as error:
        raise InputRefused(f"device file {path}: {error}") from None
    except OSError as error:
        raise InputRefused(f"device file {path}: cannot be read ({error.strerror})") from None


@contextmanager
def locked_device(path: Path) -> Iterator[SimulatedDevice]:
    """The device of a file, which no other process uses meanwhile; saved at the end, after a power cut too.

    It is saved also when the body raises a refusal of the device: its event log may have changed. Raises InputRefused
    if the file cannot be used, or is in use; OutputError if it cannot be saved, and then it is as it was.
    """
    with _lock(path):
        device = load_device(path)
        try:
            yield device
        except Refused:
            _save(path, device)
            raise
        _save(path, device)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An exclusive lock on the file itself. A file that was replaced since it was opened is in use by another."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise InputRefused(f"device file {path}: cannot be opened for writing ({error.strerror})") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            in_use = os.fstat(descriptor).st_ino != path.stat().st_ino
        except OSError:
            in_use = True
        if in_use:
            raise InputRefused(f"device file {path}: another process is using it; wait until that has finished")
        yield
    finally:
        os.close(descriptor)


def _save(path: Path, device: SimulatedDevice) -> None:
    try:
        replace_device_file(path, device)
    except OSError as error:
        raise OutputError(f"device file {path}: cannot be written ({error.strerror}); it is as it was before") from None


def enter_update_mode(device: SimulatedDevice, *, entry_pin: bool = False) -> InUpdateMode:
    """Power on; if an application runs, it asks for update mode as it would in its own safe state. Raises Refused."""
    device.entry_pin_is_active = entry_pin
    running = device.power_on(PowerOn.COLD)
    device.entry_pin_is_active = False
    if isinstance(running, ApplicationRuns):
        running = device.application_requests_update()
    if not isinstance(running, InUpdateMode):
        raise Refused(DeviceCode.NO_BOOTLOADER, "no bootloader copy verifies, so nothing listens")
    return running


def send_package(device: SimulatedDevice, stream: BinaryIO, block_size_bytes: int, report: Report) -> Running:
    """Send a whole package in blocks to a device in update mode, then reset it as a host does. Raises Refused."""
    sending.send_package(device.bootloader, stream, block_size_bytes, report)
    return device.reset_after_install()


def run_with_cut(
    device: SimulatedDevice, action: Callable[[], Running], cut: CutOptions | None = None
) -> tuple[Running | Refused | None, FlashUse]:
    """Run an action and count what it did to flash; a refusal is a result here.

    With the power cut on the way the result is None, flash is as the cut left it, and the mailbox in RAM is lost.
    The action runs once to its end; its flash operations are then done again on what was before, up to the cut.
    """
    before = device.flash.snapshot()
    log: list[Operation] = []
    device.flash.log = log
    result: Running | Refused | None
    try:
        result = action()
    except Refused as refusal:
        result = refusal
    finally:
        device.flash.log = None
    use = _flash_use(device, log)
    if cut is not None and cut.operation < use.operation_count:
        device.flash.restore(before)
        device.flash.seed(cut.seed)
        device.flash.cut_power_at(cut.operation, cut.tear)
        try:
            device.flash.replay(log)
        except PowerCut:
            result = None
        device.mailbox = None
        device.running = None
    return result, use


def _flash_use(device: SimulatedDevice, log: list[Operation]) -> FlashUse:
    unit = device.flash.write_unit_bytes
    journal: tuple[Region, ...] = (device.board.state_0, device.board.state_1)
    outside = [entry for entry in log if not any(region.contains(entry.address, 1) for region in journal)]
    return FlashUse(
        operation_count=sum(entry.count(unit) for entry in log),
        erase_count=sum(entry.data is None for entry in log),
        outside_journal_count=sum(entry.count(unit) for entry in outside),
    )


def running_report(device: SimulatedDevice, running: Running) -> dict[str, Any]:
    """What runs, as data and in one line."""
    if isinstance(running, Dead):
        return {
            "runs": "nothing",
            "code": int(DeviceCode.NO_BOOTLOADER),
            "text": "nothing runs: no bootloader verifies",
        }
    if isinstance(running, InUpdateMode):
        code = running.code
        text = f"update mode (bootloader copy {running.copy.name}): {code.name}, {code_in_words(code)}"
        return {"runs": "update-mode", "copy": running.copy.name, "code": int(code), "name": code.name, "text": text}
    status = device.status()
    version = version_in_words(running.head.image_version)
    confirmed = status.application_is_confirmed
    state = "confirmed" if confirmed else trial_in_words(status.application_attempts)
    kind = running.head.package_type.name.lower().replace("_", "-")
    return {
        "runs": kind,
        "copy": running.copy.name,
        "version": version,
        "security_version": running.head.security_version,
        "confirmed": confirmed,
        "attempts": status.application_attempts,
        "text": f"{kind} {version} ({state}), started by bootloader copy {running.copy.name}",
    }
