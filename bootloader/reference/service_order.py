"""The service order: repair, decommissioning, re-provisioning, one reinstallation (docs/spec/service-order.md)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from bootloader.reference.challenge import OutstandingNonce
from bootloader.reference.codes import DeviceCode, require
from bootloader.reference.crypto import context
from bootloader.reference.records import Floors, Lifecycle, ServiceAction
from bootloader.reference.signed_object import (
    ObjectKind,
    is_text,
    require_field,
    require_format,
    require_signer,
    require_size,
    require_zero,
)
from bootloader.reference.trust_bundle import Role, TrustBundle

SERVICE_ORDER = ObjectKind("service order", b"SRV1", context("SR-service-v1"), 256)

# In which states of its life a device takes which action; without a readable state only re-provisioning.
LIFECYCLES_OF_ACTION = {
    ServiceAction.RETURN_FOR_REPAIR: (Lifecycle.LOCKED, Lifecycle.OPERATIONAL),
    ServiceAction.DECOMMISSION: (Lifecycle.LOCKED, Lifecycle.OPERATIONAL, Lifecycle.RMA),
    ServiceAction.RE_PROVISION: (Lifecycle.RMA,),
    ServiceAction.PERMIT_REINSTALLATION: (Lifecycle.OPERATIONAL,),
}

# magic version suite (of `require_format`), action; uid nonce product lot; revision reserved floors; signer, reserved,
# signature
_LAYOUT = Struct("<7s B 16s 32s 16s 16s H 2s 12s 8s 80s 64s")


@dataclass(frozen=True, slots=True)
class ServiceOrder:
    """A well-formed service order, no more. `lot`, `hardware_revision` and `floors` are for re-provisioning only."""

    raw: bytes
    action: ServiceAction
    uid: bytes
    nonce: bytes
    product_id: bytes
    lot: bytes
    hardware_revision: int
    floors: Floors
    signer_key_id: bytes

    @property
    def digest(self) -> bytes:
        return SERVICE_ORDER.digest(self.raw)


def parse_service_order(data: bytes) -> ServiceOrder:
    """Check 1; raises Refused(OBJECT_SIZE, OBJECT_MAGIC, OBJECT_FORMAT, OBJECT_RESERVED or OBJECT_FIELD)."""
    require_size(SERVICE_ORDER, data)
    require_format(SERVICE_ORDER, data)
    _, action, uid, nonce, product_id, lot, revision, reserved_90, floors, signer_key_id, *rest = _LAYOUT.unpack(data)
    reserved_112, _ = rest
    is_re_provision = action == ServiceAction.RE_PROVISION
    unused = b"" if is_re_provision else lot + revision.to_bytes(2, "little") + floors
    require_zero((reserved_90, unused, reserved_112))

    require_field(action in tuple(ServiceAction), f"action {action} is not known")
    require_field(any(product_id), "product_id is zero")
    require_field(not is_re_provision or (any(lot) and is_text(lot)), "lot is empty, or no text")
    require_field(any(signer_key_id), "signer_key_id is zero")
    start_floors = Floors.from_payload(floors)
    fields = (uid, nonce, product_id, lot, revision, start_floors, signer_key_id)
    return ServiceOrder(data, ServiceAction(action), *fields)


def verify_service_signer(order: ServiceOrder, bundle: TrustBundle) -> None:
    """Check 2; raises Refused(SIGNER_REVOKED, SIGNER_UNKNOWN or SIGNATURE_INVALID)."""
    signature = SERVICE_ORDER.signature(order.raw)
    require_signer(bundle, Role.SERVICE, order.signer_key_id, order.digest, signature)


def require_for_this_device(order: ServiceOrder, product_id: bytes, device_uid: bytes, nonce: OutstandingNonce) -> None:
    """Check 3; raises Refused(WRONG_PRODUCT, WRONG_DEVICE or WRONG_NONCE). The nonce is used up."""
    same = order.product_id == product_id
    require(same, DeviceCode.WRONG_PRODUCT, f"for product {order.product_id.hex()}")
    require(order.uid == device_uid, DeviceCode.WRONG_DEVICE, f"for UID {order.uid.hex()}")
    nonce.use_up(order.nonce)


def require_lifecycle(order: ServiceOrder, lifecycle: int) -> None:
    """Check 4; raises Refused(LIFECYCLE)."""
    allowed = lifecycle in LIFECYCLES_OF_ACTION[order.action]
    detail = f"{order.action.name} is not allowed in this state of the device's life"
    require(allowed, DeviceCode.LIFECYCLE, detail)
