"""Work orders (`SRW1`): who may make how many devices of a product and lot, until when (docs/spec/activation.md, 2).

Rules WO-01 to WO-12 stand beside the fields. A prepared order is the same file with a signature of zeros.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any

import msgspec

from pki.errors import FormatError, PolicyViolation
from pki.values import Digest, PublicKey, Signature
from signer.device_objects.common import (
    FINGERPRINT_SIZE_BYTES,
    FORMAT_VERSION,
    KEY_ID_SIZE_BYTES,
    LOT_SIZE_BYTES,
    NO_SIGNATURE,
    PRODUCT_ID_SIZE_BYTES,
    SUITE,
    U16_MAX,
    U32_MAX,
    U64_MAX,
    Injection,
    Protection,
    decode_text,
    encode_text,
    known_flags,
    object_digest,
    refused,
    require_point,
    require_present,
    require_range,
    require_same,
    require_signed,
    require_unsigned_object,
    split,
    verify_object,
)

WORK_ORDER_SIZE_BYTES = 640
QUOTA_MAX = 10_000_000
STATIONS_MAX = 8

_WHAT = "work order"
_MAGIC = b"SRW1"
_CONTEXT = "SR-order-v1"
_FIELDS = struct.Struct("<4sHBB16s16s16sIIQQHHHBx64s64s32s288s8s32x")
_STATION = struct.Struct("<32sI")
_NO_KEY = bytes(64)
_ERASED_ID = b"\xff" * 16


class StationQuota(msgspec.Struct, frozen=True):
    """How many devices one station may make. `fingerprint`: SHA-256 of its key's SubjectPublicKeyInfo (32 bytes)."""

    fingerprint: bytes
    sub_quota: int

    def __post_init__(self) -> None:
        require_present("WO-09", "a station's fingerprint", self.fingerprint, FINGERPRINT_SIZE_BYTES)
        require_range("WO-09", "a station's sub-quota", self.sub_quota, 1, U32_MAX)


class WorkOrder(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An order to make devices. Times are whole seconds since 1970-01-01T00:00:00Z; `issuing_ca` is a SHA-256.

    Constructing one that a device would refuse for its fields raises PolicyViolation WO-01 to WO-12.
    """

    order_id: bytes
    product_id: bytes
    lot: str
    quota: int
    trust_bundle_version_min: int
    not_before: int
    not_after: int
    protection_required: Protection
    hardware_revision_min: int
    hardware_revision_max: int
    lot_public_key: PublicKey
    issuing_ca: bytes
    stations: tuple[StationQuota, ...]
    signer_key_id: bytes
    inject: Injection = Injection(0)
    group_public_key: PublicKey | None = None

    def __post_init__(self) -> None:
        require_range("WO-01", "`inject`", self.inject, 0, known_flags(Injection))
        require_present("WO-02", "the order's id", self.order_id, PRODUCT_ID_SIZE_BYTES)
        if self.order_id == _ERASED_ID:
            raise refused("WO-02", "the order's id reads like erased flash; take another")
        require_present("WO-02", "the product's id", self.product_id, PRODUCT_ID_SIZE_BYTES)
        require_present("WO-03", "the lot", encode_text("WO-03", "the lot", self.lot, LOT_SIZE_BYTES), LOT_SIZE_BYTES)
        require_range("WO-04", "the quota", self.quota, 1, QUOTA_MAX)
        require_range("WO-05", "the lowest trust-bundle version", self.trust_bundle_version_min, 1, U32_MAX)
        require_range("WO-06", "`not_before`", self.not_before, 0, U64_MAX)
        require_range("WO-06", "`not_after`", self.not_after, 0, U64_MAX)
        if self.not_after <= self.not_before:
            raise refused("WO-06", "the order ends before it begins; give a later --not-after")
        if self.protection_required & ~known_flags(Protection):
            raise refused("WO-07", "protection is required that has no meaning; see docs/spec/activation.md, section 5")
        require_range("WO-08", "the lowest hardware revision", self.hardware_revision_min, 0, U16_MAX)
        require_range("WO-08", "the highest hardware revision", self.hardware_revision_max, 0, U16_MAX)
        if self.hardware_revision_max < self.hardware_revision_min:
            raise refused("WO-08", "the highest hardware revision is below the lowest")
        self._check_stations()
        self._check_keys()

    def _check_stations(self) -> None:
        if not 1 <= len(self.stations) <= STATIONS_MAX:
            raise refused("WO-09", f"an order is for 1 to {STATIONS_MAX} stations, not {len(self.stations)}")
        fingerprints = [station.fingerprint for station in self.stations]
        if fingerprints != sorted(set(fingerprints)):
            raise refused("WO-09", "the stations do not stand in ascending order of their fingerprints, each once")
        total = sum(station.sub_quota for station in self.stations)
        if total > self.quota:
            raise refused("WO-09", f"the stations' sub-quotas are {total} together, above the quota of {self.quota}")

    def _check_keys(self) -> None:
        require_point("WO-10", "the lot's key", self.lot_public_key)
        if (self.group_public_key is not None) is not bool(self.inject & Injection.GROUP_KEY):
            raise refused("WO-01", "a group's key is named exactly where one is injected")
        if self.group_public_key is not None:
            require_point("WO-10", "the group's key", self.group_public_key)
        require_present("WO-11", "the issuing CA", self.issuing_ca, FINGERPRINT_SIZE_BYTES)
        require_present("WO-12", "the signer's key id", self.signer_key_id, KEY_ID_SIZE_BYTES)

    def encode_unsigned(self) -> bytes:
        """The 576 bytes that the digest covers."""
        stations = b"".join(_STATION.pack(station.fingerprint, station.sub_quota) for station in self.stations)
        return _FIELDS.pack(
            _MAGIC,
            FORMAT_VERSION,
            SUITE,
            self.inject,
            self.order_id,
            self.product_id,
            encode_text("WO-03", "the lot", self.lot, LOT_SIZE_BYTES),
            self.quota,
            self.trust_bundle_version_min,
            self.not_before,
            self.not_after,
            self.protection_required,
            self.hardware_revision_min,
            self.hardware_revision_max,
            len(self.stations),
            self.lot_public_key.point,
            self.group_public_key.point if self.group_public_key is not None else _NO_KEY,
            self.issuing_ca,
            stations,
            self.signer_key_id,
        )

    @cached_property
    def digest(self) -> Digest:
        """What the production key signs, and what activations name."""
        return object_digest(_CONTEXT, self.encode_unsigned())

    def prepared(self) -> bytes:
        """The file before it is signed, 640 bytes."""
        return self.encode_unsigned() + NO_SIGNATURE

    def signed(self, signature: Signature) -> bytes:
        """The file with its signature, 640 bytes. Nothing is verified here."""
        return self.encode_unsigned() + signature.value

    def station(self, fingerprint: bytes) -> StationQuota | None:
        """What the order says of one station, None if it is not one of the order's."""
        return next((station for station in self.stations if station.fingerprint == fingerprint), None)


class SignedWorkOrder(msgspec.Struct, frozen=True):
    """A work order's exact bytes, and what they say. Only `parse_work_order` makes one; nothing is verified yet."""

    raw: bytes
    order: WorkOrder
    signature: Signature

    @property
    def digest(self) -> Digest:
        """The digest of the order."""
        return self.order.digest

    def verify(self, production_public_key: PublicKey) -> None:
        """The signature, under a key that the caller trusts. Raises SignatureInvalid."""
        verify_object(_WHAT, self.digest, self.signature, production_public_key, self.order.signer_key_id)


def parse_work_order(data: bytes) -> SignedWorkOrder:
    """Read a signed order strictly; FormatError for anything else. The signature is not verified here."""
    unsigned, signature = split(data, _WHAT, _MAGIC, WORK_ORDER_SIZE_BYTES)
    return SignedWorkOrder(bytes(data), _order_of(unsigned), require_signed(_WHAT, signature))


def parse_prepared_work_order(data: bytes) -> WorkOrder:
    """Read an order that waits for its signature; FormatError for anything else, also for one that has it."""
    unsigned, signature = split(data, _WHAT, _MAGIC, WORK_ORDER_SIZE_BYTES)
    require_unsigned_object(_WHAT, signature)
    return _order_of(unsigned)


def _order_of(unsigned: bytes) -> WorkOrder:
    try:
        order = _from_fields(_FIELDS.unpack(unsigned))
    except (ValueError, PolicyViolation) as error:
        raise FormatError(_WHAT, 0, f"not one that a device would take: {error}") from None
    require_same(_WHAT, unsigned, order.encode_unsigned())
    return order


def _from_fields(fields: tuple[Any, ...]) -> WorkOrder:
    # Every element is what the format string says at its place; the names are those of the specification.
    inject, order_id, product_id, lot, quota, bundle_version, not_before, not_after = fields[3:11]
    protection, revision_min, revision_max, station_count, lot_key, group_key, issuing_ca, stations, signer = fields[
        11:
    ]
    if station_count > STATIONS_MAX:
        raise refused("WO-09", f"an order is for 1 to {STATIONS_MAX} stations, not {station_count}")
    return WorkOrder(
        order_id=order_id,
        product_id=product_id,
        lot=decode_text(lot),
        quota=quota,
        trust_bundle_version_min=bundle_version,
        not_before=not_before,
        not_after=not_after,
        protection_required=Protection(protection),
        hardware_revision_min=revision_min,
        hardware_revision_max=revision_max,
        lot_public_key=PublicKey(lot_key),
        issuing_ca=issuing_ca,
        stations=tuple(
            StationQuota(*_STATION.unpack_from(stations, _STATION.size * index)) for index in range(station_count)
        ),
        signer_key_id=signer,
        inject=Injection(inject),
        group_public_key=PublicKey(group_key) if any(group_key) else None,
    )
