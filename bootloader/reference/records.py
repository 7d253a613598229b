"""The records of the state journal: what each one says, and its payload (docs/spec/device-state.md, section 2).

Integers are little-endian. A record says what is, never what to add. Fields are in the order of the payload.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import ClassVar

from bootloader.reference.board import Copy
from bootloader.reference.head import PackageType, Version
from bootloader.reference.trust_bundle import BUNDLE_SIZE_BYTES

RECORD_FORMAT = 1
TRIAL_ATTEMPTS_MAX = 3


class RecordType(IntEnum):
    """The first byte of a record."""

    DEVICE = 1
    DEVICE_KEYS = 2
    GROUP_KEY = 3
    TRUST_BUNDLE = 4
    INSTALL_STARTED = 5
    INSTALLED = 6
    APP_TRIAL = 7
    APP_CONFIRMED = 8
    BOOT_TRIAL = 9
    BOOT_CONFIRMED = 10
    FLOORS = 11
    EVENT = 12
    SEAL = 13
    MOVED = 14
    TAKEN = 15
    ACTIVATED = 16
    PENDING_GRANT = 17
    SERVICE_STARTED = 18


class Lifecycle(IntEnum):
    """The states of a device's life. The values are far apart, so that no single torn bit turns one into another."""

    LOCKED = 0x3C
    OPERATIONAL = 0xA5
    RMA = 0x66
    DECOMMISSIONED = 0x99


class InstallRegion(IntEnum):
    """Where an installation writes, as INSTALL_STARTED names it."""

    APPLICATION = 1
    BOOTLOADER_A = 2
    BOOTLOADER_B = 3

    @classmethod
    def of_copy(cls, copy: Copy) -> InstallRegion:
        return cls.BOOTLOADER_A if copy is Copy.A else cls.BOOTLOADER_B


class ServiceAction(IntEnum):
    """What a service order asks for (docs/spec/service-order.md); the first two destroy, and are journalled."""

    RETURN_FOR_REPAIR = 1
    DECOMMISSION = 2
    RE_PROVISION = 3
    PERMIT_REINSTALLATION = 4


class EventKind(IntEnum):
    """What an event is about."""

    INSTALL = 1
    REFUSAL = 2
    START = 3
    CONFIRMATION = 4
    FALL_BACK = 5
    TRUST_BUNDLE = 6
    ACTIVATION = 7
    GRANT = 8
    SERVICE = 9


@dataclass(frozen=True, slots=True)
class Device:
    """What the device is; `product_id` and `lot` have 16 bytes. An unknown `lifecycle` is kept, and allows nothing."""

    TYPE: ClassVar = RecordType.DEVICE
    LAYOUT: ClassVar = Struct("<16s H B B 16s")
    SIMULATION_ONLY_FLAG: ClassVar = 0x01

    product_id: bytes
    hardware_revision: int
    lifecycle: int
    flags: int
    lot: bytes

    @property
    def is_simulation_only(self) -> bool:
        return bool(self.flags & self.SIMULATION_ONLY_FLAG)

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.product_id, self.hardware_revision, self.lifecycle, self.flags, self.lot)

    @classmethod
    def from_payload(cls, payload: bytes) -> Device:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The device's own private keys: scalars of 32 bytes, big-endian."""

    TYPE: ClassVar = RecordType.DEVICE_KEYS
    LAYOUT: ClassVar = Struct("<32s 32s")

    identity_private: bytes = field(repr=False)
    agreement_private: bytes = field(repr=False)

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.identity_private, self.agreement_private)

    @classmethod
    def from_payload(cls, payload: bytes) -> DeviceKeys:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class GroupKey:
    """The private key that all devices of a product and lot share: a scalar of 32 bytes, big-endian."""

    TYPE: ClassVar = RecordType.GROUP_KEY
    LAYOUT: ClassVar = Struct("<32s")

    agreement_private: bytes = field(repr=False)

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.agreement_private)

    @classmethod
    def from_payload(cls, payload: bytes) -> GroupKey:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class TrustBundleInForce:
    """The trust bundle that the device goes by, its 2,304 bytes."""

    TYPE: ClassVar = RecordType.TRUST_BUNDLE
    LAYOUT: ClassVar = Struct(f"<{BUNDLE_SIZE_BYTES}s")

    bundle: bytes = field(repr=False)

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.bundle)

    @classmethod
    def from_payload(cls, payload: bytes) -> TrustBundleInForce:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class InstallStarted:
    """An installation has begun to write: what stood in the region counts no more."""

    TYPE: ClassVar = RecordType.INSTALL_STARTED
    LAYOUT: ClassVar = Struct("<B 3x 32s")

    region: InstallRegion
    head_hash: bytes

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.region, self.head_hash)

    @classmethod
    def from_payload(cls, payload: bytes) -> InstallStarted:
        region, head_hash = cls.LAYOUT.unpack(payload)
        return cls(InstallRegion(region), head_hash)


@dataclass(frozen=True, slots=True)
class Installed:
    """The application region holds this image, whole. `signer` is the public key that signed its head, X ‖ Y."""

    TYPE: ClassVar = RecordType.INSTALLED
    LAYOUT: ClassVar = Struct("<B 3x I 8s 32s 32s 64s")

    package_type: PackageType
    security_version: int
    image_version: Version
    head_hash: bytes
    upload_hash: bytes
    signer: bytes

    def payload(self) -> bytes:
        version = self.image_version.to_bytes()
        fields = (self.package_type, self.security_version, version, self.head_hash, self.upload_hash, self.signer)
        return _pack(self.LAYOUT, *fields)

    @classmethod
    def from_payload(cls, payload: bytes) -> Installed:
        package_type, security_version, version, *rest = cls.LAYOUT.unpack(payload)
        return cls(PackageType(package_type), security_version, Version.from_bytes(version), *rest)


@dataclass(frozen=True, slots=True)
class AppTrial:
    """The application of this head has been started `attempts` times without being confirmed."""

    TYPE: ClassVar = RecordType.APP_TRIAL
    LAYOUT: ClassVar = Struct("<I 32s")

    attempts: int
    head_hash: bytes

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.attempts, self.head_hash)

    @classmethod
    def from_payload(cls, payload: bytes) -> AppTrial:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class AppConfirmed:
    """The application of this head said that it works."""

    TYPE: ClassVar = RecordType.APP_CONFIRMED
    LAYOUT: ClassVar = Struct("<32s")

    head_hash: bytes

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.head_hash)

    @classmethod
    def from_payload(cls, payload: bytes) -> AppConfirmed:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class BootTrial:
    """A new bootloader copy is to be tried. Once read, `attempts` includes the marks behind the record."""

    TYPE: ClassVar = RecordType.BOOT_TRIAL
    LAYOUT: ClassVar = Struct("<B B 2x 32s")

    copy: Copy
    attempts: int
    head_hash: bytes

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.copy, self.attempts, self.head_hash)

    @classmethod
    def from_payload(cls, payload: bytes) -> BootTrial:
        copy, attempts, head_hash = cls.LAYOUT.unpack(payload)
        return cls(Copy(copy), attempts, head_hash)


@dataclass(frozen=True, slots=True)
class BootConfirmed:
    """The bootloader copy that runs by default."""

    TYPE: ClassVar = RecordType.BOOT_CONFIRMED
    LAYOUT: ClassVar = Struct("<B 3x 32s")

    copy: Copy
    head_hash: bytes

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.copy, self.head_hash)

    @classmethod
    def from_payload(cls, payload: bytes) -> BootConfirmed:
        copy, head_hash = cls.LAYOUT.unpack(payload)
        return cls(Copy(copy), head_hash)


@dataclass(frozen=True, slots=True)
class Floors:
    """The smallest `security_version` that is still installed, for each package type."""

    TYPE: ClassVar = RecordType.FLOORS
    LAYOUT: ClassVar = Struct("<I I I")

    application: int = 0
    bootloader: int = 0
    factory_test: int = 0

    def of_type(self, package_type: PackageType) -> int:
        return (self.application, self.bootloader, self.factory_test)[package_type - 1]

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.application, self.bootloader, self.factory_test)

    @classmethod
    def from_payload(cls, payload: bytes) -> Floors:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the event log: a device code, an EventKind, and the number of the event since production."""

    TYPE: ClassVar = RecordType.EVENT
    LAYOUT: ClassVar = Struct("<H B x I")

    code: int
    kind: int
    count: int

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.code, self.kind, self.count)

    @classmethod
    def from_payload(cls, payload: bytes) -> Event:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class Seal:
    """The record before this one was complete."""

    TYPE: ClassVar = RecordType.SEAL
    LAYOUT: ClassVar = Struct("")

    def payload(self) -> bytes:
        return b""

    @classmethod
    def from_payload(cls, payload: bytes) -> Seal:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class Moved:
    """The half with this `half_sequence` takes over from the half that this record stands in."""

    TYPE: ClassVar = RecordType.MOVED
    LAYOUT: ClassVar = Struct("<I")

    half_sequence: int

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.half_sequence)

    @classmethod
    def from_payload(cls, payload: bytes) -> Moved:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class Taken:
    """The half that this record stands in has taken over from the one with this `half_sequence`."""

    TYPE: ClassVar = RecordType.TAKEN
    LAYOUT: ClassVar = Struct("<I")

    half_sequence: int

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.half_sequence)

    @classmethod
    def from_payload(cls, payload: bytes) -> Taken:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class Activated:
    """By which activation the device became, or is about to become, OPERATIONAL. `serial` is text, zero-padded."""

    TYPE: ClassVar = RecordType.ACTIVATED
    LAYOUT: ClassVar = Struct("<16s 32s 32s 32s 32s")

    order_id: bytes
    order_digest: bytes
    activation_digest: bytes
    certificate_digest: bytes
    serial: bytes

    def payload(self) -> bytes:
        fields = (self.order_id, self.order_digest, self.activation_digest, self.certificate_digest, self.serial)
        return _pack(self.LAYOUT, *fields)

    @classmethod
    def from_payload(cls, payload: bytes) -> Activated:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class PendingGrant:
    """The right to install the package with this head, and its content key, wrapped for this device."""

    TYPE: ClassVar = RecordType.PENDING_GRANT
    LAYOUT: ClassVar = Struct("<16s 32s 64s 32s")

    batch_id: bytes
    head_hash: bytes
    ephemeral_public_key: bytes
    wrapped_cek: bytes

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.batch_id, self.head_hash, self.ephemeral_public_key, self.wrapped_cek)

    @classmethod
    def from_payload(cls, payload: bytes) -> PendingGrant:
        return cls(*cls.LAYOUT.unpack(payload))


@dataclass(frozen=True, slots=True)
class ServiceStarted:
    """Keys and application are being destroyed for a service order, to the end, however often the power fails."""

    TYPE: ClassVar = RecordType.SERVICE_STARTED
    LAYOUT: ClassVar = Struct("<B 3x 32s")

    action: ServiceAction
    order_digest: bytes

    def __post_init__(self) -> None:
        if self.action not in SERVICE_LIFECYCLES:
            raise ValueError("only an action that destroys is journalled")

    def payload(self) -> bytes:
        return _pack(self.LAYOUT, self.action, self.order_digest)

    @classmethod
    def from_payload(cls, payload: bytes) -> ServiceStarted:
        action, order_digest = cls.LAYOUT.unpack(payload)
        return cls(ServiceAction(action), order_digest)


# What the device is when the destruction is over.
SERVICE_LIFECYCLES = {
    ServiceAction.RETURN_FOR_REPAIR: Lifecycle.RMA,
    ServiceAction.DECOMMISSION: Lifecycle.DECOMMISSIONED,
}

KnownRecord = (
    Device
    | DeviceKeys
    | GroupKey
    | TrustBundleInForce
    | InstallStarted
    | Installed
    | AppTrial
    | AppConfirmed
    | BootTrial
    | BootConfirmed
    | Floors
    | Event
    | Seal
    | Moved
    | Taken
    | Activated
    | PendingGrant
    | ServiceStarted
)
_KNOWN: tuple[type[KnownRecord], ...] = (
    Device,
    DeviceKeys,
    GroupKey,
    TrustBundleInForce,
    InstallStarted,
    Installed,
    AppTrial,
    AppConfirmed,
    BootTrial,
    BootConfirmed,
    Floors,
    Event,
    Seal,
    Moved,
    Taken,
    Activated,
    PendingGrant,
    ServiceStarted,
)
_CLASS_OF_TYPE = {int(known.TYPE): known for known in _KNOWN}


@dataclass(frozen=True, slots=True)
class Unknown:
    """A record that this version does not know: it is kept, not applied."""

    record_type: int
    record_format: int
    body: bytes = field(repr=False)


Record = KnownRecord | Unknown


def encode_record(record: Record) -> tuple[int, int, bytes]:
    """(type, record format, payload) of a record; a field of the wrong size is a defect of the caller (ValueError)."""
    if isinstance(record, Unknown):
        return record.record_type, record.record_format, record.body
    return record.TYPE, RECORD_FORMAT, record.payload()


def decode_record(record_type: int, record_format: int, payload: bytes) -> Record:
    """The record of a valid frame. What is not known, of another length, or names what is not known, is Unknown."""
    known = _CLASS_OF_TYPE.get(record_type)
    if known is None or record_format != RECORD_FORMAT or len(payload) != known.LAYOUT.size:
        return Unknown(record_type, record_format, payload)
    try:
        return known.from_payload(payload)
    except ValueError:  # a copy, region, package type or action that a later version knows
        return Unknown(record_type, record_format, payload)


def _pack(layout: Struct, *fields: int | bytes) -> bytes:
    """struct, but a bytes field of the wrong size is refused instead of cut or padded."""
    packed = layout.pack(*fields)
    if layout.unpack(packed) != fields:
        raise ValueError("a field of a record has the wrong size")
    return packed
