"""What a station learns about one board, as values: from the fixture, from the device, from the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from pki.values import PublicKey
from provisioning.station.boards import Standing
from provisioning.station.rules import Rule
from signer.device_objects.common import Protection


class LifeCycle(IntEnum):
    """The state of a device's life, as challenge and status say it (docs/spec/device-state.md, DEVICE)."""

    NO_STATE = 0
    """Without a readable state."""
    LOCKED = 0x3C
    OPERATIONAL = 0xA5
    RMA = 0x66
    DECOMMISSIONED = 0x99


class FlashContent(Enum):
    """What stands in a board's flash, against the factory image."""

    BLANK = "blank"
    FACTORY_IMAGE = "factory image"
    USED = "factory image, and what a device has written since"
    """Its code is the image's; what differs lies where devices write: state, application."""
    OTHER = "something else"


@dataclass(frozen=True, slots=True)
class OptionBytes:
    """What a fixture reads and writes. `readout_level` is 0, 1 or 2 (docs/spec/activation.md, section 5)."""

    readout_level: int = 0
    pre_bootloader_write_protected: bool = False
    brown_out_level: bool = False
    debug_closed: bool = False

    @property
    def protection(self) -> Protection:
        """The flags that a device reports for them."""
        flags = Protection.READOUT if self.readout_level >= 1 else Protection(0)
        flags |= Protection.READOUT_LEVEL_2 if self.readout_level == 2 else Protection(0)
        flags |= Protection.PRE_BOOTLOADER_WRITE_PROTECTED if self.pre_bootloader_write_protected else Protection(0)
        flags |= Protection.BROWN_OUT_LEVEL if self.brown_out_level else Protection(0)
        return flags | (Protection.DEBUG_CLOSED if self.debug_closed else Protection(0))


@dataclass(frozen=True, slots=True)
class ChallengeFacts:
    """A challenge whose signature and proof were verified. Fields as in docs/spec/activation.md, section 1."""

    lifecycle: LifeCycle
    uid: bytes
    product_id: bytes
    lot: str
    hardware_revision: int
    protection: Protection
    trust_bundle_version: int
    nonce: bytes
    identity_public_key: PublicKey | None
    agreement_public_key: PublicKey | None
    is_simulation_only: bool


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """A signed status whose signature and nonce were verified, with both as they came."""

    nonce: bytes
    raw: bytes
    uid: bytes
    lifecycle: LifeCycle
    protection: Protection
    trust_bundle_version: int
    order_id: bytes
    activation_digest: bytes
    certificate_digest: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of a UID and of an identity key."""

    standing: Standing | None = None
    identity_public_key: bytes | None = None
    uid_of_identity: bytes | None = None
    serial: str | None = None
    sequence: int | None = None
    activations: frozenset[bytes] = field(default_factory=frozenset)
    certificate_digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """An activation that is on record, and may be sent: `data` is work order ‖ activation."""

    sequence: int
    data: bytes
    activation_digest: bytes
    certificate_digest: bytes
    agreement_public_key: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended. `rule` is None exactly for PASS; `sequence` where the board is counted."""

    passed: bool
    rule: Rule | None
    text: str
    uid: bytes | None = None
    serial: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What the order, the trust bundles and the operator's options say for every board."""

    order_id: bytes
    product_id: bytes
    lot: str
    hardware_revision_min: int
    hardware_revision_max: int
    protection_required: Protection
    newest_bundle_version: int
    allows_simulation_only: bool
    option_bytes: OptionBytes
    reprograms: bool = False
    asks_serial: bool = False
