"""Orders of objects for the service world: prepared work orders and service orders, asked for and approved."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pki.roles import Role
from pki.values import PublicKey
from policies.approval import APPROVAL_NAMESPACE, Approval
from policies.authentication import SignedStatement
from policies.object_request import ObjectRequest
from policies.request import REQUEST_NAMESPACE
from signer.device_objects.common import Protection
from signer.device_objects.service_order import ServiceAction, ServiceOrder
from signer.device_objects.work_order import StationQuota, WorkOrder
from signer.service.facts import Past
from signer.service.object_kinds import (
    ServiceOrderReader,
    SignableOrder,
    WorkOrderReader,
    signable_service_order,
    signable_work_order,
)
from signer.service.objects import ObjectOrder, ObjectSigningService
from signer.service.shelf import OBJECT_SUFFIX, Shelf
from signer.service.values import SignedRelease
from tests.unit.packages.builders import PRODUCT_ID, PRODUCTION_KEY
from tests.unit.packages.fake.software_keys import SoftwareKey
from tests.unit.service.fake.ssh_people import SshPerson
from tests.unit.service.world import ADA, NOW, PRODUCT, LabelledKey, ServiceWorld

SERVICE_KEY = SoftwareKey("service")
LOT_KEY = SoftwareKey("lot")
READERS = {"work-order": WorkOrderReader(), "service-order": ServiceOrderReader()}


def work_order(**changed: Any) -> WorkOrder:
    fields: dict[str, Any] = {
        "order_id": bytes(range(1, 17)),
        "product_id": PRODUCT_ID,
        "lot": "LOT-2026-11",
        "quota": 300,
        "trust_bundle_version_min": 1,
        "not_before": int(NOW.timestamp()),
        "not_after": int((NOW + timedelta(days=60)).timestamp()),
        "protection_required": Protection.READOUT,
        "hardware_revision_min": 1,
        "hardware_revision_max": 2,
        "lot_public_key": PublicKey(LOT_KEY.public_key.point),
        "issuing_ca": bytes(range(64, 96)),
        "stations": (StationQuota(b"\x10" * 32, 100), StationQuota(b"\x20" * 32, 200)),
        "signer_key_id": PRODUCTION_KEY.public_key.key_id,
    }
    return WorkOrder(**(fields | changed))


def service_order(**changed: Any) -> ServiceOrder:
    fields: dict[str, Any] = {
        "action": ServiceAction.RETURN_FOR_REPAIR,
        "uid": b"UID-000000001234",
        "nonce": bytes(range(32)),
        "product_id": PRODUCT_ID,
        "signer_key_id": SERVICE_KEY.public_key.key_id,
    }
    return ServiceOrder(**(fields | changed))


class ObjectWorld(ServiceWorld):
    """A service world that signs objects."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        super().__init__(folder, **fields)
        self.keys.release[Role.SERVICE] = [LabelledKey(f"sr:service:{PRODUCT}:0001", SERVICE_KEY)]  # type: ignore[index]

    @property
    def objects(self) -> Shelf:
        return Shelf(self.folder / "signed", suffix=OBJECT_SUFFIX)

    def object_service(self, **changes: Any) -> ObjectSigningService:
        values: dict[str, Any] = {
            "reviewed": self.reviewed(),
            "keys": self.keys,
            "log": self.log,
            "readers": READERS,
            "folder": self.folder / "signed",
            "past": Past(self.log, self.history, [PRODUCT]),
            "clock": self.clock,
            "actor": "builder",
        }
        return ObjectSigningService(**values | changes)

    def write(self, order: WorkOrder | ServiceOrder, name: str = "prepared") -> Path:
        path = self.folder / name
        path.write_bytes(order.prepared())
        return path

    def object_request(self, order: WorkOrder | ServiceOrder, **changes: Any) -> ObjectRequest:
        prepared = signable(order)
        values: dict[str, Any] = {
            "environment": self.environment,
            "kind": prepared.kind,
            "object_digest": prepared.digest.value,
            "product": PRODUCT,
            "product_id": prepared.product_id.hex(),
            "key_ids": (prepared.signer_key_id,),
            "facts": dict(prepared.facts),
            "not_after": NOW + timedelta(days=7),
            "policy_digest": self.policy_set.digest,
            "requester": "ada",
        }
        return ObjectRequest(**values | changes)

    def object_order(
        self, order: WorkOrder | ServiceOrder, approvers: Sequence[SshPerson] = (), **changes: Any
    ) -> ObjectOrder:
        """A request for the order, signed by Ada, and an approval of each approver."""
        asked = self.object_request(order, **changes)
        return ObjectOrder(
            request=signed_object_request(asked),
            approvals=tuple(signed_object_approval(asked, person) for person in approvers),
            files=(self.write(order),),
        )

    def sign_object(self, order: ObjectOrder, **changes: Any) -> SignedRelease:
        return self.object_service(**changes).sign(order)


def signable(order: WorkOrder | ServiceOrder) -> SignableOrder:
    return signable_work_order(order) if isinstance(order, WorkOrder) else signable_service_order(order)


def signed_object_request(
    asked: ObjectRequest, person: SshPerson = ADA, namespace: str = REQUEST_NAMESPACE
) -> SignedStatement:
    return SignedStatement(asked.encode(), person.sign(asked.encode(), namespace))


def signed_object_approval(asked: ObjectRequest, person: SshPerson) -> SignedStatement:
    approval = Approval(request_digest=asked.digest, approver=person.name, not_after=NOW + timedelta(days=7))
    return SignedStatement(approval.encode(), person.sign(approval.encode(), APPROVAL_NAMESPACE))
