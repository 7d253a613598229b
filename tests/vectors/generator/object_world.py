"""The situation that the vectors of signed objects are for: work orders, nonces, and the devices that take them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from tests.vectors.generator import p256
from tests.vectors.generator.cases_granted import wrong_key_plan
from tests.vectors.generator.cases_shape import grant_plan
from tests.vectors.generator.grant_world import grant_package, pending_grant
from tests.vectors.generator.keys import TestKey, ephemeral_key, key
from tests.vectors.generator.objects import (
    ACTIVATION,
    RECEIPT,
    SERVICE_ORDER,
    STATION_COUNT_MAX,
    WORK_ORDER,
    Plan,
    text,
)
from tests.vectors.generator.package import Value, make
from tests.vectors.generator.primitives import derived_bytes, sha256, u32
from tests.vectors.generator.world import (
    DEVICE_1_UID,
    DEVICES,
    LOT,
    OBJECT_BUNDLE,
    PRODUCT,
    PROTECTION,
    Device,
)

LOCKED, OPERATIONAL, RMA, DECOMMISSIONED = 0x3C, 0xA5, 0x66, 0x99
NONCE = derived_bytes("Strongroom test nonce of a challenge", 32)
HOST_EPHEMERAL = ephemeral_key("the host")
ORDER_ID = derived_bytes("Strongroom test work order", 16)
QUOTA = 100
SERIAL = text("(21)SN-000123", 32)
CERTIFICATE_DIGEST = sha256(b"Strongroom test certificate of device 1")


def fingerprint(station: str) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of a station's key."""
    return sha256(p256.subject_public_key_info(key(station).public))


def stations(*quotas: tuple[bytes, int]) -> bytes:
    """The entries as given, then zeros."""
    entries = b"".join(print_ + u32(quota) for print_, quota in quotas)
    return entries.ljust(STATION_COUNT_MAX * 36, b"\0")


TWO_STATIONS = tuple(sorted(((fingerprint("station-1"), 60), (fingerprint("station-2"), 40))))


def order_plan() -> Plan:
    """A work order for 100 devices of the devices' lot, at two stations; nothing is injected."""
    return Plan(
        WORK_ORDER,
        {
            "order_id": ORDER_ID,
            "product_id": PRODUCT,
            "lot": LOT,
            "quota": QUOTA,
            "trust_bundle_version_min": 1,
            "not_before": 1_795_000_000,
            "not_after": 1_796_000_000,
            "protection_required": PROTECTION,
            "hardware_revision_min": 2,
            "hardware_revision_max": 5,
            "station_count": 2,
            "lot_public_key": key("lot-1").public,
            "issuing_ca": sha256(b"Strongroom test issuing CA of lot 1"),
            "stations": stations(*TWO_STATIONS),
            "signer_key_id": key("production-1").key_id,
        },
        key("production-1"),
    )


def activation_plan(order: bytes, agreement: TestKey | None = None) -> Plan:
    """The activation of device 1 under a work order, the seventh of station 1."""
    agreement = agreement or key("device-1-agreement")
    return Plan(
        ACTIVATION,
        {
            "injected": order[7],
            "uid": DEVICE_1_UID,
            "nonce": NONCE,
            "order_digest": WORK_ORDER.digest(order),
            "station": fingerprint("station-1"),
            "sequence": 7,
            "trust_bundle_version": 1,
            "identity_key_digest": sha256(key("device-1-identity").public),
            "agreement_key_digest": sha256(agreement.public),
            "certificate_digest": CERTIFICATE_DIGEST,
            "serial": SERIAL,
        },
        key("lot-1"),
    )


def service_plan(action: int) -> Plan:
    """A service order for device 1."""
    again: dict[str, Value] = {
        "lot": text("LOT-2026-49", 16),
        "hardware_revision": 4,
        "floors": u32(9) + u32(2) + u32(0),
    }
    return Plan(
        SERVICE_ORDER,
        {
            "action": action,
            "uid": DEVICE_1_UID,
            "nonce": NONCE,
            "product_id": PRODUCT,
            **(again if action == 3 else {}),
            "signer_key_id": key("service-1").key_id,
        },
        key("service-1"),
    )


def receipt_plan(object_digest: bytes, lifecycle: int) -> Plan:
    """What device 1 answers."""
    return Plan(
        RECEIPT,
        {
            "lifecycle": lifecycle,
            "uid": DEVICE_1_UID,
            "nonce": NONCE,
            "object_digest": object_digest,
            "identity_public_key": key("device-1-identity").public,
            "agreement_public_key": key("device-1-agreement").public,
            "protection": PROTECTION,
            "trust_bundle_version": 1,
        },
        key("device-1-identity"),
    )


@cache
def activated_payload() -> bytes:
    """ACTIVATED of the journal, after the activation above under the order above."""
    order = order_plan().make()
    activation = activation_plan(order).make()
    return ORDER_ID + WORK_ORDER.digest(order) + ACTIVATION.digest(activation) + CERTIFICATE_DIGEST + SERIAL


@cache
def devices() -> tuple[Device, ...]:
    """Those of the other vectors, and those that take signed objects."""
    base = Device("locked-with-keys", "LOCKED", group_key=None, trust_bundle=OBJECT_BUNDLE.plan.name)
    operational = replace(base, lifecycle="OPERATIONAL", records={"ACTIVATED": activated_payload()})
    keyless = replace(base, identity_key=None, agreement_key=None)
    broken = pending_grant(make(grant_plan("grant-of-no-point")))
    grants = {
        "operational-with-grant": pending_grant(grant_package()),
        "operational-with-wrong-grant": pending_grant(make(wrong_key_plan())),
        "operational-with-broken-grant": broken[:111] + bytes((broken[111] ^ 1,)) + broken[112:],
    }
    return (
        *DEVICES,
        base,
        replace(keyless, name="locked-without-keys"),
        replace(base, name="locked-unprotected", protection=0b00001),
        replace(operational, name="operational-activated"),
        replace(
            operational,
            name="operational-activated-with-application",
            floors=(10, 3, 1),
            confirmed_application="packages/app-installed.srp",
        ),
        *(
            replace(operational, name=name, records={**operational.records, "PENDING_GRANT": grant})
            for name, grant in grants.items()
        ),
        replace(keyless, name="rma-without-keys", lifecycle="RMA"),
        replace(keyless, name="decommissioned", lifecycle="DECOMMISSIONED"),
        replace(keyless, name="without-state", lifecycle="NONE"),
    )
