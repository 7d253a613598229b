"""What a person sees of an update: one bar for each device on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.output import say, table
from rpc.update.report import UpdateReport

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from rpc.update.planner import Step
    from rpc.update.sources import Observer

_VIA_WIDTH = 40


class Lines:
    """One line when a device is found, and one when it is done."""

    def found(self, via: str, uid: str) -> None:
        say(f"{via}: device {uid}")

    def step(self, via: str, step: Step) -> None: ...
    def sent(self, via: str, done_bytes: int, size_bytes: int) -> None: ...

    def finished(self, via: str, result: str, reason: str | None) -> None:
        say(f"{via}: {result}" + (f" ({reason})" if reason else ""))


class Bars:
    """One bar for each device, on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def found(self, via: str, uid: str) -> None:
        self._tell(via, f"device {uid}")

    def step(self, via: str, step: Step) -> None:
        self._tell(via, str(step))

    def sent(self, via: str, done_bytes: int, size_bytes: int) -> None:
        self._progress.update(self._task(via), completed=done_bytes, total=size_bytes)

    def finished(self, via: str, result: str, reason: str | None) -> None:
        self._tell(via, result if reason is None else f"{result}: {reason}")
        self._progress.stop_task(self._task(via))

    def _tell(self, via: str, words: str) -> None:
        self._progress.update(self._task(via), words=words)

    def _task(self, via: str) -> TaskID:
        with self._lock:
            if via not in self._tasks:
                self._tasks[via] = self._progress.add_task(via[-_VIA_WIDTH:], total=None, words="")
            return self._tasks[via]


@contextmanager
def watching() -> Iterator[Observer]:
    """Bars on a terminal; lines where standard error is none."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    words = TextColumn("{task.fields[words]}", markup=False)
    with Progress(*columns, words, console=Console(stderr=True)) as progress:
        yield Bars(progress)


def readable(report: UpdateReport) -> str:
    """The report for people: one line for each device, and the sum."""
    rows = [
        [
            device.via[-_VIA_WIDTH:],
            device.uid or "-",
            device.result.value,
            f"{device.seconds:.1f} s",
            f"{device.bytes_sent:,}",
            str(device.retries),
            _words(device.rule, device.reason, device.steps),
        ]
        for device in report.devices
    ]
    good = sum(device.result.is_good for device in report.devices)
    lines = [table(("via", "device", "result", "time", "bytes sent", "again", ""), rows)]
    if not report.is_verified:
        lines.append("NOT VERIFIED: what is said of devices here is what their links said, and proves nothing.")
    kind = report.package.facts.package_type.name.lower().replace("_", " ")
    lines.append(f"{good} of {len(report.devices)} devices: {kind} {report.package.facts.version}")
    return "\n".join(lines)


def _words(rule: str | None, reason: str | None, steps: list[str]) -> str:
    if reason is None:
        return ", ".join(steps)
    return f"[{rule}] {reason}" if rule else reason
