"""Who asked and who agreed: each refusal once, each with a neighbour that passes, and every field mutated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.canonical_json import encode_canonical
from pki.errors import Expired, NotYetValid, PolicyViolation, StrongroomError
from policies.approval import APPROVAL_NAMESPACE
from policies.authentication import (
    APPROVALS_MAX,
    LIFETIME_MAX,
    AuthenticRequest,
    SignedStatement,
    authenticate_approvals,
    authenticate_request,
)
from policies.request import REQUEST_NAMESPACE, decode_request
from policies.ssh_keys import SshPublicKey
from tests.unit.policies.statements import (
    NOW,
    REQUEST,
    WEEK,
    Desk,
    approval,
    key_line,
    request,
    signature_of,
    signed_approval,
    signed_request,
)

SECOND = timedelta(seconds=1)


def authentic(desk: Desk | None = None) -> AuthenticRequest:
    desk = desk or Desk()
    return authenticate_request(signed_request(), desk.signers, desk.people, NOW)


def rule_of(act: Callable[[], object]) -> str:
    with pytest.raises(StrongroomError) as refused:
        act()
    rule_id = str(getattr(refused.value, "rule_id", ""))
    assert str(refused.value).startswith(f"[{rule_id}] ")
    assert "\n" not in str(refused.value)
    return rule_id


def request_rule(signed: SignedStatement, desk: Desk | None = None, now: Any = NOW) -> str:
    desk = desk or Desk()
    return rule_of(lambda: authenticate_request(signed, desk.signers, desk.people, now))


def approvals_rule(*approvals: SignedStatement, desk: Desk | None = None, now: Any = NOW) -> str:
    desk = desk or Desk()
    asked = authentic()
    return rule_of(lambda: authenticate_approvals(asked, approvals, desk.signers, desk.people, now))


# The request


def test_a_request_and_two_approvals_pass() -> None:
    desk = Desk()
    asked = authentic(desk)
    assert asked.request == REQUEST
    assert asked.requester.id == "rita"
    assert asked.key_fingerprint == SshPublicKey.parse(key_line("rita")).fingerprint
    assert asked.is_hardware_backed
    given_ = [signed_approval("ada"), signed_approval("bob")]
    found = authenticate_approvals(asked, given_, desk.signers, desk.people, NOW)
    assert [item.approver.id for item in found] == ["ada", "bob"]
    assert all(item.approval.request_digest == REQUEST.digest for item in found)
    assert authenticate_approvals(asked, [], desk.signers, desk.people, NOW) == ()


def test_rq04_a_requester_whom_nobody_knows() -> None:
    desk = Desk()
    desk.lines.append(f"zoe {key_line('zoe')}")
    assert request_rule(signed_request(request(requester="zoe")), desk) == "RQ-04"


def test_rq05_a_requester_without_the_role() -> None:
    assert request_rule(signed_request(request(requester="ada"))) == "RQ-05"


def test_rq06_rq07_the_time_of_a_request() -> None:
    desk = Desk()
    end = REQUEST.not_after
    authenticate_request(signed_request(), desk.signers, desk.people, end)
    assert request_rule(signed_request(), now=end + SECOND) == "RQ-06"
    with pytest.raises(Expired):
        authenticate_request(signed_request(), desk.signers, desk.people, end + SECOND)
    authenticate_request(signed_request(), desk.signers, desk.people, end - LIFETIME_MAX)
    assert request_rule(signed_request(), now=end - LIFETIME_MAX - SECOND) == "RQ-07"


def test_rq08_a_key_that_is_listed_for_somebody_else_too() -> None:
    desk = Desk()
    desk.lines.append(f'ada namespaces="git",valid-before="20200101Z" {key_line("rita")}')
    assert request_rule(signed_request(), desk) == "RQ-08"
    other = Desk()
    other.lines.append(f"rita@example.com {key_line('rita')}")
    assert authentic(other).requester.id == "rita", "a principal who is nobody of people.toml does not count"


def test_the_signature_of_a_request() -> None:
    data = REQUEST.encode()
    assert request_rule(signed_request(key="ada")) == "SS-10"
    assert request_rule(SignedStatement(data, signature_of("rita", APPROVAL_NAMESPACE, data))) == "SS-05"
    assert request_rule(SignedStatement(data, b"")) == "SS-01"
    other = request(security_version=4).encode()
    assert request_rule(SignedStatement(other, signed_request().signature)) == "SS-11"


def test_the_time_of_a_key() -> None:
    desk = Desk()
    for option, rule, kind in (
        (f'valid-after="{NOW + SECOND:%Y%m%d%H%M%S}Z"', "SS-26", NotYetValid),
        (f'valid-before="{NOW - SECOND:%Y%m%d%H%M%S}Z"', "SS-27", Expired),
        ('namespaces="git,strongroom-approval-v1"', "SS-25", PolicyViolation),
    ):
        desk.lines[0] = f"rita {option} {key_line('rita')}"
        assert request_rule(signed_request(), desk) == rule
        with pytest.raises(kind):
            authentic(desk)
    for option in (f'valid-after="{NOW:%Y%m%d%H%M%S}Z"', f'valid-before="{NOW:%Y%m%d%H%M%S}Z"'):
        desk.lines[0] = f"rita {option} {key_line('rita')}"
        assert authentic(desk).requester.id == "rita", "both ends belong to the time"


def test_a_person_without_a_key() -> None:
    desk = Desk()
    desk.lines.pop(0)
    assert request_rule(signed_request(), desk) == "SS-25"


# Approvals


def test_ap04_an_approver_whom_nobody_knows() -> None:
    desk = Desk()
    desk.lines.append(f"zoe {key_line('zoe')}")
    assert approvals_rule(signed_approval("zoe"), desk=desk) == "AP-04"


def test_ap05_an_approver_without_the_role() -> None:
    assert approvals_rule(signed_approval("olga")) == "AP-05"


def test_ap06_ap07_the_time_of_an_approval() -> None:
    desk = Desk()
    asked = authentic()
    end = NOW + 3 * SECOND
    short = [signed_approval("ada", not_after=end)]
    authenticate_approvals(asked, short, desk.signers, desk.people, end)
    assert approvals_rule(*short, now=end + SECOND) == "AP-06"
    longest = [signed_approval("ada", not_after=NOW + LIFETIME_MAX)]
    authenticate_approvals(asked, longest, desk.signers, desk.people, NOW)
    assert approvals_rule(signed_approval("ada", not_after=NOW + LIFETIME_MAX + SECOND)) == "AP-07"


def test_ap08_the_approval_of_another_request() -> None:
    for name, value in {
        "head_digest": b"H" * 32, "image_digest": b"I" * 32, "kind": "factory-test", "product": "pump-x3",
        "product_id": "11" * 16, "version": "1.2.1", "security_version": 4, "target": "grant",
        "key_ids": (b"key-id-2",), "sbom_digest": None, "test_evidence_digest": b"t" * 32,
        "not_after": NOW + WEEK + SECOND, "policy_digest": b"P" * 32, "requester": "both", "environment": "development",
    }.items():  # fmt: skip
        assert approvals_rule(signed_approval("ada", request(**{name: value}))) == "AP-08", name


def test_ap09_nobody_approves_what_they_asked_for() -> None:
    desk = Desk()
    asked = authenticate_request(signed_request(request(requester="both")), desk.signers, desk.people, NOW)
    own = signed_approval("both", asked.request)
    assert rule_of(lambda: authenticate_approvals(asked, [own], desk.signers, desk.people, NOW)) == "AP-09"
    others = [signed_approval("ada", asked.request)]
    assert len(authenticate_approvals(asked, others, desk.signers, desk.people, NOW)) == 1
    assert len(authenticate_approvals(authentic(), [signed_approval("both")], desk.signers, desk.people, NOW)) == 1


def test_ap10_one_person_counts_once_whatever_the_key() -> None:
    assert approvals_rule(signed_approval("ada"), signed_approval("ada")) == "AP-10"
    desk = Desk()
    desk.lines.append(f"ada {key_line('second key of ada')}")
    second = signed_approval("ada", key="second key of ada")
    assert len(authenticate_approvals(authentic(), [second], desk.signers, desk.people, NOW)) == 1
    assert approvals_rule(signed_approval("ada"), second, desk=desk) == "AP-10"
    later = signed_approval("ada", not_after=NOW + SECOND)
    assert approvals_rule(signed_approval("ada"), signed_approval("bob"), later) == "AP-10"


def test_ap11_one_key_counts_for_one_person() -> None:
    desk = Desk()
    desk.lines.append(f"bob {key_line('ada')}")
    with_her_key = signed_approval("bob", key="ada")
    assert approvals_rule(with_her_key, desk=desk) == "AP-11"
    assert approvals_rule(signed_approval("ada"), with_her_key, desk=desk) == "AP-11"
    shared = Desk()
    shared.lines.append(f"ada {key_line('rita')}")
    assert approvals_rule(signed_approval("ada", key="rita"), desk=shared) == "AP-11"


def test_ap12_not_more_approvals_than_anybody_asks_for() -> None:
    assert approvals_rule(*[signed_approval("ada")] * (APPROVALS_MAX + 1)) == "AP-12"


def test_the_signature_of_an_approval() -> None:
    data = approval("ada").encode()
    assert approvals_rule(signed_approval("ada", key="bob")) == "SS-10"
    assert approvals_rule(SignedStatement(data, signature_of("ada", REQUEST_NAMESPACE, data))) == "SS-05"
    assert approvals_rule(SignedStatement(data, signed_approval("bob").signature)) == "SS-10"
    assert approvals_rule(SignedStatement(approval("bob").encode(), signed_approval("ada").signature)) == "SS-10"
    assert approvals_rule(SignedStatement(signed_request().statement, signed_request().signature)) == "AP-02"


def test_one_approval_that_does_not_count_refuses_all() -> None:
    assert approvals_rule(signed_approval("ada"), signed_approval("olga")) == "AP-05"


# Every field, every byte


@pytest.mark.parametrize("name", [name for name in REQUEST.fields() if name != "type"])
@given(value=st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=8) | st.lists(st.text(max_size=4)))
@settings(max_examples=20)
def test_no_field_of_a_signed_request_can_be_changed(name: str, value: Any) -> None:
    changed = REQUEST.fields() | {name: value}
    if changed != REQUEST.fields():
        request_rule(SignedStatement(encode_canonical(changed), signed_request().signature))


VALID_OTHERS: dict[str, Any] = {
    "environment": "development", "head_digest": "61" * 32, "image_digest": "61" * 32, "kind": "factory-test",
    "product": "pump-x3", "product_id": "11" * 16, "version": "1.2.1", "security_version": 4, "target": "grant",
    "key_ids": ["61" * 8], "sbom_digest": None, "test_evidence_digest": "61" * 32, "not_after": "2026-12-05T12:00:00Z",
    "policy_digest": "61" * 32, "requester": "both",
}  # fmt: skip


@pytest.mark.parametrize("name", VALID_OTHERS)
def test_a_field_with_another_valid_value_is_not_what_was_signed(name: str) -> None:
    data = encode_canonical(REQUEST.fields() | {name: VALID_OTHERS[name]})
    decode_request(data)
    rule = request_rule(SignedStatement(data, signed_request().signature))
    assert rule == ("SS-10" if name == "requester" else "SS-11")


def test_there_is_another_value_for_each_field() -> None:
    assert VALID_OTHERS.keys() | {"type"} == REQUEST.fields().keys()


@given(st.data())
@settings(max_examples=300)
def test_no_byte_of_a_signed_statement_can_be_changed(data: st.DataObject) -> None:
    for signed, check in ((signed_request(), request_rule), (signed_approval("ada"), approvals_rule)):
        position = data.draw(st.integers(0, len(signed.statement) - 1))
        flipped = signed.statement[position] ^ data.draw(st.integers(1, 255))
        changed = signed.statement[:position] + bytes([flipped]) + signed.statement[position + 1 :]
        check(SignedStatement(changed, signed.signature))


@pytest.mark.parametrize("name", [name for name in approval("ada").fields() if name != "type"])
def test_no_field_of_a_signed_approval_can_be_changed(name: str) -> None:
    others = {"request_digest": "61" * 32, "approver": "bob", "not_after": "2026-12-05T12:00:00Z", "decision": "reject"}
    changed = encode_canonical(approval("ada").fields() | {name: others[name]})
    rule = approvals_rule(SignedStatement(changed, signed_approval("ada").signature))
    assert rule == {"request_digest": "AP-08", "approver": "SS-10", "not_after": "SS-11", "decision": "AP-03"}[name]
