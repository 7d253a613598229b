"""Reconciliation and registration on made-up observations: each way in which token and key store can differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import PolicyViolation
from pki.key_audit import ObjectClass, ObservedObject, Severity
from pki.key_specs import KEY_SPECS, KeyUsage
from pki.key_states import KeyState
from pki.roles import Role
from signer.inventory.audit import audit_token, findings_as_json, findings_as_text, has_errors
from signer.inventory.reconcile import Reconciliation, reconcile
from signer.inventory.registration import register_key
from signer.store.errors import KeyConflict
from signer.store.key_store import KeyStore
from signer.store.values import KeyRecord, NewKey
from tests.unit.store.stores import DAY, NOW, TOKEN, change, new_key, public_key


def record_of(key: NewKey, state: KeyState = KeyState.ACTIVE) -> KeyRecord:
    return KeyRecord(
        cka_id=key.cka_id,
        label=key.label,
        role=key.spec.role,
        product=key.product,
        algorithm=key.spec.algorithm,
        public_key=key.public_key,
        token=key.token,
        created_at=NOW,
        not_before=NOW,
        not_after=NOW + DAY,
        state=state,
        state_since=NOW,
        certificate=None,
    )


def objects_of(key: NewKey) -> tuple[ObservedObject, ...]:
    """What a perfect module shows of a perfect key."""
    if key.public_key is None:
        usages = frozenset({KeyUsage.WRAP, KeyUsage.UNWRAP})
        return (_secret(ObjectClass.SECRET_KEY, key, usages),)
    public = ObservedObject(
        object_class=ObjectClass.PUBLIC_KEY,
        label=key.label,
        cka_id=key.cka_id,
        algorithm=key.spec.algorithm,
        private=False,
        local=True,
        modifiable=False,
        copyable=False,
        other_usages=frozenset({"verify"}),
        public_point=key.public_key.point,
    )
    return _secret(ObjectClass.PRIVATE_KEY, key, frozenset({KeyUsage.SIGN})), public


def _secret(object_class: ObjectClass, key: NewKey, usages: frozenset[KeyUsage]) -> ObservedObject:
    return ObservedObject(
        object_class=object_class,
        label=key.label,
        cka_id=key.cka_id,
        algorithm=key.spec.algorithm,
        private=True,
        local=True,
        sensitive=True,
        always_sensitive=True,
        extractable=False,
        never_extractable=True,
        modifiable=False,
        copyable=False,
        usages=usages,
    )


RELEASE = new_key()
WRAP = new_key(Role.PACKAGE_WRAP, None)
PRIVATE, PUBLIC = objects_of(RELEASE)
(SECRET,) = objects_of(WRAP)
STRANGER = ObservedObject(ObjectClass.CERTIFICATE, "somebody's", b"\x01")


def only(found: Reconciliation) -> tuple[str, KeyRecord]:
    """Where the one record went."""
    places: dict[str, Sequence[KeyRecord]] = {
        "present": found.present,
        "vanished": found.vanished,
        "contradicting": [item.record for item in found.contradicting],
        "lingering": found.lingering,
        "gone": found.gone,
    }
    ((place, record),) = [(place, record) for place, records in places.items() for record in records]
    return place, record


def test_what_is_as_recorded_is_present() -> None:
    assert only(reconcile([PRIVATE, PUBLIC], [record_of(RELEASE)])) == ("present", record_of(RELEASE))
    assert only(reconcile([SECRET], [record_of(WRAP)])) == ("present", record_of(WRAP))


@pytest.mark.parametrize("observed", [[], [PUBLIC], [STRANGER]], ids=["empty", "public only", "something else"])
def test_a_key_that_is_not_there_has_vanished(observed: list[ObservedObject]) -> None:
    assert only(reconcile(observed, [record_of(RELEASE)]))[0] == "vanished"


def test_a_destroyed_key_should_be_gone() -> None:
    destroyed = record_of(RELEASE, KeyState.DESTROYED)
    assert only(reconcile([], [destroyed]))[0] == "gone"
    assert only(reconcile([PUBLIC], [destroyed]))[0] == "gone"
    assert only(reconcile([PRIVATE, PUBLIC], [destroyed]))[0] == "lingering"


@pytest.mark.parametrize(
    ("observed", "text"),
    [
        ([PRIVATE, replace(PUBLIC, public_point=public_key(1).point)], "another public key"),
        ([PRIVATE, replace(PUBLIC, label="sr:root:-:0001")], "should have the label"),
        ([replace(PRIVATE, label="sr:root:-:0001"), PUBLIC], "should have the label"),
        ([replace(PRIVATE, algorithm=None), PUBLIC], "not of algorithm ec-p256"),
        ([PRIVATE, PRIVATE, PUBLIC], "2 keys on the token"),
        ([PRIVATE], "the public key of 'sr:application-release:pump-x2:0001' is not on the token"),
    ],
)
def test_what_the_token_says_is_not_trusted(observed: list[ObservedObject], text: str) -> None:
    found = reconcile(observed, [record_of(RELEASE)])
    assert only(found)[0] == "contradicting"
    assert text in found.contradicting[0].text


def test_what_is_not_recorded_is_a_stranger() -> None:
    found = reconcile([PRIVATE, STRANGER, PUBLIC, SECRET], [record_of(RELEASE)])
    assert found.strangers == (STRANGER, SECRET)


@given(
    st.lists(st.sampled_from([PRIVATE, PUBLIC, SECRET, STRANGER, replace(PUBLIC, public_point=None)]), max_size=6),
    st.lists(st.sampled_from([RELEASE, WRAP, new_key(Role.ROOT, None)]), unique=True),
    st.sampled_from(KeyState),
)
def test_nothing_is_left_out_or_counted_twice(
    observed: list[ObservedObject], keys: list[NewKey], state: KeyState
) -> None:
    records = [record_of(key, state) for key in keys]
    found = reconcile(observed, records)
    placed = [*found.present, *found.vanished, *found.lingering, *found.gone]
    placed += [item.record for item in found.contradicting]
    assert sorted(record.label for record in placed) == sorted(record.label for record in records)
    known = {record.cka_id for record in records}
    assert list(found.strangers) == [item for item in observed if item.cka_id not in known]
    if not audit_token(observed, records, NOW):
        assert not found.strangers
        assert not found.contradicting
        assert not found.vanished
        assert not found.lingering


def test_a_good_key_is_registered(store: KeyStore) -> None:
    record, findings = register_key(store, [PRIVATE, PUBLIC, STRANGER], RELEASE, change())
    assert findings == ()
    assert record == store.key(RELEASE.label)
    assert register_key(store, [SECRET], WRAP, change())[1] == ()


@pytest.mark.parametrize(
    ("observed", "rule_id"),
    [
        ([replace(PRIVATE, extractable=True), PUBLIC], "KA-01"),
        ([replace(PRIVATE, modifiable=True), PUBLIC], "KA-02"),
        ([replace(PRIVATE, copyable=True), PUBLIC], "KA-03"),
        ([replace(PRIVATE, sensitive=False), PUBLIC], "KA-04"),
        ([replace(PRIVATE, local=False), PUBLIC], "KA-06"),
        ([replace(PRIVATE, never_extractable=False), PUBLIC], "KA-07"),
        ([replace(PRIVATE, usages=PRIVATE.usages | {KeyUsage.DERIVE}), PUBLIC], "KA-09"),
        ([PRIVATE, PUBLIC, replace(PRIVATE, cka_id=bytes(20))], "KA-10"),
        ([PRIVATE, replace(PUBLIC, public_point=public_key(1).point)], "KA-12"),
        ([PRIVATE], "KA-13"),
        ([], "KA-16"),
        ([replace(PRIVATE, label="sr:application-release:pump-x2:0009"), PUBLIC], "KA-23"),
    ],
)
def test_a_key_that_is_not_what_its_role_demands_is_not_registered(
    store: KeyStore, observed: list[ObservedObject], rule_id: str
) -> None:
    with pytest.raises(PolicyViolation, match="is not registered") as violation:
        register_key(store, observed, RELEASE, change())
    assert violation.value.rule_id == rule_id
    assert store.keys() == ()


def test_only_what_the_module_cannot_avoid_is_tolerated(store: KeyStore) -> None:
    observed = [replace(PRIVATE, modifiable=True, copyable=True), PUBLIC]
    for too_little in (frozenset[str](), frozenset({"KA-02"}), frozenset({"KA-03"})):
        with pytest.raises(PolicyViolation):
            register_key(store, observed, RELEASE, change(), too_little)
    _, findings = register_key(store, observed, RELEASE, change(), frozenset({"KA-02", "KA-03"}))
    assert {(item.rule_id, item.severity) for item in findings} == {
        ("KA-02", Severity.WARNING),
        ("KA-03", Severity.WARNING),
    }


def test_extractability_is_never_tolerated(store: KeyStore) -> None:
    with pytest.raises(ValueError, match="KA-01"):
        register_key(store, [PRIVATE, PUBLIC], RELEASE, change(), frozenset({"KA-01"}))
    assert store.keys() == ()


def test_a_key_is_registered_once(store: KeyStore) -> None:
    register_key(store, [PRIVATE, PUBLIC], RELEASE, change())
    with pytest.raises(KeyConflict):
        register_key(store, [PRIVATE, PUBLIC], RELEASE, change())


def test_reports_put_errors_first_and_escape_what_tokens_say() -> None:
    hostile = replace(STRANGER, label="\x1b[2Jroot\u202e\n")
    findings = audit_token([PRIVATE, PUBLIC, hostile], [record_of(RELEASE)], NOW + 2 * DAY)
    assert [item["rule"] for item in findings_as_json(findings)] == ["KA-15", "KA-19", "KA-17"]
    assert all(item.keys() == {"rule", "severity", "subject", "text"} for item in findings_as_json(findings))
    lines = findings_as_text(findings).split("\n")
    assert lines[0].split() == ["severity", "rule", "object", "finding"]
    assert [line.split()[:2] for line in lines[1:4]] == [["error", "KA-15"], ["warning", "KA-19"], ["warning", "KA-17"]]
    assert lines[4:] == ["1 errors, 2 warnings", ""]
    assert all(line.isprintable() for line in lines)
    assert has_errors(findings)
    assert findings_as_text(()) == "0 errors, 0 warnings\n"
    assert not has_errors(())


def test_every_role_has_a_perfect_key() -> None:
    """The helper above is used for every role, so that a change of the specs is noticed here."""
    for role in (role for role, spec in KEY_SPECS.items() if spec.stays_on_token):
        key = new_key(role, None, token=TOKEN)
        assert audit_token(objects_of(key), [record_of(key)], NOW) == ()
