"""What the maker's encoders write, devices obey: a work order and its activation, and service orders."""

from __future__ import annotations

import hashlib

import pytest

from bootloader.reference.codes import DeviceCode
from bootloader.reference.records import Lifecycle
from bootloader.simulation.device import PowerOn, SimulatedDevice
from pki.values import PublicKey, Signature
from signer.device_objects.activation import Activation
from signer.device_objects.common import Protection
from signer.device_objects.service_order import ServiceAction, ServiceOrder
from signer.device_objects.work_order import StationQuota, WorkOrder
from tests.scenarios.life import HOST, activated_device, code_of, locked_device
from tests.unit.reference.fake.keys import FakeKey, fake_key
from tests.unit.reference.life_builders import CHALLENGE_FIELDS, OrderPlan, part, receipt_is_genuine

PLAN = OrderPlan()
STATION = hashlib.sha256(b"fake station").digest()


def work_order() -> WorkOrder:
    return WorkOrder(
        order_id=PLAN.order_id,
        product_id=PLAN.product_id,
        lot=PLAN.lot.decode("ascii"),
        quota=3,
        trust_bundle_version_min=1,
        not_before=1_790_000_000,
        not_after=1_800_000_000,
        protection_required=Protection.READOUT | Protection.PRE_BOOTLOADER_WRITE_PROTECTED,
        hardware_revision_min=1,
        hardware_revision_max=3,
        lot_public_key=PublicKey(fake_key("lot").public),
        issuing_ca=hashlib.sha256(b"fake issuing ca").digest(),
        stations=(StationQuota(STATION, 3),),
        signer_key_id=fake_key("production").key_id,
    )


def activation(order: WorkOrder, challenge: bytes, sequence: int = 1) -> Activation:
    def told(name: str) -> bytes:
        return part(CHALLENGE_FIELDS, challenge, name)

    return Activation(
        uid=told("uid"),
        nonce=told("nonce"),
        order_digest=order.digest.value,
        station=STATION,
        sequence=sequence,
        trust_bundle_version=1,
        identity_key_digest=hashlib.sha256(told("identity_public_key")).digest(),
        agreement_key_digest=hashlib.sha256(told("agreement_public_key")).digest(),
        certificate_digest=hashlib.sha256(b"fake certificate").digest(),
        serial="(01)04012345678901(21)0001",
    )


def signature(key: FakeKey, digest: bytes) -> Signature:
    return Signature(key.sign(digest))


def papers(challenge: bytes, sequence: int = 1, lot: str = "lot") -> bytes:
    order = work_order()
    act = activation(order, challenge, sequence)
    signed_order = order.signed(signature(fake_key("production"), order.digest.value))
    return signed_order + act.signed(signature(fake_key(lot), act.digest.value))


def lifecycle_of(device: SimulatedDevice) -> int:
    return device.bootloader.running.device.lifecycle


def test_a_locked_device_becomes_operational_by_the_makers_papers() -> None:
    device = locked_device()
    challenge = device.challenge(HOST.public)
    receipt = device.receive_activation(papers(challenge))
    assert receipt_is_genuine(receipt, part(CHALLENGE_FIELDS, challenge, "identity_public_key"))
    assert lifecycle_of(device) == Lifecycle.OPERATIONAL


def test_papers_beyond_the_order_or_by_another_lots_key_are_refused() -> None:
    device = locked_device()
    beyond = papers(device.challenge(HOST.public), sequence=4)
    assert code_of(device.receive_activation, beyond) is DeviceCode.WRONG_ORDER
    by_another = papers(device.challenge(HOST.public), lot="another lot")
    assert code_of(device.receive_activation, by_another) is DeviceCode.SIGNATURE_INVALID
    assert lifecycle_of(device) == Lifecycle.LOCKED


@pytest.mark.parametrize(
    ("action", "then"),
    [
        (ServiceAction.RETURN_FOR_REPAIR, Lifecycle.RMA),
        (ServiceAction.DECOMMISSION, Lifecycle.DECOMMISSIONED),
        (ServiceAction.PERMIT_REINSTALLATION, Lifecycle.OPERATIONAL),
    ],
)
def test_a_device_obeys_a_service_order(action: ServiceAction, then: Lifecycle) -> None:
    device = activated_device()
    device.receive_service_order(service_papers(device, action))
    device.power_on(PowerOn.WARM)
    assert lifecycle_of(device) == then


def test_a_repaired_device_is_locked_again_for_another_lot() -> None:
    device = activated_device()
    device.receive_service_order(service_papers(device, ServiceAction.RETURN_FOR_REPAIR))
    device.power_on(PowerOn.WARM)
    again = service_papers(device, ServiceAction.RE_PROVISION, lot="ANOTHER LOT", hardware_revision=2, floors=(3, 1, 0))
    device.receive_service_order(again)
    device.power_on(PowerOn.WARM)
    assert lifecycle_of(device) == Lifecycle.LOCKED
    assert device.bootloader.running.device.lot.rstrip(b"\0") == b"ANOTHER LOT"


def service_papers(device: SimulatedDevice, action: ServiceAction, **more: object) -> bytes:
    challenge = device.challenge(HOST.public)
    order = ServiceOrder(
        action=action,
        uid=part(CHALLENGE_FIELDS, challenge, "uid"),
        nonce=part(CHALLENGE_FIELDS, challenge, "nonce"),
        product_id=PLAN.product_id,
        signer_key_id=fake_key("service").key_id,
        **more,  # type: ignore[arg-type]
    )
    return order.signed(signature(fake_key("service"), order.digest.value))
