"""Real simulated devices behind links of this process: every message can be lost, and devices lose their power."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bootloader.simulation.device import PowerOn, SimulatedDevice
from bootloader.simulation.sim_flash import Operation
from cli.served.machine import Machine
from cli.served.options import ServeOptions
from cli.update_material import copy_finder, read_bundles
from pki.values import PublicKey
from rpc.client import DeviceClient
from rpc.errors import LinkTimeout
from rpc.link import LinkCounters
from rpc.update.device_run import DeviceRun
from rpc.update.identity import KnownDevices
from rpc.update.job import Job
from rpc.update.package_facts import read_package
from rpc.update.planner import Step
from rpc.update.report import DeviceReport
from rpc.update.sources import Grants, Patience
from tests.updates.fleet import PRODUCT_ID, identity_key, world

HURRIED = Patience(
    safe_seconds=2.0,
    confirmed_seconds=2.0,
    link_seconds=0.5,
    restart_seconds=0.3,
    again_seconds=0.02,
    restart_poll_seconds=0.0,
)


class _NoStore:
    def keep(self, operations: Sequence[Operation]) -> None: ...
    def write_whole(self) -> None: ...
    def write_whole_if_log_is_long(self) -> None: ...


class DeskLink:
    """A link to one device. `on_message(number)` may lose a request or its reply, or cut the power."""

    hops = 0
    max_message_bytes = 1_472

    def __init__(self, device: SimulatedDevice, name: str = "udp://desk", **options: Any) -> None:
        self.name = name
        self.counters = LinkCounters()
        self.machine = Machine(device, _NoStore(), ServeOptions(reset_after_seconds=0.0, **options))
        self.machine.power_on()
        self.messages = 0
        self.on_message: Callable[[int], str | None] = lambda _number: None

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        """Time passes only where the tool itself waits."""
        fate = self.on_message(self.messages)
        self.messages += 1
        self.counters.bytes_sent += len(message)
        if fate == "power":
            self.machine.power_on(PowerOn.COLD)
        if fate in {"request", "power"}:
            raise LinkTimeout("lost")
        answer = self.machine.handle(message)
        self.machine.reset_if_wanted()
        if answer is None or fate == "reply":
            raise LinkTimeout("lost")
        self.counters.bytes_received += len(answer)
        return answer

    def close(self) -> None: ...


class Watcher:
    """Remembers what it was told, and calls back with how far the upload is."""

    def __init__(self, on_sent: Callable[[int], None] = lambda _done: None) -> None:
        self.steps: list[str] = []
        self.ends: list[tuple[str, str]] = []
        self._on_sent = on_sent

    def found(self, via: str, uid: str) -> None: ...

    def step(self, via: str, step: Step) -> None:
        self.steps.append(str(step))

    def sent(self, via: str, done_bytes: int, size_bytes: int) -> None:
        self._on_sent(done_bytes)

    def finished(self, via: str, result: str, reason: str | None) -> None:
        self.ends.append((via, result))


def known(*numbers: int) -> KnownDevices:
    """The identity keys of these devices."""
    return KnownDevices({world(number).uid: identity_key(number) for number in numbers})


def known_wrongly(number: int) -> KnownDevices:
    """A device on record with another key than it has."""
    wrong: PublicKey = identity_key(number + 1)
    return KnownDevices({world(number).uid: wrong})


def job(folder: Path, package: bytes, *bundles: bytes, grants: Grants | None = None, **other: Any) -> Job:
    """The package and what is at hand, in files."""
    path = folder / "package.srp"
    path.write_bytes(package)
    paths = [folder / f"bundle-{number}.srb" for number in range(len(bundles))]
    for bundle_path, content in zip(paths, bundles, strict=True):
        bundle_path.write_bytes(content)
    fields: dict[str, Any] = {
        "package": read_package(path),
        "bundles": read_bundles(paths, PRODUCT_ID),
        "keys": known(0),
        "grants": grants,
        "copy_of": copy_finder([]),
        "random_bytes": os.urandom,
        "observer": Watcher(),
        "patience": HURRIED,
    }
    return Job(**{**fields, **other})


def run(link: DeskLink, job: Job) -> DeviceReport:
    """The tool's work on one device."""
    return DeviceRun(link.name, DeviceClient(link), job).run()
