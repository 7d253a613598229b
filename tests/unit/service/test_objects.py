"""The signing service for work orders and service orders: what it signs, and each reason for which it does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pki.errors import StrongroomError
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme, Signature
from policies.approval import APPROVAL_NAMESPACE
from policies.request import decode_request
from signer.device_objects.service_order import ServiceAction, parse_service_order
from signer.device_objects.work_order import StationQuota, parse_work_order
from signer.service.events import rule_of
from signer.service.object_kinds import SignableOrder, WorkOrderReader
from signer.service.object_record import ObjectRecord
from signer.tokens.errors import TokenError
from tests.unit.packages.builders import APP_KEY, PRODUCTION_KEY
from tests.unit.packages.fake.software_keys import WrongKey
from tests.unit.service.object_world import (
    SERVICE_KEY,
    ObjectWorld,
    service_order,
    signed_object_approval,
    signed_object_request,
    work_order,
)
from tests.unit.service.world import ADA, BEN, CLEO, DAN, NOW, PRODUCT, LabelledKey, signature_count


@pytest.fixture
def world(tmp_path: Path) -> ObjectWorld:
    return ObjectWorld(tmp_path)


def refused(world: ObjectWorld, order: Any, rule_id: str) -> None:
    """Refused under this rule, logged, with no key asked and nothing on the shelf."""
    before, kept = signature_count(world.keys), list((world.folder / "signed").glob("*.object"))
    with pytest.raises(StrongroomError) as refusal:
        world.sign_object(order)
    assert rule_of(refusal.value) == rule_id, refusal.value
    assert signature_count(world.keys) == before
    assert world.log.kinds()[-1] == "request-refused"
    assert world.log.entries[-1].event.details["rule_id"] == rule_id
    assert list((world.folder / "signed").glob("*.object")) == kept


def test_a_work_order_is_decided_logged_signed_and_verified(world: ObjectWorld) -> None:
    order = work_order()
    signed = world.sign_object(world.object_order(order))
    done = parse_work_order(signed.path.read_bytes())
    done.verify(PRODUCTION_KEY.public_key)
    assert done.order == order
    intent, result = world.log.entries[-2:]
    assert (intent.event.kind.value, result.event.kind.value) == ("sign-intent", "sign-result")
    assert intent.event.details["facts"]["quota"] == 300
    assert intent.event.details["policy_ids"] == ["development-orders-and-grants"]
    assert result.event.details["package_digest"] == Digest.of(signed.path.read_bytes()).value.hex()
    assert result.event.details["judged_by"] == "its reader"
    record = msgspec.json.decode(world.objects.record(signed.request_digest).read_bytes(), type=ObjectRecord)
    assert (record.kind, record.object_digest) == ("work-order", order.digest.value.hex())
    assert "ada" in record.allowed_signers


def test_a_service_order_is_signed_by_a_service_key(world: ObjectWorld) -> None:
    signed = world.sign_object(world.object_order(service_order()))
    parse_service_order(signed.path.read_bytes()).verify(SERVICE_KEY.public_key)


def test_the_same_call_again_asks_no_token(world: ObjectWorld) -> None:
    order = world.object_order(work_order())
    first = world.sign_object(order)
    before, entries = signature_count(world.keys), len(world.log.entries)
    again = world.sign_object(order)
    assert (again.path, again.package_digest, again.repeated) == (first.path, first.package_digest, True)
    assert (signature_count(world.keys), len(world.log.entries)) == (before, entries)


def test_in_production_two_approvers_of_two_groups_are_needed(tmp_path: Path) -> None:
    world = ObjectWorld(tmp_path, environment="production")
    refused(world, world.object_order(work_order()), "PO-05")
    refused(world, world.object_order(work_order(), [BEN]), "PO-05")
    refused(world, world.object_order(work_order(), [BEN, DAN]), "PO-05")
    signed = world.sign_object(world.object_order(work_order(), [BEN, CLEO]))
    assert signed.policy_ids == ("production-work-order",)


def test_in_production_a_large_or_long_order_is_forbidden(tmp_path: Path) -> None:
    world = ObjectWorld(tmp_path, environment="production")
    large = work_order(quota=100_001, stations=(StationQuota(b"\x10" * 32, 100_001),))
    refused(world, world.object_order(large, [BEN, CLEO]), "PO-06")
    long = work_order(not_after=int((NOW + timedelta(days=190, seconds=1)).timestamp()))
    refused(world, world.object_order(long, [BEN, CLEO]), "PO-06")
    at_the_bound = work_order(not_after=int((NOW + timedelta(days=190)).timestamp()))
    world.sign_object(world.object_order(at_the_bound, [BEN, CLEO]))


def test_in_production_decommissioning_needs_more_than_repair(tmp_path: Path) -> None:
    world = ObjectWorld(tmp_path, environment="production")
    final = service_order(action=ServiceAction.DECOMMISSION)
    refused(world, world.object_order(final, [BEN]), "PO-05")
    signed = world.sign_object(world.object_order(final, [BEN, CLEO]))
    assert signed.policy_ids == ("production-service-final",)


CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "another digest": ("OB-03", {"object_digest": b"\x01" * 32}),
    "another product": ("OB-04", {"product": "pump-y3"}),
    "another product id": ("OB-04", {"product_id": "01" * 16}),
    "another signer": ("OB-05", {"key_ids": (b"\x01" * 8,)}),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_the_request_says_is_compared_with_the_order_itself(world: ObjectWorld, case: str) -> None:
    rule_id, changes = CHANGED[case]
    refused(world, world.object_order(work_order(), **changes), rule_id)


FACTS = {
    "inject": "group-key",
    "lot": "LOT-2026-12",
    "order_id": "02" * 16,
    "order_not_after": "2027-01-01T00:00:00Z",
    "quota": 299,
    "stations": 1,
}


@pytest.mark.parametrize("name", FACTS)
def test_ob_06_no_fact_may_be_told_otherwise(world: ObjectWorld, name: str) -> None:
    facts = dict(world.object_request(work_order()).facts) | {name: FACTS[name]}
    refused(world, world.object_order(work_order(), facts=facts), "OB-06")


def test_ob_06_a_repair_is_not_asked_for_and_a_decommissioning_signed(world: ObjectWorld) -> None:
    told = world.object_order(service_order())
    world.write(service_order(action=ServiceAction.DECOMMISSION))
    refused(world, told, "OB-03")
    facts = {"action": "return-for-repair", "uid": service_order().uid.hex()}
    refused(world, world.object_order(service_order(action=ServiceAction.DECOMMISSION), facts=facts), "OB-06")


def test_an_order_that_was_exchanged_after_the_approvals_is_refused(world: ObjectWorld) -> None:
    order = world.object_order(work_order())
    world.write(work_order(quota=301, stations=(StationQuota(b"\x10" * 32, 301),)))
    refused(world, order, "OB-03")


def test_a_signed_order_is_not_signed_again(world: ObjectWorld) -> None:
    order = world.object_order(work_order())
    order.files[0].write_bytes(work_order().signed(Signature(bytes([1]) * 64)))
    refused(world, order, "FormatError")


def test_ob_01_a_kind_that_is_not_signed_here(world: ObjectWorld) -> None:
    with pytest.raises(StrongroomError, match="OB-01"):
        world.sign_object(world.object_order(work_order()), readers={})


@dataclass
class Pretending:
    """A prepared work order that says it is something else."""

    inner: SignableOrder
    kind: str = "work-order"
    role: Role = Role.PRODUCTION

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize(
    ("rule_id", "changes"), [("OB-02", {"kind": "service-order"}), ("OB-07", {"role": Role.APPLICATION_RELEASE})]
)
def test_a_reader_that_gives_another_kind_or_role_is_not_believed(
    world: ObjectWorld, rule_id: str, changes: dict[str, Any]
) -> None:
    class Reader(WorkOrderReader):
        def prepared(self, files: Any) -> Any:
            return Pretending(super().prepared(files), **changes)

    with pytest.raises(StrongroomError, match=rule_id):
        world.sign_object(world.object_order(work_order()), readers={"work-order": Reader()})
    assert world.log.kinds() == ["request-refused"]


def test_ob_09_a_finished_object_that_is_not_the_prepared_one_is_not_released(world: ObjectWorld) -> None:
    class Widened(Pretending):
        def with_signature(self, signature: Signature) -> bytes:
            return work_order(quota=9999).signed(signature)

    class Reader(WorkOrderReader):
        def prepared(self, files: Any) -> Any:
            return Widened(super().prepared(files))

        def accepted(self, data: bytes, key: PublicKey) -> None:
            parse_work_order(data).verify(key)

    with pytest.raises(StrongroomError, match="OB-09"):
        world.sign_object(world.object_order(work_order()), readers={"work-order": Reader()})
    assert world.log.kinds()[-2:] == ["sign-intent", "sign-failed"]
    assert not list((world.folder / "signed").glob("*.object"))


def test_ob_08_an_order_that_has_ended_is_not_signed(world: ObjectWorld) -> None:
    order = world.object_order(work_order(not_after=int((NOW + timedelta(days=3)).timestamp())))
    world.time = NOW + timedelta(days=4)
    refused(world, order, "OB-08")


def test_sv_21_a_key_of_another_role_does_not_sign_it(world: ObjectWorld) -> None:
    refused(world, world.object_order(work_order(signer_key_id=APP_KEY.public_key.key_id)), "SV-21")
    refused(world, world.object_order(service_order(signer_key_id=PRODUCTION_KEY.public_key.key_id)), "SV-21")


def test_sv_21_a_suspended_key_does_not_sign_it(world: ObjectWorld) -> None:
    world.keys.suspended.add(f"sr:production:{PRODUCT}:0001")
    refused(world, world.object_order(work_order()), "SV-21")


def test_one_cannot_approve_ones_own_order(tmp_path: Path) -> None:
    world = ObjectWorld(tmp_path, environment="production")
    refused(world, world.object_order(work_order(), [DAN, CLEO], requester="dan"), "SS-10")
    asked = world.object_request(work_order(), requester="dan")
    order = world.object_order(work_order())
    own = msgspec.structs.replace(
        order,
        request=signed_object_request(asked, DAN),
        approvals=tuple(signed_object_approval(asked, person) for person in (DAN, CLEO)),
    )
    refused(world, own, "AP-09")


def test_an_approval_of_another_request_does_not_count(tmp_path: Path) -> None:
    world = ObjectWorld(tmp_path, environment="production")
    order = world.object_order(work_order(), [BEN, CLEO])
    other = world.object_request(work_order(quota=301))
    changed = msgspec.structs.replace(order, approvals=(order.approvals[0], signed_object_approval(other, CLEO)))
    refused(world, changed, "AP-08")


def test_a_signature_of_another_namespace_does_not_count(world: ObjectWorld) -> None:
    order = world.object_order(work_order())
    asked = world.object_request(work_order())
    changed = msgspec.structs.replace(order, request=signed_object_request(asked, ADA, APPROVAL_NAMESPACE))
    refused(world, changed, "SS-05")


def test_a_request_for_an_object_is_none_for_a_package_and_the_other_way_round(world: ObjectWorld) -> None:
    order = world.object_order(work_order())
    with pytest.raises(StrongroomError, match="RQ-02"):
        decode_request(order.request.statement)
    package = world.order(world.prepare())
    refused(world, msgspec.structs.replace(order, request=package.request), "RQ-02")


def test_po_01_and_po_02_another_environment_or_policy_set(world: ObjectWorld) -> None:
    refused(world, world.object_order(work_order(), environment="production"), "PO-01")
    refused(world, world.object_order(work_order(), policy_digest=b"\x01" * 32), "PO-02")


def test_a_wrong_signature_is_not_released(world: ObjectWorld) -> None:
    wrong = LabelledKey(f"sr:production:{PRODUCT}:0001", WrongKey("production"))
    world.keys.release[Role.PRODUCTION][:] = [wrong]
    with pytest.raises(StrongroomError):
        world.sign_object(world.object_order(work_order()))
    assert world.log.kinds()[-2:] == ["sign-intent", "sign-failed"]
    assert not list((world.folder / "signed").glob("*.object"))


def test_a_lost_token_releases_nothing_and_the_same_call_ends_it(world: ObjectWorld) -> None:
    class LostOnce(LabelledKey):
        lost = True

        def sign(self, digest: Digest, scheme: Scheme) -> Signature:
            if self.lost:
                self.lost = False
                raise TokenError("the token is gone")
            return super().sign(digest, scheme)

    world.keys.release[Role.PRODUCTION][:] = [LostOnce(f"sr:production:{PRODUCT}:0001", PRODUCTION_KEY)]
    order = world.object_order(work_order())
    with pytest.raises(TokenError):
        world.sign_object(order)
    assert world.log.kinds()[-2:] == ["sign-intent", "sign-failed"]
    signed = world.sign_object(order)
    assert world.log.entries[-1].event.details["resumed"] is True
    parse_work_order(signed.path.read_bytes()).verify(PRODUCTION_KEY.public_key)


def test_sv_31_something_else_on_the_shelf(world: ObjectWorld) -> None:
    order = world.object_order(work_order())
    signed = world.sign_object(order)
    signed.path.write_bytes(b"something else")
    with pytest.raises(StrongroomError, match="SV-31"):
        world.sign_object(order)


def test_orders_count_by_themselves_and_packages_do_not_count_with_them(tmp_path: Path) -> None:
    world = ObjectWorld(tmp_path, environment="production")
    for number in range(20):
        order = work_order(order_id=bytes([number + 1]) * 16)
        world.sign_object(world.object_order(order, [BEN, CLEO]))
    refused(world, world.object_order(work_order(), [BEN, CLEO]), "PO-06")
    signed = world.sign_object(world.object_order(service_order(action=ServiceAction.DECOMMISSION), [BEN, CLEO]))
    assert signed.policy_ids == ("production-service-final",)
