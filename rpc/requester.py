"""Asks a device, and asks again: retries, time-outs and sequence numbers (docs/spec/protocol.md, section 6)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final, TypeVar

from rpc.errors import LinkClosed, LinkTimeout, MessageMalformed, NoSuchNode
from rpc.link import Link
from rpc.message import Op, body_of, encode_request
from rpc.reply import raise_refusal

REPLY_TIMEOUT_SECONDS: Final = 4.0
HOP_TIMEOUT_SECONDS: Final = 0.1
RETRIES: Final = 5
_NOBODY_THERE_PAUSE_SECONDS: Final = 0.2
"""A port that ended, a slave that is resetting: both come back in a moment."""
_SEQUENCES: Final = 256

T = TypeVar("T")
Body = dict[str, object]


class Requester:
    """One conversation with one device over one link, for one thread."""

    def __init__(self, link: Link, retries: int = RETRIES, timeout_seconds: float | None = None) -> None:
        """`timeout_seconds` replaces the protocol's own, which allows for the erase of a sector."""
        self.link = link
        self.retries = retries
        self.hop_seconds = HOP_TIMEOUT_SECONDS * link.hops
        self.timeout_seconds = REPLY_TIMEOUT_SECONDS + self.hop_seconds if timeout_seconds is None else timeout_seconds
        # Not always the same number first: what the program before this one asked may be answered only now.
        self._sequence = secrets.randbelow(_SEQUENCES)

    def encode(self, op: Op, group: int, command: int, fields: Body) -> bytes:
        """A request under the next sequence number."""
        self._sequence = (self._sequence + 1) % _SEQUENCES
        return encode_request(op, group, self._sequence, command, fields)

    def ask(self, request: bytes, what: str, understand: Callable[[Body], T]) -> T:
        """Send, as often as it takes, until a reply is understood; `what` names it in errors.

        The same bytes go out each time, under the same sequence number: every request may be repeated (section 7).
        Raises DeviceRefused at once; LinkTimeout, LinkClosed, NoSuchNode, MessageMalformed after the last attempt.
        """
        failure: LinkTimeout | LinkClosed | NoSuchNode | MessageMalformed | None = None
        for attempt in range(1 + self.retries):
            if attempt:
                self.link.counters.retries += 1
            try:
                return self.ask_once(request, what, understand, self.timeout_seconds)
            except LinkTimeout as error:
                failure = error
            except (LinkClosed, NoSuchNode) as error:
                failure = error
                time.sleep(_NOBODY_THERE_PAUSE_SECONDS)
            except MessageMalformed as error:
                self.link.counters.bad_frames += 1
                failure = error
        if failure is None:
            raise ValueError("retries must not be negative")
        raise failure

    def ask_once(self, request: bytes, what: str, understand: Callable[[Body], T], timeout_seconds: float) -> T:
        """One attempt."""
        self.link.counters.requests += 1
        body = body_of(self.link.exchange(request, timeout_seconds))
        raise_refusal(body, what)
        return understand(body)
