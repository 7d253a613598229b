"""What goes into a start of the bootloader, and what comes out (docs/spec/device-state.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bootloader.reference.codes import DeviceCode
from bootloader.reference.head import Head


class MailboxRequest(Enum):
    """What the application, or a running bootloader, asks of the next start."""

    CONFIRM = "confirm"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A word in RAM that survives a warm reset only. CONFIRM names the head of the application that asks."""

    request: MailboxRequest
    head_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class StartApplication:
    """The application is started, flash is locked until the next reset."""

    head: Head
    vector_table_address: int


@dataclass(frozen=True, slots=True)
class UpdateMode:
    """The bootloader stays and listens; `code` says why."""

    code: DeviceCode


Start = StartApplication | UpdateMode
