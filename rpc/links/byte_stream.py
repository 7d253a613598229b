"""Bytes to and from a port or a connection: what framing stands on."""

from __future__ import annotations

import time
from typing import Protocol


class ByteStream(Protocol):
    """A full-duplex row of bytes. It opens when it is first used, and again after it ended."""

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""

    def send(self, data: bytes) -> None:
        """Hand over all bytes; raises LinkClosed, LinkTimeout."""

    def receive(self, deadline: float) -> bytes:
        """At least one byte; raises LinkTimeout when `deadline` (of time.monotonic) comes first, LinkClosed."""

    def close(self) -> None:
        """Give it back."""


def seconds_left(deadline: float) -> float:
    """How long until a deadline of time.monotonic; 0 when it has passed."""
    return max(0.0, deadline - time.monotonic())
