"""Decisions in words and as JSON."""

from __future__ import annotations

import json

import pytest

from policies.decision import Deny, Violation
from policies.explain import explain
from policies.facts import SignatureCounts
from policies.policy_set import PolicySet
from policies.question import Approver
from tests.unit.policies.policy_world import ADA, EVE, QUINN, default_set, files_with, question, replace


def test_an_allow_names_what_permitted_it_and_what_is_known() -> None:
    text = explain(default_set(), question(approvers=(Approver(EVE), Approver(QUINN, True)))).text()
    assert text.startswith("ALLOW: sign-application for pump-x2 in production, asked for by ada\n")
    assert "\n  permitted by production-application: In production, an application needs two approvers" in text
    assert (
        "\n  approvals          2, standing for 2 groups: eve (engineering); quinn (quality, key in hardware)\n" in text
    )
    assert "\n  security version   4, last release 4\n" in text
    assert "PO-0" not in text
    assert "sbom-required" in text.partition("Policies that forbid other things")[2]


def test_a_deny_names_every_forbid_and_says_what_would_permit() -> None:
    text = explain(default_set(), question(sbom=False, freeze_windows=("audit", "year-end"))).text()
    assert text.startswith("DENY: ")
    assert "\n  [PO-06] sbom-required: A production release needs its SBOM" in text
    assert "\n  [PO-06] frozen: Releases of this product are frozen now" in text
    assert "\n  it would be permitted by production-application" in text
    assert "\n  freeze windows     audit, year-end\n" in text
    others = text.partition("Policies that forbid other things")[2]
    assert "frozen" not in others
    assert "tests-required" in others


def test_a_deny_without_permit_names_what_is_missing() -> None:
    text = explain(default_set(), question(approvers=(), last_security_version=None, version_order="first")).text()
    assert "[PO-05] production-application: needs two approvals, by people who stand for two different groups" in text
    assert "none that count" in text
    assert "there is no release yet" in text
    assert "last release" not in text.partition("security version")[2].partition("\n")[0]


def test_only_permits_for_this_action_and_resource_are_near() -> None:
    near = explain(default_set(), question(action="sign-bootloader", environment="development")).permits
    assert [(item.policy.id, item.is_met) for item in near] == [("development-bootloader", True)]


COUNT, SPREAD, QUALITY = (
    "three approvals by others",
    "approvers who stand for two different groups",
    "an approver of group quality",
)
THREE = tuple(map(Approver, (EVE, replace(EVE, id="emil"), replace(EVE, id="ella"))))


@pytest.mark.parametrize(
    ("approvers", "unmet"),
    [
        ((), (COUNT, SPREAD, QUALITY)),
        (THREE, (SPREAD, QUALITY)),
        ((Approver(QUINN), Approver(EVE)), (COUNT,)),
        ((*THREE, Approver(QUINN)), ()),
    ],
)
def test_each_unmet_clause_is_named_and_no_met_one(approvers: tuple[Approver, ...], unmet: tuple[str, ...]) -> None:
    asked = question(action="sign-bootloader", key_role="bootloader-release", approvers=approvers)
    (near,) = explain(default_set(), asked).permits
    assert near.unmet == unmet


def test_a_refusal_before_policies_is_told_as_it_is() -> None:
    refusal = Deny((Violation("PO-02", None, "made under another policy set"),))
    explanation = explain(default_set(), question(), refusal)
    assert "\n  [PO-02] made under another policy set\n  it would be permitted by" in explanation.text()
    assert explanation.forbidding == ()


def test_as_json() -> None:
    asked = question(sbom=False, signed=SignatureCounts(last_day=3), requester=ADA)
    fields = json.loads(json.dumps(explain(default_set(), asked).fields()))
    assert (fields["decision"], fields["policy_ids"]) == ("deny", ["sbom-required"])
    assert [item["rule_id"] for item in fields["violations"]] == ["PO-06"]
    assert [item["policy_id"] for item in fields["forbids"]] == ["sbom-required"]
    assert fields["permits"][0]["met"] is True
    assert fields["question"]["approvers"] == ["eve", "quinn"]
    assert fields["question"]["signed"]["last_day"] == 3
    assert len(fields["silent_forbids"]) == 15


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ('principal == Person::"zoe"', 'a requester who is Person::"zoe"'),
        ('principal in Group::"night"', 'a requester who is in Group::"night"'),
        ('principal is Person in Group::"night"', 'a requester who is a Person in Group::"night"'),
    ],
)
def test_who_should_have_asked_is_named(constraint: str, words: str) -> None:
    text = f'@id("a") @text("A.") permit ({constraint}, action, resource);'
    policy_set = PolicySet.of(files_with(production__cedar=text))
    (near,) = explain(policy_set, question()).permits
    assert near.unmet == (words,)
