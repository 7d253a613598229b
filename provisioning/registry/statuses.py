"""Signed statuses: what a device says of itself, believed under the identity key that the registry has for its UID.

Rules RG-23 to RG-25. What a status shows that should not be is a finding (RG-40 and above), not a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from pki.errors import VerificationError
from pki.values import PublicKey
from provisioning.registry import tables
from provisioning.registry.database import Database
from provisioning.registry.device_state import DeviceState, load_devices
from provisioning.registry.errors import DeviceUnknown, NotAuthentic
from provisioning.registry.imports import record_import
from provisioning.registry.orders import uuid_text
from provisioning.registry.queries import device_of
from provisioning.registry.rows import Changes, next_id
from rpc.objects.signed_status import SignedStatus
from signer.store.stored_times import time_to_text

_NONE = bytes(16)
_LOOKED_BACK = 16
"""So many statuses before are compared: enough, since each of them was, too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look into, by its rule."""

    rule_id: str
    text: str


@dataclass(frozen=True, slots=True)
class StatusTaken:
    """`is_new` is False for a status that was taken before: then nothing was changed."""

    uid: bytes
    is_new: bool
    findings: tuple[Finding, ...]


def take_status(database: Database, data: bytes, nonce: bytes, now: datetime, who: str) -> StatusTaken:
    """Verify a status over the nonce that was asked with, and take over what it says.

    Raises FormatError; DeviceUnknown RG-23; NotAuthentic RG-24 for another signature or nonce.
    """
    status, at = SignedStatus.parse(data), time_to_text(now)
    with database.writing() as connection:
        taken = take_one(connection, status, nonce, at)
        if taken.is_new:
            record_import(connection, "status", status.digest.value, at, who, 1)
    return taken


def take_one(connection: Connection, status: SignedStatus, nonce: bytes, at: str) -> StatusTaken:
    """The same inside the caller's transaction."""
    evidence = status.digest.value.hex()
    row = device_of(connection, status.uid, None if status.product_id == _NONE else status.product_id)
    if row is None or row["identity_public_key"] is None:
        raise DeviceUnknown(
            f"[RG-23] the registry has no identity key of device {status.uid.hex()}: take its birth record first"
        )
    _verify(status, PublicKey(bytes.fromhex(row["identity_public_key"])), nonce)
    known = select(tables.statuses.c.id).where(tables.statuses.c.digest == evidence)
    if connection.execute(known).first() is not None:
        return StatusTaken(status.uid, is_new=False, findings=())
    (device,) = load_devices(connection, [row]).values()
    findings, is_old = _findings(device, status), _is_older(connection, device, status)
    if is_old:
        findings.append(
            Finding(
                "RG-43",
                f"device {status.uid.hex()} counted more events before: an old status, or its state was put back",
            )
        )
    changes = Changes()
    if at >= device.row["heard_at"] and not is_old:
        device.hear(changes, status, at, evidence)
        device.write(changes)
    changes.insert(
        tables.statuses,
        {
            "id": next_id(connection, tables.statuses),
            "device_id": device.id,
            "digest": evidence,
            "nonce": status.nonce.hex(),
            "signed": status.raw,
            "at": at,
        },
    )
    changes.write(connection)
    return StatusTaken(status.uid, is_new=True, findings=tuple(findings))


def _is_older(connection: Connection, device: DeviceState, status: SignedStatus) -> bool:
    """RG-43: a status of this life counted more events, and a device never counts back."""
    column = tables.statuses.c
    query = (
        select(column.signed)
        .where(column.device_id == device.id, column.at >= device.row["begun_at"])
        .order_by(column.at.desc(), column.id.desc())
        .limit(_LOOKED_BACK)
    )
    return any(
        SignedStatus.parse(bytes(signed)).event_count > status.event_count
        for signed in connection.execute(query).scalars()
    )


def _verify(status: SignedStatus, identity: PublicKey, nonce: bytes) -> None:
    try:
        status.verify(identity, nonce)
    except VerificationError as error:
        raise NotAuthentic("RG-24", f"the status of device {status.uid.hex()} is not believed: {error}") from None


def _findings(device: DeviceState, status: SignedStatus) -> list[Finding]:
    """RG-40 to RG-42: signed by the device, and yet not what the registry expects."""
    uid, row = status.uid.hex(), device.row
    found = []
    if device.lifecycle in ("scrapped", "decommissioned", "rma"):
        found.append(Finding("RG-40", f"device {uid} answers, and is recorded as {device.lifecycle}"))
    if 0 < status.trust_bundle_version < row["trust_bundle_version"]:
        went = f"from trust bundle {row['trust_bundle_version']} to {status.trust_bundle_version}"
        found.append(Finding("RG-41", f"device {uid} went back {went}, which none does"))
    if status.order_id != _NONE and uuid_text(status.order_id) != row["order_id"]:
        found.append(
            Finding(
                "RG-42",
                f"device {uid} was activated by order {uuid_text(status.order_id)}, and is recorded under "
                f"{row['order_id']}",
            )
        )
    return found
