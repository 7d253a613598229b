"""Service orders and their receipts: how a device's life ends, or begins again. Rules RG-20 to RG-22."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from pki.errors import FormatError, VerificationError
from pki.values import PublicKey
from provisioning.registry import tables
from provisioning.registry.database import Database
from provisioning.registry.device_state import DeviceState, load_devices
from provisioning.registry.errors import DeviceUnknown, NotAuthentic, refused
from provisioning.registry.imports import record_import
from provisioning.registry.queries import device_of
from provisioning.registry.rows import Changes
from provisioning.registry.trust import Trust, require_service_order_signed
from rpc.objects.lifecycle import DECOMMISSIONED, LOCKED, OPERATIONAL, RMA
from rpc.objects.receipt import Receipt
from signer.device_objects.service_order import ServiceAction, ServiceOrder, SignedServiceOrder, parse_service_order
from signer.store.stored_times import time_to_text

_ENDS_IN = {
    ServiceAction.RETURN_FOR_REPAIR: (RMA, "rma"),
    ServiceAction.DECOMMISSION: (DECOMMISSIONED, "decommissioned"),
    ServiceAction.RE_PROVISION: (LOCKED, "locked"),
    ServiceAction.PERMIT_REINSTALLATION: (OPERATIONAL, "operational"),
}
_NEEDS_RECEIPT = (ServiceAction.RETURN_FOR_REPAIR, ServiceAction.DECOMMISSION)


def take_service(
    database: Database, order_data: bytes, receipt_data: bytes | None, trust: Trust, now: datetime, who: str
) -> bool:
    """Take a service order that a device carried out, with the device's receipt; False if it was taken before.

    Without a receipt only re-provisioning and permission to reinstall are taken: repair and the end of a life are
    believed when the device itself said so. Raises FormatError, NotAuthentic RG-20, RG-21, PolicyViolation RG-21,
    RG-22, DeviceUnknown RG-23.
    """
    signed = parse_service_order(order_data)
    receipt = None if receipt_data is None else Receipt.parse(receipt_data)
    at, evidence = time_to_text(now), signed.digest.value.hex()
    with database.writing() as connection:
        known = select(tables.services.c.device_id).where(tables.services.c.order_digest == evidence)
        if connection.execute(known).first() is not None:
            return False
        require_service_order_signed(signed, trust)
        row = device_of(connection, signed.order.uid, signed.order.product_id)
        if row is None:
            raise DeviceUnknown(
                f"[RG-23] the registry has no device {signed.order.uid.hex()}: take its birth record first"
            )
        (device,) = load_devices(connection, [row]).values()
        _require_receipt(device, signed, receipt)
        _write(connection, device, signed, receipt, at)
        record_import(connection, "service", signed.digest.value, at, who, 1)
    return True


def _require_receipt(device: DeviceState, signed: SignedServiceOrder, receipt: Receipt | None) -> None:
    """RG-22: the device's life permits it. RG-21: the device said that it did exactly this."""
    order, uid = signed.order, signed.order.uid.hex()
    if device.lifecycle == "decommissioned":
        raise refused("RG-22", f"device {uid} is decommissioned: it takes no order any more")
    if receipt is None:
        if order.action in _NEEDS_RECEIPT:
            raise refused(
                "RG-21", f"{order.action.text} of device {uid} is taken with the device's receipt: give it, too"
            )
        return
    expected, _ = _ENDS_IN[order.action]
    if (receipt.uid, receipt.lifecycle) != (order.uid, expected):
        raise refused("RG-21", f"the receipt is of another device or state of life than {order.action.text} of {uid}")
    identity = device.row["identity_public_key"]
    try:
        if identity is not None:
            receipt.verify(PublicKey(bytes.fromhex(identity)), nonce=order.nonce, answered=signed.digest)
        elif (receipt.nonce, receipt.object_digest) != (order.nonce, signed.digest.value):
            raise FormatError("object_digest", 56, "not of this order")
    except (VerificationError, FormatError) as error:
        raise NotAuthentic("RG-21", f"the receipt of device {uid} is not believed: {error}") from None


def _write(
    connection: Connection, device: DeviceState, signed: SignedServiceOrder, receipt: Receipt | None, at: str
) -> None:
    order, changes, evidence = signed.order, Changes(), signed.digest.value.hex()
    if order.action is not ServiceAction.PERMIT_REINSTALLATION:
        device.end_keys(changes, connection, at)
        device.set(application_version=None, application_head_hash=None)
        device.set_lifecycle(changes, _ENDS_IN[order.action][1], at, "service", evidence)
    if order.action is ServiceAction.RE_PROVISION:
        _move_to_lot(connection, device, order, at)
    if receipt is not None:
        device.set(heard_at=max(at, device.row["heard_at"]), protection=int(receipt.protection))
    device.write(changes)
    changes.insert(
        tables.services,
        {
            "order_digest": evidence,
            "device_id": device.id,
            "action": int(order.action),
            "service_order": signed.raw,
            "receipt": None if receipt is None else receipt.raw,
            "at": at,
        },
    )
    changes.write(connection)


def _move_to_lot(connection: Connection, device: DeviceState, order: ServiceOrder, at: str) -> None:
    lots, key = tables.lots, {"product_id": device.row["product_id"], "lot": order.lot}
    query = select(lots.c.lot).where(lots.c.product_id == key["product_id"], lots.c.lot == order.lot)
    if connection.execute(query).first() is None:
        connection.execute(lots.insert(), key | {"taken_at": at})
    device.set(lot=order.lot, hardware_revision=order.hardware_revision)
