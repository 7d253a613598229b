"""What can go wrong on a link, and what a device answers instead of doing it (docs/spec/protocol.md, section 9)."""

from __future__ import annotations

from pki.errors import StrongroomError


class LinkError(StrongroomError):
    """The link, or what came over it, is not as the protocol demands. `rule_id` is an LK- rule of protocol.md."""

    exit_code_name = "LINK"

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


class MessageMalformed(LinkError):
    """Bytes that are no message, or a reply whose content is not what its command answers (LK-01 to LK-05)."""


class LinkTimeout(LinkError):
    """No reply in time, however often it was asked for."""

    def __init__(self, reason: str) -> None:
        super().__init__("LK-08", reason)


class ChainBroken(LinkError):
    """A chain that does not say where it ends. `answering`: how many of its nodes answer, from the first on."""

    def __init__(self, reason: str, answering: int) -> None:
        super().__init__("LK-08", reason)
        self.answering = answering


class LinkClosed(LinkError):
    """The port or the connection cannot be opened, or ended."""

    def __init__(self, reason: str) -> None:
        super().__init__("LK-09", reason)


class NoSuchNode(LinkError):
    """The chain ends before this node, or no slave of the bus acknowledges this address."""

    def __init__(self, reason: str) -> None:
        super().__init__("LK-07", reason)


class DeviceRefused(StrongroomError):
    """The device's own answer that it does not do this: `rc` within SMP group `group`, `name` as the lists have it."""

    exit_code_name = "REFUSED_BY_DEVICE"

    def __init__(self, group: int, rc: int, name: str, what: str) -> None:
        super().__init__(f"the device refused {what}: {name} (group {group:#06x}, rc {rc})")
        self.group = group
        self.rc = rc
        self.name = name
