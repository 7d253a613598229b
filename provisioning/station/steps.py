"""What the machine asks for (steps) and what it is told (events)."""

from __future__ import annotations

from dataclasses import dataclass

from provisioning.station.facts import (
    ChallengeFacts,
    FlashContent,
    Issued,
    Known,
    OptionBytes,
    StatusFacts,
    Verdict,
)
from provisioning.station.rules import Rule

# Steps. Each is answered by the event that its text names, or by Refused, LinkLost or FixtureFailed.


@dataclass(frozen=True, slots=True)
class ReadOptionBytes:
    """Answered by OptionBytesRead."""


@dataclass(frozen=True, slots=True)
class ReadFlash:
    """Compare the whole flash with the factory image; answered by FlashRead."""


@dataclass(frozen=True, slots=True)
class EraseBoard:
    """Erase the whole flash, lifting readout protection if it is set; answered by Done."""


@dataclass(frozen=True, slots=True)
class Program:
    """Write the factory image; answered by Done."""


@dataclass(frozen=True, slots=True)
class WriteOptionBytes:
    """On a safe supply, readout protection last, and read back; answered by OptionBytesRead."""

    wanted: OptionBytes


@dataclass(frozen=True, slots=True)
class PowerCycle:
    """Answered by Done when the device answers on its link."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """With a fresh ephemeral key, and verified; answered by Challenged."""


@dataclass(frozen=True, slots=True)
class SendBundles:
    """Send the links from this version to the newest, in order; answered by Done."""

    first_version: int


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the ledger; answered by LookedUp."""

    uid: bytes
    identity_public_key: bytes


@dataclass(frozen=True, slots=True)
class AskSerial:
    """Scan the serial number; answered by SerialRead."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Certify, count and record; answered by Recorded."""

    challenge: ChallengeFacts
    serial: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Another activation with the same sequence, recorded; answered by Recorded."""

    challenge: ChallengeFacts


@dataclass(frozen=True, slots=True)
class SendActivation:
    """Send it and verify the receipt; answered by ReceiptTaken."""

    issued: Issued


@dataclass(frozen=True, slots=True)
class ReadStatus:
    """With a fresh nonce, and verified under the identity key; answered by StatusRead."""

    identity_public_key: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """Record it as activated; answered by Done."""

    challenge: ChallengeFacts
    status: StatusFacts
    receipt: bytes | None


@dataclass(frozen=True, slots=True)
class RecordFailure:
    """Record the refusal; answered by Done. `challenge` says of which board."""

    challenge: ChallengeFacts
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of the attempt."""

    verdict: Verdict


Step = (
    ReadOptionBytes
    | ReadFlash
    | EraseBoard
    | Program
    | WriteOptionBytes
    | PowerCycle
    | Challenge
    | SendBundles
    | LookUp
    | AskSerial
    | Begin
    | Renew
    | SendActivation
    | ReadStatus
    | Complete
    | RecordFailure
    | Finish
)


# Events


@dataclass(frozen=True, slots=True)
class BoardInserted:
    """The first event. `scanned_uid`: what the fixture read of the chip before it was trusted, if it can."""

    scanned_uid: bytes | None = None


@dataclass(frozen=True, slots=True)
class OptionBytesRead:
    """As they read (back); None where the debug port is closed to the probe."""

    found: OptionBytes | None


@dataclass(frozen=True, slots=True)
class FlashRead:
    """What stands in it."""

    content: FlashContent


@dataclass(frozen=True, slots=True)
class Done:
    """The step was done."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """The verified challenge."""

    challenge: ChallengeFacts


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What the ledger knows."""

    known: Known


@dataclass(frozen=True, slots=True)
class SerialRead:
    """A serial number in its one form."""

    serial: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The activation is on record, and may be sent."""

    issued: Issued


@dataclass(frozen=True, slots=True)
class ReceiptTaken:
    """The verified receipt, as it came."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class StatusRead:
    """The verified status."""

    status: StatusFacts


@dataclass(frozen=True, slots=True)
class Refused:
    """The step ended with a rule: a check failed, the device refused, the station may not."""

    rule: Rule
    text: str


@dataclass(frozen=True, slots=True)
class LinkLost:
    """No answer, or an answer that is none."""

    text: str


@dataclass(frozen=True, slots=True)
class FixtureFailed:
    """The fixture could not do it."""

    text: str


Event = (
    BoardInserted
    | OptionBytesRead
    | FlashRead
    | Done
    | Challenged
    | LookedUp
    | SerialRead
    | Recorded
    | ReceiptTaken
    | StatusRead
    | Refused
    | LinkLost
    | FixtureFailed
)
