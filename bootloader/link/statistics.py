"""Counters of one link since its start (docs/spec/protocol.md, section 4, command 7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LinkStatistics:
    """Frames and packets: received and sent, broken, forwarded, dropped for want of room, met by *busy*."""

    received: int = 0
    sent: int = 0
    bad: int = 0
    forwarded: int = 0
    dropped: int = 0
    busy: int = 0

    def answer(self) -> dict[str, int]:
        """The fields of the reply."""
        return {
            "rx": self.received,
            "tx": self.sent,
            "bad": self.bad,
            "fwd": self.forwarded,
            "drop": self.dropped,
            "busy": self.busy,
        }
