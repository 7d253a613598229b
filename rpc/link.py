"""What a link is to those who talk over it, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rpc.errors import LinkError, MessageMalformed
from rpc.message import is_reply_to


@dataclass(slots=True)
class LinkCounters:
    """What a host counts on one link. Bytes are those handed to the port or socket, framing included."""

    bytes_sent: int = 0
    bytes_received: int = 0
    requests: int = 0
    retries: int = 0
    bad_frames: int = 0
    """Frames, packets or messages that were dropped because a rule or a checksum failed."""
    skipped_replies: int = 0
    """Well-formed messages that were not the reply that was waited for: late, doubled, of another node."""


class Link(Protocol):
    """One way to one device: a request goes out, its reply comes back."""

    @property
    def name(self) -> str:
        """The address, as `--via` writes it."""

    @property
    def max_message_bytes(self) -> int:
        """The largest message that this link carries."""

    @property
    def hops(self) -> int:
        """How many nodes stand between host and device; each adds to the time-out (protocol.md, section 6)."""

    @property
    def counters(self) -> LinkCounters:
        """Counted here, and by the client."""

    def exchange(self, message: bytes, timeout_seconds: float) -> bytes:
        """Send a request once and wait for the message whose header replies to it; everything else is skipped.

        Raises LinkTimeout, LinkClosed, NoSuchNode. The reply's map is not looked at.
        """

    def close(self) -> None:
        """Give port or socket back. A later exchange opens it again."""


def reply_among(messages: list[bytes], request: bytes, counters: LinkCounters) -> bytes | None:
    """The reply to `request`, if it is among the messages; the others are counted."""
    found = None
    for message in messages:
        try:
            if found is None and is_reply_to(message, request):
                found = message
            else:
                counters.skipped_replies += 1
        except MessageMalformed:
            counters.bad_frames += 1
    return found


def require_size(message: bytes, link: Link) -> None:
    """A message that the link does not carry is a defect of the caller, or an object that cannot be sent over it."""
    if len(message) > link.max_message_bytes:
        raise LinkError(
            "LK-06", f"a message of {len(message)} bytes; {link.name} carries at most {link.max_message_bytes}"
        )
