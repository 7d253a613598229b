"""Decisions as values: what they carry, and what requiring them raises."""

from __future__ import annotations

import json

import pytest

from pki.errors import PolicyViolation
from policies.decision import REASON_CHARACTERS_MAX, Allow, Deny, Violation

FORBIDDEN = Violation("PO-06", "sbom-required", "A release needs its SBOM.")
FORBIDDEN_TOO = Violation("PO-06", "frozen", "Wait.")
NEAR_MISS = Violation("PO-05", "production-application", "needs two approvals")


def test_allow_raises_nothing_and_names_its_policies() -> None:
    decision = Allow(("a", "b"))
    decision.require()
    assert decision.fields() == {"decision": "allow", "policy_ids": ["a", "b"]}


def test_deny_raises_its_first_rule_with_every_reason() -> None:
    with pytest.raises(PolicyViolation) as caught:
        Deny((FORBIDDEN, NEAR_MISS)).require()
    assert caught.value.rule_id == "PO-06"
    assert str(caught.value) == (
        "[PO-06] sbom-required: A release needs its SBOM.; production-application: needs two approvals"
    )


def test_deny_names_the_policies_that_forbade_in_order_and_no_others() -> None:
    assert Deny((FORBIDDEN, FORBIDDEN_TOO, NEAR_MISS)).policy_ids == ("frozen", "sbom-required")
    assert Deny((NEAR_MISS,)).policy_ids == ()


def test_deny_as_json() -> None:
    fields = Deny((Violation("PO-02", None, "made under another policy set"),)).fields()
    assert json.loads(json.dumps(fields)) == {
        "decision": "deny",
        "policy_ids": [],
        "violations": [{"rule_id": "PO-02", "policy_id": None, "text": "made under another policy set"}],
    }


def test_a_refusal_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="has a reason"):
        Deny(())


def test_a_long_refusal_is_cut() -> None:
    with pytest.raises(PolicyViolation) as caught:
        Deny((Violation("PO-05", None, "x" * 10_000),)).require()
    assert len(str(caught.value)) <= REASON_CHARACTERS_MAX + 10
