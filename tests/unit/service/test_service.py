"""The signing service: what it signs, what it refuses, what it logs."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pki.errors import AuditError, PolicyViolation, Rollback
from policies.authentication import SignedStatement
from signer.log.values import Event, EventKind
from signer.packages.layout import HEAD_SIZE_BYTES
from signer.packages.manifest import tbs_digest
from signer.packages.terms import ImageVersion, PackageType
from signer.service.record import decode_record
from signer.service.values import SignedRelease, SignOrder
from tests.unit.log.memory_log import MemoryLog
from tests.unit.service.world import (
    BEN,
    CLEO,
    DAN,
    ServiceWorld,
    WillingJudge,
    refused,
    rule_of_refusal,
    signature_count,
    signed_request,
)


@pytest.fixture
def world(tmp_path: Path) -> ServiceWorld:
    return ServiceWorld(tmp_path)


# What it signs


def test_an_order_that_all_agree_on_is_signed_once_logged_and_kept(world: ServiceWorld) -> None:
    package = world.prepare()
    order = world.order(package, [BEN])
    before = signature_count(world.keys)
    signed = world.sign(order)
    assert signature_count(world.keys) == before + 1
    content = signed.path.read_bytes()
    assert signed.package_digest == hashlib.sha256(content).digest()
    assert tbs_digest(content[:HEAD_SIZE_BYTES]) == package.tbs_digest
    assert world.judge.shown == [signed.package_digest]
    assert world.log.kinds() == ["sign-intent", "sign-result"]
    assert not signed.repeated


def test_the_log_says_who_asked_who_agreed_and_what_decided(world: ServiceWorld) -> None:
    package = world.prepare()
    signed = world.sign(world.order(package, [CLEO, BEN]))
    intent, result = (entry.event for entry in world.log.entries)
    assert intent.actor == "builder"
    assert intent.details["approvers"] == ["ben", "cleo"]
    assert intent.details["requester"] == "ada"
    assert intent.details["policy_ids"] == ["development-application"]
    assert intent.details["policy_digest"] == world.policy_set.digest.hex()
    assert intent.details["key_labels"] == ["sr:application-release:pump-x2:0001"]
    assert intent.details["head_digest"] == package.tbs_digest.value.hex()
    assert not intent.details["resumed"]
    assert result.details["package_digest"] == signed.package_digest.hex()
    assert result.details["intent"] == 0
    assert result.details["judged_by"] == "a new device of product pump-x2"


def test_the_record_keeps_what_evidence_is_made_of(world: ServiceWorld) -> None:
    order = world.order(world.prepare(), [DAN, BEN])
    signed = world.sign(order)
    data = world.shelf.read(world.shelf.record(signed.request_digest))
    assert data is not None
    record = decode_record(data)
    assert record.request.statement.encode() == order.request.statement
    assert record.approvers == ("ben", "dan")
    assert [text.statement.encode() for text in record.approvals] == [
        order.approvals[1].statement,
        order.approvals[0].statement,
    ]
    assert [line.split()[0] for line in record.allowed_signers.splitlines()] == ["ada", "ben", "dan"]


def test_a_bootloader_takes_both_keys_and_each_signs_once(world: ServiceWorld) -> None:
    package = world.prepare(package_type=PackageType.BOOTLOADER)
    before = signature_count(world.keys)
    signed = world.sign(world.order(package, [BEN]))
    assert signature_count(world.keys) == before + 2
    assert len(world.log.entries[-1].event.details["key_labels"]) == 2
    assert signed.path.stat().st_size == signed.package_size_bytes


def test_the_sbom_that_request_and_head_name_is_taken(world: ServiceWorld, tmp_path: Path) -> None:
    sbom = tmp_path / "sbom.json"
    sbom.write_bytes(b'{"components":[]}')
    digest = hashlib.sha256(sbom.read_bytes()).digest()
    package = world.prepare(sbom=sbom)
    assert world.sign(world.order(package, sbom=sbom, sbom_digest=digest)).path.exists()


# Twice


def test_the_same_request_again_returns_the_same_package_and_no_key_is_asked(world: ServiceWorld) -> None:
    order = world.order(world.prepare())
    first = world.sign(order)
    before = signature_count(world.keys)
    world.time += timedelta(days=30)
    again = world.sign(order)
    assert again.repeated
    assert (again.path, again.package_digest, again.result_index) == (
        first.path,
        first.package_digest,
        first.result_index,
    )
    assert signature_count(world.keys) == before
    assert world.log.kinds() == ["sign-intent", "sign-result"]


def test_of_concurrent_calls_one_signs_and_all_get_the_same(world: ServiceWorld) -> None:
    order = world.order(world.prepare())
    before = signature_count(world.keys)
    results: list[SignedRelease] = []
    threads = [threading.Thread(target=lambda: results.append(world.sign(order))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert sum(not result.repeated for result in results) == 1
    assert len({result.package_digest for result in results}) == 1
    assert signature_count(world.keys) == before + 1
    assert world.log.kinds() == ["sign-intent", "sign-result"]


def test_a_call_waits_for_another_only_so_long(world: ServiceWorld) -> None:
    world.lock_wait_seconds = 0.05
    order = world.order(world.prepare())
    with world.shelf.exclusively():
        assert rule_of_refusal(world, order) == "SV-02"
    assert world.sign(order).path.exists()


# The clock and the log


def test_a_clock_earlier_than_the_log_is_refused(world: ServiceWorld) -> None:
    world.sign(world.order(world.prepare()))
    world.time -= timedelta(minutes=1)
    with pytest.raises(Rollback, match="AL-01"):
        world.sign(world.order(world.prepare("second")))
    assert world.log.kinds() == ["sign-intent", "sign-result"]


@pytest.mark.parametrize("appends", [0, 1])
def test_if_the_log_fails_nothing_is_released(world: ServiceWorld, appends: int) -> None:
    order = world.order(world.prepare())
    world.log = FailingLog(appends)
    with pytest.raises(AuditError):
        world.sign(order)
    assert not world.shelf.released(hashlib.sha256(order.request.statement).digest()).exists()
    world.log.appends_left = 100
    assert world.sign(order).path.exists()


def test_if_a_refusal_cannot_be_logged_that_is_the_error(world: ServiceWorld) -> None:
    package = world.prepare()
    order = world.order(package, version="1.0.1")
    world.log = FailingLog(0)
    with pytest.raises(AuditError):
        world.sign(order)


class FailingLog(MemoryLog):
    """The memory log, whose disk is full after so many appends."""

    def __init__(self, appends: int) -> None:
        super().__init__()
        self.appends_left = appends

    def append(self, events: Any, now: Any) -> Any:
        if self.appends_left == 0:
            raise AuditError("the audit log cannot be written; nothing was released")
        self.appends_left -= 1
        return super().append(events, now)


# What it refuses


@pytest.mark.parametrize(
    ("rule_id", "changes"),
    [
        ("SV-10", {"head_digest": bytes(31) + b"\1"}),
        ("SV-11", {"image_digest": bytes(31) + b"\1"}),
        ("SV-12", {"kind": "factory-test"}),
        ("SV-13", {"product": "pump-x3"}),
        ("SV-13", {"product_id": "00" * 15 + "01"}),
        ("SV-14", {"version": "1.0.1"}),
        ("SV-15", {"security_version": 2}),
        ("SV-16", {"target": "grant"}),
        ("SV-16", {"target": "uid:" + "11" * 16}),
        ("SV-17", {"key_ids": (bytes(7) + b"\1",)}),
        ("SV-18", {"sbom_digest": bytes(31) + b"\1"}),
        ("SV-23", {"test_evidence_digest": bytes(31) + b"\1"}),
        ("PO-01", {"environment": "production"}),
        ("PO-02", {"policy_digest": bytes(31) + b"\1"}),
    ],
)
def test_a_request_that_is_not_about_this_package_is_refused(
    world: ServiceWorld, rule_id: str, changes: dict[str, Any]
) -> None:
    refused(world, world.order(world.prepare(), [BEN], **changes), rule_id)


def test_an_sbom_that_the_head_does_not_have_is_refused(world: ServiceWorld, tmp_path: Path) -> None:
    sbom = tmp_path / "sbom.json"
    sbom.write_bytes(b"{}")
    digest = hashlib.sha256(b"{}").digest()
    refused(world, world.order(world.prepare(), sbom=sbom, sbom_digest=digest), "SV-18")


def test_another_sbom_than_the_requests_is_refused(world: ServiceWorld, tmp_path: Path) -> None:
    sbom, other = tmp_path / "sbom.json", tmp_path / "other.json"
    sbom.write_bytes(b"{}")
    other.write_bytes(b"{ }")
    package = world.prepare(sbom=sbom)
    refused(world, world.order(package, sbom=other, sbom_digest=hashlib.sha256(b"{}").digest()), "SV-18")


def test_test_evidence_is_compared(world: ServiceWorld, tmp_path: Path) -> None:
    report, other = tmp_path / "report.xml", tmp_path / "other.xml"
    report.write_bytes(b"<ok/>")
    other.write_bytes(b"<ok />")
    digest = hashlib.sha256(b"<ok/>").digest()
    order = world.order(world.prepare(), test_evidence_digest=digest)
    refused(world, msgspec.structs.replace(order, test_evidence=other), "SV-23")
    assert world.sign(msgspec.structs.replace(order, test_evidence=report)).path.exists()


def test_a_package_that_carries_a_signature_already_is_refused(world: ServiceWorld) -> None:
    package = world.prepare()
    data = bytearray(package.path.read_bytes())
    data[450] = 1
    package.path.write_bytes(data)
    refused(world, world.order(package), "SV-19")


def test_a_changed_chunk_is_refused(world: ServiceWorld) -> None:
    package = world.prepare()
    data = bytearray(package.path.read_bytes())
    data[-40] ^= 1
    package.path.write_bytes(data)
    refused(world, world.order(package), "SV-20")


def test_a_key_that_the_store_suspended_is_refused(world: ServiceWorld) -> None:
    world.keys.suspended = {"sr:application-release:pump-x2:0001"}
    refused(world, world.order(world.prepare()), "SV-21")
    assert "KS-02" in world.log.entries[-1].event.details["reason"]


def test_too_few_approvals_are_refused(world: ServiceWorld) -> None:
    package = world.prepare(package_type=PackageType.BOOTLOADER)
    refused(world, world.order(package), "PO-05")


def test_a_version_older_than_the_last_release_is_refused(world: ServiceWorld) -> None:
    details = {"product": "pump-x2", "kind": "application", "version": "1.10.0", "security_version": 1}
    details |= {"request_digest": "ab" * 32}
    world.log.append([Event(kind=EventKind.RELEASED, actor="builder", details=details)], world.time)
    refused(world, world.order(world.prepare(image_version=ImageVersion(1, 9, 0))), "PO-06")
    assert world.sign(world.order(world.prepare("newer", image_version=ImageVersion(1, 11, 0)))).path.exists()


def test_an_unreadable_request_is_refused_and_logged_by_its_digest(world: ServiceWorld) -> None:
    order = SignOrder(request=SignedStatement(b"{}", b""), approvals=(), prepared=world.prepare().path)
    refused(world, order, "RQ-02")
    assert world.log.entries[-1].event.details["request_digest"] == hashlib.sha256(b"{}").hexdigest()


def test_the_reason_logged_is_bounded_and_printable(world: ServiceWorld) -> None:
    package = world.prepare()
    odd = package.path.with_name("x" * 200 + "\n\x1b[31m")
    package.path.rename(odd)
    order = msgspec.structs.replace(world.order(package), prepared=odd.with_name(odd.name + "y"))
    rule_of_refusal(world, order)
    reason = world.log.entries[-1].event.details["reason"]
    assert len(reason) <= 300
    assert reason.isprintable()


# Between intent and result


def test_what_the_bootloader_refuses_is_not_released(world: ServiceWorld) -> None:
    world.judge = WillingJudge(accepts=False)
    order = world.order(world.prepare())
    assert rule_of_refusal(world, order) == "SV-30"
    assert world.log.kinds() == ["sign-intent", "sign-failed"]
    assert world.log.entries[-1].event.details["rule_id"] == "SV-30"
    assert not list((world.folder / "signed").glob("*.srp"))
    world.judge.accepts = True
    assert world.sign(order).path.exists()
    assert world.log.kinds()[2:] == ["sign-intent", "sign-result"]
    assert world.log.entries[2].event.details["resumed"]


def test_a_prepared_file_exchanged_after_it_was_compared_is_not_signed(world: ServiceWorld) -> None:
    package, other = world.prepare(), world.prepare("other")
    order = world.order(package)
    inner = world.log

    class ExchangingLog:
        """Exchanges the file when the intent is logged: after the comparison, before the HSM."""

        def append(self, events: Any, now: Any) -> Any:
            package.path.write_bytes(other.path.read_bytes())
            return inner.append(events, now)

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    before = signature_count(world.keys)
    with pytest.raises(PolicyViolation, match="SV-22"):
        world.sign(order, log=ExchangingLog())
    assert signature_count(world.keys) == before
    assert inner.kinds() == ["sign-intent", "sign-failed"]


# The shelf


def test_a_package_exchanged_on_the_shelf_is_found(world: ServiceWorld) -> None:
    order = world.order(world.prepare())
    signed = world.sign(order)
    signed.path.write_bytes(signed.path.read_bytes() + b"\0")
    assert rule_of_refusal(world, order) == "SV-31"
    assert world.log.kinds()[-1] == "request-refused"


def test_a_package_on_the_shelf_that_no_log_knows_is_found(world: ServiceWorld) -> None:
    order = world.order(world.prepare())
    world.sign(order)
    world.log = type(world.log)()
    assert rule_of_refusal(world, order) == "SV-31"


def test_a_lost_shelf_is_signed_for_anew_and_the_log_shows_both(world: ServiceWorld) -> None:
    order = world.order(world.prepare())
    first = world.sign(order)
    first.path.unlink()
    second = world.sign(order)
    assert second.package_digest != first.package_digest
    assert world.log.kinds() == ["sign-intent", "sign-result"] * 2
    assert world.sign(order).package_digest == second.package_digest


def test_a_request_signed_by_another_key_is_another_statement_of_nobody(world: ServiceWorld) -> None:
    package = world.prepare()
    order = world.order(package)
    forged = msgspec.structs.replace(order, request=signed_request(world.request(package), BEN))
    refused(world, forged, "SS-10")
