"""The key audit: silent about a token as it should be, and each rule speaks when its one thing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from pki.key_audit import (
    AUDIT_RULES,
    MODULE_DEPENDENT_RULES,
    RECORDED_RULES,
    AuditFinding,
    ExpectedKey,
    ObjectClass,
    ObservedObject,
    Severity,
    audit_objects,
)
from pki.key_specs import KEY_SPECS, KeyAlgorithm, KeyUsage
from pki.key_states import KeyState
from pki.roles import Role
from tests.unit.pki.fake.keys import SoftwareKey

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = SoftwareKey("audited").public_key
OTHER_KEY = SoftwareKey("another").public_key
LABEL = "sr:application-release:pump-x2:0001"

PRIVATE = ObservedObject(
    object_class=ObjectClass.PRIVATE_KEY,
    label=LABEL,
    cka_id=KEY.cka_id,
    algorithm=KeyAlgorithm.EC_P256,
    private=True,
    local=True,
    sensitive=True,
    always_sensitive=True,
    extractable=False,
    never_extractable=True,
    modifiable=False,
    copyable=False,
    usages=frozenset({KeyUsage.SIGN}),
)
PUBLIC = ObservedObject(
    object_class=ObjectClass.PUBLIC_KEY,
    label=LABEL,
    cka_id=KEY.cka_id,
    algorithm=KeyAlgorithm.EC_P256,
    modifiable=False,
    other_usages=frozenset({"verify"}),
    public_point=KEY.point,
)
CERTIFICATE = ObservedObject(
    object_class=ObjectClass.CERTIFICATE,
    label=LABEL,
    cka_id=KEY.cka_id,
    algorithm=KeyAlgorithm.EC_P256,
    public_point=KEY.point,
)
SECRET = replace(
    PRIVATE,
    object_class=ObjectClass.SECRET_KEY,
    label="sr:package-wrap:-:0001",
    cka_id=b"\x07" * 20,
    algorithm=KeyAlgorithm.AES_256,
    usages=frozenset({KeyUsage.WRAP, KeyUsage.UNWRAP}),
)
EXPECTED = ExpectedKey(
    LABEL,
    KEY.cka_id,
    KEY_SPECS[Role.APPLICATION_RELEASE],
    KeyState.ACTIVE,
    NOW - timedelta(days=1),
    NOW + timedelta(days=1),
)
EXPECTED_SECRET = replace(EXPECTED, label=SECRET.label, cka_id=SECRET.cka_id, spec=KEY_SPECS[Role.PACKAGE_WRAP])
OTHER_PUBLIC = replace(PUBLIC, label="sr:grant:-:0001", cka_id=OTHER_KEY.cka_id, public_point=OTHER_KEY.point)


def rules_of(findings: Sequence[AuditFinding]) -> set[str]:
    return {finding.rule_id for finding in findings}


@pytest.mark.parametrize("order", [1, -1])
def test_a_token_as_it_should_be(order: int) -> None:
    observed = [PRIVATE, PUBLIC, CERTIFICATE, SECRET][::order]
    assert audit_objects(observed, [EXPECTED, EXPECTED_SECRET], NOW) == ()


def test_an_empty_token_of_an_empty_store() -> None:
    assert audit_objects([], [], NOW) == ()


@dataclass(frozen=True)
class Fault:
    rule_id: str
    what: str
    observed: Sequence[ObservedObject]
    expected: Sequence[ExpectedKey] = (EXPECTED,)
    also: frozenset[str] = frozenset()


def private(**changes: object) -> Sequence[ObservedObject]:
    return (replace(PRIVATE, **changes), PUBLIC)  # type: ignore[arg-type]


def public(**changes: object) -> Sequence[ObservedObject]:
    return (PRIVATE, replace(PUBLIC, **changes))  # type: ignore[arg-type]


def expected(**changes: object) -> Sequence[ExpectedKey]:
    return (replace(EXPECTED, **changes),)  # type: ignore[arg-type]


PAIR = (PRIVATE, PUBLIC)
STRAY_LABEL = "my key"

FAULTS = [
    Fault("KA-01", "extractable", private(extractable=True)),
    Fault("KA-01", "extractable AES key", [replace(SECRET, extractable=True)], [EXPECTED_SECRET]),
    Fault("KA-02", "modifiable private key", private(modifiable=True)),
    Fault("KA-02", "modifiable public key", public(modifiable=True)),
    Fault("KA-03", "copyable", private(copyable=True)),
    Fault("KA-04", "not sensitive", private(sensitive=False)),
    Fault("KA-05", "not always sensitive", private(always_sensitive=False)),
    Fault("KA-06", "imported", private(local=False)),
    Fault("KA-07", "once extractable", private(never_extractable=False)),
    Fault("KA-24", "recorded as gone", PAIR, expected(ended=True)),
    Fault("KA-08", "cannot sign", private(usages=frozenset())),
    Fault("KA-08", "AES key cannot unwrap", [replace(SECRET, usages=frozenset({KeyUsage.WRAP}))], [EXPECTED_SECRET]),
    Fault("KA-08", "public key cannot verify", public(other_usages=frozenset())),
    Fault("KA-09", "may derive", private(usages=frozenset({KeyUsage.SIGN, KeyUsage.DERIVE}))),
    Fault("KA-09", "may sign-recover", private(other_usages=frozenset({"sign-recover"}))),
    Fault("KA-09", "public key may wrap", public(usages=frozenset({KeyUsage.WRAP}))),
    Fault(
        "KA-10",
        "two of one label",
        [*PAIR, OTHER_PUBLIC, replace(OTHER_PUBLIC, label=LABEL)],
        also=frozenset({"KA-11", "KA-14", "KA-15"}),
    ),
    Fault(
        "KA-11",
        "two of one id",
        [*PAIR, replace(PRIVATE, label="sr:application-release:pump-x2:0002")],
        also=frozenset({"KA-23"}),
    ),
    Fault("KA-12", "id of another key", public(public_point=OTHER_KEY.point)),
    Fault("KA-12", "certificate of another key", [*PAIR, replace(CERTIFICATE, public_point=OTHER_KEY.point)]),
    Fault("KA-13", "no public key", [PRIVATE]),
    Fault("KA-14", "no private key", [*PAIR, OTHER_PUBLIC], also=frozenset({"KA-15"})),
    Fault("KA-15", "stranger", PAIR, []),
    Fault("KA-15", "data object", [*PAIR, ObservedObject(ObjectClass.OTHER, LABEL, b"")]),
    Fault("KA-16", "vanished", [], [EXPECTED]),
    Fault("KA-16", "only the public key is left", [PUBLIC], also=frozenset({"KA-14"})),
    Fault("KA-17", "over", PAIR, expected(not_after=NOW - timedelta(seconds=1))),
    Fault("KA-18", "compromised", PAIR, expected(state=KeyState.COMPROMISED)),
    Fault("KA-18", "destroyed", PAIR, expected(state=KeyState.DESTROYED)),
    Fault("KA-18", "deactivated", PAIR, expected(state=KeyState.DEACTIVATED)),
    Fault("KA-19", "label", [replace(PRIVATE, label=STRAY_LABEL), PUBLIC], also=frozenset({"KA-23"})),
    Fault("KA-20", "RSA", private(algorithm=None)),
    Fault("KA-20", "AES", public(algorithm=KeyAlgorithm.AES_256)),
    Fault("KA-21", "copyable not given", private(copyable=None)),
    Fault("KA-22", "no login needed", private(private=False)),
    Fault("KA-23", "renamed", private(label="sr:application-release:pump-x2:0002")),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.rule_id} {fault.what}")
def test_one_rule_finds_one_fault(fault: Fault) -> None:
    findings = audit_objects(fault.observed, fault.expected, NOW)
    assert rules_of(findings) - fault.also == {fault.rule_id}
    for finding in findings:
        assert finding.severity is AUDIT_RULES[finding.rule_id][0]
        assert finding.subject
        assert "\n" not in finding.subject + finding.text


def test_every_rule_has_a_fault() -> None:
    assert {fault.rule_id for fault in FAULTS} == set(AUDIT_RULES)


def test_a_destroyed_key_that_is_gone_is_as_it_should_be() -> None:
    assert audit_objects([], expected(state=KeyState.DESTROYED), NOW) == ()


def test_strangers_are_linted_too() -> None:
    stranger = replace(PRIVATE, extractable=True, never_extractable=False, label=STRAY_LABEL, usages=frozenset())
    assert {"KA-01", "KA-07", "KA-13", "KA-15", "KA-19"} == rules_of(audit_objects([stranger], [], NOW))


def test_findings_do_not_depend_on_the_order_of_objects() -> None:
    objects = [replace(PRIVATE, extractable=True), replace(SECRET, local=False), OTHER_PUBLIC]
    assert audit_objects(objects, [EXPECTED], NOW) == audit_objects(objects[::-1], [EXPECTED], NOW)


def test_a_finding_names_rule_severity_object_and_detail() -> None:
    (finding,) = audit_objects(private(usages=frozenset({KeyUsage.SIGN, KeyUsage.DERIVE})), [EXPECTED], NOW)
    assert finding == AuditFinding(
        "KA-09",
        Severity.ERROR,
        f"private-key {LABEL!r} (id {KEY.cka_id.hex()})",
        "a usage that the role does not have is allowed: derive",
    )


@pytest.mark.parametrize("rule_id", sorted(MODULE_DEPENDENT_RULES))
def test_what_a_module_cannot_avoid_stays_visible_as_a_warning(rule_id: str) -> None:
    objects = private(modifiable=True, copyable=True, local=False)
    findings = audit_objects(objects, [EXPECTED], NOW, frozenset({rule_id}))
    assert rules_of(findings) == MODULE_DEPENDENT_RULES
    for finding in findings:
        assert finding.severity is (Severity.WARNING if finding.rule_id == rule_id else Severity.ERROR)
        assert ("this module" in finding.text) is (finding.rule_id == rule_id)


@pytest.mark.parametrize("rule_id", sorted(set(AUDIT_RULES) - MODULE_DEPENDENT_RULES))
def test_no_module_excuses_anything_else(rule_id: str) -> None:
    with pytest.raises(ValueError, match=rule_id):
        audit_objects([], [], NOW, frozenset({rule_id}))


@pytest.mark.parametrize("rule_id", sorted(RECORDED_RULES))
def test_what_is_recorded_of_a_key_stays_visible_as_a_warning(rule_id: str) -> None:
    objects = private(always_sensitive=False, never_extractable=False, local=False)
    findings = audit_objects(objects, expected(recorded=frozenset({rule_id})), NOW)
    assert rules_of(findings) == RECORDED_RULES
    for finding in findings:
        assert finding.severity is (Severity.WARNING if finding.rule_id == rule_id else Severity.ERROR)
        assert ("recorded" in finding.text) is (finding.rule_id == rule_id)


def test_a_record_excuses_its_own_key_only() -> None:
    other = replace(PRIVATE, label="sr:grant:-:0001", cka_id=OTHER_KEY.cka_id, never_extractable=False)
    objects = [*private(never_extractable=False), other, OTHER_PUBLIC]
    records = [*expected(recorded=RECORDED_RULES), replace(EXPECTED, label=other.label, cka_id=other.cka_id)]
    errors = {item.subject: item.rule_id for item in audit_objects(objects, records, NOW) if item.severity == "error"}
    assert errors == {other.name: "KA-07"}


@pytest.mark.parametrize("rule_id", sorted(set(AUDIT_RULES) - RECORDED_RULES))
def test_no_record_excuses_anything_else(rule_id: str) -> None:
    """That it can be extracted, say: KA-01 stays an error of every key."""
    with pytest.raises(ValueError, match=rule_id):
        expected(recorded=frozenset({rule_id}))


def test_a_key_that_left_a_token_is_not_missed_there() -> None:
    assert audit_objects([], expected(ended=True), NOW) == ()


def test_a_naive_time_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        audit_objects([], [], NOW.replace(tzinfo=None))
