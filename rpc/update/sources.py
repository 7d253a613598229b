"""What the update tool takes from outside: time, chance, grants, boards, somebody who watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rpc.update.planner import Step

RandomBytes = Callable[[int], bytes]
"""So many random bytes."""

CopyOf = Callable[[str, int], int | None]
"""Which bootloader copy (0 A, 1 B) of a board begins right before this load address; None if the board is unknown."""


class Grants(Protocol):
    """A file of grants."""

    def grant_for(self, uid: bytes) -> bytes | None:
        """What the device with this UID (16 bytes, padded) takes; None if it has no grant there."""


class Observer(Protocol):
    """Told what happens to each device, from several threads at once. It must not raise."""

    def found(self, via: str, uid: str) -> None:
        """A device has told its status for the first time."""

    def step(self, via: str, step: Step) -> None:
        """A step begins."""

    def sent(self, via: str, done_bytes: int, size_bytes: int) -> None:
        """So much of the package is there."""

    def finished(self, via: str, result: str, reason: str | None) -> None:
        """Nothing more will be done to this device."""


class NobodyWatches:
    """An Observer for callers who do not want to know."""

    def found(self, via: str, uid: str) -> None: ...
    def step(self, via: str, step: Step) -> None: ...
    def sent(self, via: str, done_bytes: int, size_bytes: int) -> None: ...
    def finished(self, via: str, result: str, reason: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what, in seconds; docs/spec/update.md, section 3."""

    safe_seconds: float = 60.0
    confirmed_seconds: float = 60.0
    link_seconds: float = 30.0
    restart_seconds: float = 10.0
    again_seconds: float = 1.0
    restart_poll_seconds: float = 0.1
    rounds_without_progress: int = 8
    refusals: int = 3


class Stopped(Exception):
    """The run was stopped from outside."""


class Stop:
    """A switch that somebody outside turns, once; the runs look at it between messages."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """No device begins anything new."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether it has been turned."""
        return self._event.is_set()

    def check(self) -> None:
        """Raises Stopped."""
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until somebody turns it. Raises Stopped."""
        if self._event.wait(max(seconds, 0)):
            raise Stopped


class Deadline:
    """A bound on waiting, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for any more."""
        return time.monotonic() >= self._end

    @property
    def left_seconds(self) -> float:
        """At least 0."""
        return max(self._end - time.monotonic(), 0.0)
