"""The work order: which lot's key may activate how many devices of what (docs/spec/activation.md, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from itertools import pairwise
from struct import Struct

from bootloader.reference.crypto import context
from bootloader.reference.platform import PROTECTION_KNOWN, Protection
from bootloader.reference.signed_object import (
    ObjectKind,
    is_text,
    require_curve_point,
    require_field,
    require_format,
    require_known_flags,
    require_zero,
)

WORK_ORDER = ObjectKind("work order", b"SRW1", context("SR-order-v1"), 640)
QUOTA_MAX = 10_000_000
STATION_COUNT_MAX = 8

_ERASED_ID = b"\xff" * 16  # no payload of the journal begins with a slot that reads erased
# magic version suite (of `require_format`), inject; order_id product lot; quota bundle_min; dates; protection revisions
# station_count reserved; lot and group key; issuing_ca; stations; signer, reserved, signature
_LAYOUT = Struct("<7s B 16s 16s 16s I I Q Q H H H B 1s 64s 64s 32s 288s 8s 32s 64s")
_STATION = Struct("<32s I")


class Inject(IntFlag):
    """Keys that the station's HSM gives to the device."""

    GROUP_KEY = 0x01
    AGREEMENT_KEY = 0x02


INJECT_KNOWN = int(Inject.GROUP_KEY | Inject.AGREEMENT_KEY)


@dataclass(frozen=True, slots=True)
class StationQuota:
    """How many devices the station with this fingerprint may activate."""

    fingerprint: bytes
    sub_quota: int


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """A well-formed work order, no more. `raw` is its exact 640 bytes."""

    raw: bytes
    inject: Inject
    order_id: bytes
    product_id: bytes
    lot: bytes
    quota: int
    trust_bundle_version_min: int
    not_before: int
    not_after: int
    protection_required: Protection
    hardware_revision_min: int
    hardware_revision_max: int
    lot_public_key: bytes
    group_public_key: bytes
    issuing_ca: bytes
    stations: tuple[StationQuota, ...]
    signer_key_id: bytes

    @property
    def digest(self) -> bytes:
        return WORK_ORDER.digest(self.raw)

    @property
    def signature(self) -> bytes:
        return WORK_ORDER.signature(self.raw)

    def sub_quota(self, fingerprint: bytes) -> int:
        """How many devices this station may activate; 0 if the order does not name it."""
        return next((entry.sub_quota for entry in self.stations if entry.fingerprint == fingerprint), 0)


def parse_work_order(data: bytes) -> WorkOrder:
    """A work order from its 640 bytes; raises Refused(OBJECT_MAGIC, OBJECT_FORMAT, OBJECT_RESERVED or OBJECT_FIELD)."""
    require_format(WORK_ORDER, data)
    _, inject, order_id, product_id, lot, quota, bundle_min, not_before, not_after, *rest = _LAYOUT.unpack(data)
    protection, revision_min, revision_max, station_count, reserved_87, lot_key, group_key, issuing_ca, *rest = rest
    stations_raw, signer_key_id, reserved_544, _ = rest
    unused_key = b"" if inject & Inject.GROUP_KEY else group_key
    require_zero((reserved_87, reserved_544, unused_key, stations_raw[_STATION.size * station_count :]))
    require_known_flags("inject", inject, INJECT_KNOWN)
    require_known_flags("protection_required", protection, PROTECTION_KNOWN)

    require_field(any(order_id) and order_id != _ERASED_ID, "order_id is zero, or reads like erased flash")
    require_field(any(product_id), "product_id is zero")
    require_field(any(lot) and is_text(lot), "lot is empty, or no text")
    require_field(1 <= quota <= QUOTA_MAX, f"quota is {quota:,}")
    require_field(bundle_min >= 1, "trust_bundle_version_min is 0")
    require_field(not_before < not_after, "not_after is not greater than not_before")
    require_field(revision_min <= revision_max, "the range of hardware revisions is empty")
    require_field(1 <= station_count <= STATION_COUNT_MAX, f"station_count is {station_count}")
    require_curve_point("lot_public_key", lot_key)
    if inject & Inject.GROUP_KEY:
        require_curve_point("group_public_key", group_key)
    require_field(any(issuing_ca), "issuing_ca is zero")
    stations = tuple(StationQuota(*entry) for entry in _STATION.iter_unpack(stations_raw))[:station_count]
    _require_stations(stations, quota)
    require_field(any(signer_key_id), "signer_key_id is zero")
    return WorkOrder(
        raw=data,
        inject=Inject(inject),
        order_id=order_id,
        product_id=product_id,
        lot=lot,
        quota=quota,
        trust_bundle_version_min=bundle_min,
        not_before=not_before,
        not_after=not_after,
        protection_required=Protection(protection),
        hardware_revision_min=revision_min,
        hardware_revision_max=revision_max,
        lot_public_key=lot_key,
        group_public_key=group_key,
        issuing_ca=issuing_ca,
        stations=stations,
        signer_key_id=signer_key_id,
    )


def _require_stations(stations: tuple[StationQuota, ...], quota: int) -> None:
    require_field(all(entry.sub_quota >= 1 for entry in stations), "a station's sub-quota is 0")
    ascending = all(one.fingerprint < other.fingerprint for one, other in pairwise(stations))
    require_field(ascending, "the stations are not in strictly ascending order")
    total = sum(entry.sub_quota for entry in stations)
    require_field(total <= quota, f"the sub-quotas make {total:,}, the quota is {quota:,}")
