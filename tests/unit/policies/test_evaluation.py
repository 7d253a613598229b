"""Decisions about requests: every rule that denies, what is counted, and that nothing but a clear Allow allows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import PolicyViolation
from policies.cedar import CedarQuery
from policies.decision import Allow, Deny, PolicyDecision
from policies.evaluation import decide, evaluate
from policies.facts import (
    KeyFact,
    LastRelease,
    PolicyFacts,
    SignatureCounts,
    SignedBefore,
    count_signatures,
    version_order,
)
from policies.people import Person
from policies.policy_set import PolicySet
from policies.question import Approver, PolicyQuestion, spread
from tests.unit.policies.policy_world import (
    ADA,
    EVE,
    KEY_ID,
    NOW,
    QUINN,
    SAM,
    approval,
    default_set,
    facts,
    files_with,
    person,
    question,
    replace,
    request,
)

ALLOWED = Allow(("production-application",))


def rules(decision: PolicyDecision) -> list[tuple[str, str | None]]:
    return [] if isinstance(decision, Allow) else [(item.rule_id, item.policy_id) for item in decision.violations]


def decided(facts_changed: dict[str, Any] | None = None, **request_changed: Any) -> PolicyDecision:
    asked = request(**request_changed)
    approvals = [approval(asked, EVE), approval(asked, QUINN)]
    return decide(default_set(), asked, approvals, facts(asked, **(facts_changed or {})), NOW)


# The rules


def test_a_request_that_fits_is_allowed() -> None:
    assert decided() == ALLOWED


def test_po_01_another_environment() -> None:
    assert rules(decided({"environment": "development"})) == [("PO-01", None)]
    assert rules(decided({"environment": "production"}, environment="development")) == [("PO-01", None)]


def test_po_02_another_policy_set() -> None:
    assert rules(decided(policy_digest=b"\x09" * 32)) == [("PO-02", None)]


@pytest.mark.parametrize(
    "keys",
    [
        (),
        (KeyFact(b"\0" * 8, "x", "application-release", "pump-x2"),),
        (KeyFact(KEY_ID, "x", "application-release", "pump-x2"),) * 2,
        (KeyFact(KEY_ID, "x", "application-release", "pump-y3"),),
    ],
)
def test_po_03_facts_of_other_keys(keys: tuple[KeyFact, ...]) -> None:
    assert {rule for rule, _ in rules(decided({"keys": keys}))} == {"PO-03"}


def test_po_03_keys_of_several_roles() -> None:
    asked = request(kind="bootloader")
    keys = facts(asked).keys
    mixed = (keys[0], replace(keys[1], role="production"))
    assert rules(decide(default_set(), asked, [], facts(asked, keys=mixed), NOW)) == [("PO-03", None)]


def test_a_key_for_every_product_is_no_other_products() -> None:
    assert decided({"keys": (KeyFact(KEY_ID, "x", "application-release", None),)}) == ALLOWED


def test_everything_that_is_wrong_before_policies_is_named() -> None:
    decision = decided({"environment": "development", "keys": ()}, policy_digest=b"\x09" * 32)
    assert [rule for rule, _ in rules(decision)] == ["PO-01", "PO-02", "PO-03"]


OVERFLOW = """
@id("overflow")
@text("Adds too much.")
forbid (principal, action in Action::"package", resource)
when { context.security_version + 9223372036854775807 < 0 };
"""


def test_po_04_a_forbid_that_cannot_be_evaluated_denies() -> None:
    """Cedar itself says Allow here: it skips the policy and reports it."""
    policy_set = PolicySet.of(files_with(extra__cedar=OVERFLOW))
    assert policy_set.engine.ask(question().cedar_query()).policy_ids == ("production-application",)
    decision = evaluate(policy_set, question())
    assert rules(decision) == [("PO-04", None)]
    assert "overflow" in str(decision)
    assert evaluate(policy_set, question(security_version=0, last_security_version=0)) == ALLOWED


def test_po_04_a_permit_that_cannot_be_evaluated_denies_though_another_permits() -> None:
    text = OVERFLOW.replace("forbid", '@needs1("x") permit')
    assert rules(evaluate(PolicySet.of(files_with(extra__cedar=text)), question())) == [("PO-04", None)]


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "sign-everything"},
        {"action": "release"},
        {"environment": "staging"},
        {"key_role": "no-role"},
        {"target": "everybody"},
        {"version_order": "best"},
        {"security_version": 1 << 63},
        {"security_version": True},
        {"security_version": "4"},
        {"sbom": 1},
        {"sbom": None},
        {"freeze_windows": (3,)},
        {"product": "pump\ud800"},
        {"requester": replace(ADA, roles=["emperor"])},
    ],
)
def test_po_04_what_the_schema_does_not_know_denies(changes: dict[str, Any]) -> None:
    assert {rule for rule, _ in rules(evaluate(default_set(), question(**changes)))} == {"PO-04"}


def test_po_04_context_that_nobody_declared_denies() -> None:
    query = question().cedar_query()
    context = query.request["context"].replace('{"approvals"', '{"root": true, "approvals"', 1)
    answer = default_set().engine.ask(CedarQuery({**query.request, "context": context}, query.entities))
    assert (answer.allowed, len(answer.errors)) == (False, 1)


def test_po_05_no_permit_says_what_near_misses_need() -> None:
    decision = evaluate(default_set(), question(requester=EVE, approvers=()))
    assert rules(decision) == [("PO-05", "production-application")]
    assert isinstance(decision, Deny)
    assert decision.violations[0].text == (
        'needs a requester who is in PersonRole::"requester"; '
        "two approvals, by people who stand for two different groups"
    )


def test_po_05_without_any_permit_for_it() -> None:
    nothing = '@id("a") @text("A.") @needs1("x") permit (principal, action, resource) when { false };'
    files = files_with(production__cedar=None, development__cedar=None, limits__cedar=None)
    policy_set = PolicySet.of(
        {**files, "a.cedar": nothing.replace("action,", 'action == Action::"sign-bootloader",').encode()}
    )
    decision = evaluate(policy_set, question())
    assert rules(decision) == [("PO-05", None)]
    assert "no policy permits sign-application for pump-x2 in production" in str(decision)


def test_po_06_names_each_forbid_and_the_near_misses_too() -> None:
    assert rules(evaluate(default_set(), question(sbom=False, tests=False))) == [
        ("PO-06", "sbom-required"), ("PO-06", "tests-required"),
    ]  # fmt: skip
    assert rules(evaluate(default_set(), question(sbom=False, approvers=()))) == [
        ("PO-06", "sbom-required"), ("PO-05", "production-application"),
    ]  # fmt: skip


def test_a_refusal_is_raised_by_its_rule() -> None:
    with pytest.raises(PolicyViolation, match=r"^\[PO-06\] sbom-required: A production release needs its SBOM"):
        decided(sbom_digest=None).require()


# From request and facts to what policies see


def test_evidence_counts_only_if_named_and_at_hand() -> None:
    assert rules(decided({"sbom_present": False})) == [("PO-06", "sbom-required")]
    assert rules(decided(sbom_digest=None)) == [("PO-06", "sbom-required")]
    assert rules(decided({"test_evidence_present": False})) == [("PO-06", "tests-required")]
    assert rules(decided(test_evidence_digest=None)) == [("PO-06", "tests-required")]


def test_versions_are_compared_with_the_last_release() -> None:
    assert rules(decided({"last_release": LastRelease("1.10.0", 4)}, version="1.9.0")) == [("PO-06", "version-older")]
    assert decided({"last_release": LastRelease("1.9.0", 4)}, version="1.10.0") == ALLOWED
    assert rules(decided({"last_release": LastRelease("1.3.0", 4)})) == [("PO-06", "version-same")]
    assert decided({"last_release": LastRelease("1.3.0", 4)}, target=f"uid:{'01' * 16}") == ALLOWED
    assert decided({"last_release": None}, security_version=77) == ALLOWED


def test_security_versions_are_compared_with_the_last_release() -> None:
    assert rules(decided(security_version=3)) == [("PO-06", "security-version-lowered")]
    assert rules(decided(security_version=5)) == [("PO-06", "application-security-raise")]
    assert rules(decided(security_version=0xFFFFFFFF)) == [("PO-06", "application-security-raise")]


def test_the_calendar_of_the_set_freezes() -> None:
    window = 'format = 1\n[[windows]]\nname = "now"\nfrom = 2026-11-27T12:00:00Z\nto = 2026-11-27T12:00:01Z\n'
    policy_set = PolicySet.of(files_with(calendar__toml=f'{window}products = ["pump-x2"]\n'))
    asked = request(policy_set=policy_set)
    approvals = [approval(asked, EVE), approval(asked, QUINN)]

    def at(seconds: int) -> PolicyDecision:
        return decide(policy_set, asked, approvals, facts(asked), NOW + timedelta(seconds=seconds))

    assert [rules(at(seconds)) for seconds in (-1, 0, 1)] == [[], [("PO-06", "frozen")], []]


def test_limits_are_on_what_was_signed_before() -> None:
    assert decided({"signed": SignatureCounts(last_day_of_product=4, last_day=49)}) == ALLOWED
    assert rules(decided({"signed": SignatureCounts(last_day_of_product=5)})) == [("PO-06", "product-daily-limit")]
    assert rules(decided({"signed": SignatureCounts(last_day=50)})) == [("PO-06", "authority-daily-limit")]


def test_an_approval_of_another_request_does_not_count() -> None:
    asked, other = request(), request(version="1.4.0")
    decision = decide(default_set(), asked, [approval(asked, EVE), approval(other, QUINN)], facts(asked), NOW)
    assert rules(decision) == [("PO-05", "production-application")]


def test_a_changed_request_has_another_digest_though_digests_are_kept() -> None:
    """The digest is computed once for a value; a copy with another field must not inherit it."""
    asked = request().request
    digests = {asked.digest, replace(asked, version="1.4.0").digest, replace(asked, security_version=5).digest}
    assert len(digests) == 3
    assert replace(asked).digest == asked.digest == sha256(asked.encode()).digest()


def test_who_counts_as_an_approver() -> None:
    walt = person("walt", "security", roles=["witness"])
    asked = question(approvers=(Approver(EVE), Approver(EVE), Approver(ADA), Approver(walt), Approver(QUINN, True)))
    assert [item.person.id for item in asked.counted_approvers] == ["eve", "quinn"]
    assert rules(evaluate(default_set(), question(approvers=(Approver(EVE), Approver(EVE))))) != []


HARDWARE = """
@id("hardware")
@text("Two keys in hardware, one of them ada's; and quinn must agree.")
forbid (principal, action, resource)
unless {
    context.approvals.hardware_backed >= 1 && context.requester_is_hardware_backed &&
    context.approvals.by.contains(Person::"quinn") && context.freeze.windows.isEmpty() &&
    context.signed.last_day_by_requester < 3 && context.signed.of_product < 100
};
"""


def test_facts_that_the_defaults_do_not_use() -> None:
    policy_set = PolicySet.of(files_with(extra__cedar=HARDWARE))
    good = question(requester_is_hardware_backed=True, approvers=(Approver(EVE), Approver(QUINN, True)))
    assert evaluate(policy_set, good) == ALLOWED
    for changed in (
        replace(good, requester_is_hardware_backed=False),
        replace(good, approvers=(Approver(EVE), Approver(QUINN))),
        replace(good, approvers=(Approver(EVE, True), Approver(SAM))),
        replace(good, signed=SignatureCounts(last_day_by_requester=3)),
        replace(good, signed=SignatureCounts(of_product=100)),
    ):
        assert rules(evaluate(policy_set, changed)) == [("PO-06", "hardware")]


PER_PRODUCT = """
@id("implants")
@text("The implant needs an approver of security for everything.")
forbid (principal, action, resource)
when { resource in [Product::"implant", Product::"implant-x2"] }
unless { context.approvals.of_group.hasTag("security") && context.approvals.of_group.getTag("security") >= 1 };

@id("hotfix-team")
@text("The hotfix team has applications of pump-y3 signed with one approval.")
@needs1("one approval by others")
permit (principal in Group::"hotfix", action == Action::"sign-application", resource == Product::"pump-y3")
when { context.approvals.count >= 1 };
"""


def test_quorums_by_product_and_group() -> None:
    policy_set = PolicySet.of(files_with(extra__cedar=PER_PRODUCT))
    assert evaluate(policy_set, question()) == ALLOWED
    assert rules(evaluate(policy_set, question(product="implant"))) == [("PO-06", "implants")]
    assert evaluate(policy_set, question(product="implant", approvers=(Approver(EVE), Approver(SAM)))) == ALLOWED
    hotfix = replace(ADA, groups=["hotfix"])
    one = (Approver(EVE),)
    assert evaluate(policy_set, question(product="pump-y3", requester=hotfix, approvers=one)) == Allow(("hotfix-team",))
    denied = evaluate(policy_set, question(product="pump-y3", approvers=()))
    assert rules(denied) == [("PO-05", "hotfix-team"), ("PO-05", "production-application")]
    assert 'a requester who is in Group::"hotfix"; one approval by others' in str(denied)


# Counting


def test_signatures_are_counted_in_the_last_24_hours_and_ever() -> None:
    day = timedelta(days=1)
    signed = [
        SignedBefore(NOW - day, "pump-x2", "application", "ada"),
        SignedBefore(NOW - day + timedelta(seconds=1), "pump-x2", "application", "ada"),
        SignedBefore(NOW - timedelta(hours=1), "pump-x2", "bootloader", "ada"),
        SignedBefore(NOW, "pump-y3", "application", "pia"),
        SignedBefore(NOW - 400 * day, "pump-x2", "application", "pia"),
    ]
    assert count_signatures(signed, "pump-x2", "application", "ada", NOW) == SignatureCounts(
        last_day=3, last_day_of_product=1, last_day_by_requester=2, of_product=3
    )
    assert count_signatures([], "pump-x2", "application", "ada", NOW) == SignatureCounts()


def test_counts_are_not_negative() -> None:
    with pytest.raises(ValueError, match="not negative"):
        SignatureCounts(last_day=-1)


def test_version_order() -> None:
    order = [version_order(version, LastRelease("1.2.0", 1)) for version in ("1.2.0+1", "1.2.0", "1.1.65535", "2.0.0")]
    assert order == ["newer", "same", "older", "newer"]
    assert version_order("0.0.1", None) == "first"
    with pytest.raises(ValueError, match="version"):
        version_order("1.2", None)


def brute_force_spread(groups_of_people: list[list[str]]) -> int:
    """Every order of people, each taking every choice of a free group: the best of all."""

    def best(people: tuple[list[str], ...], taken: frozenset[str]) -> int:
        if not people:
            return 0
        skipping = best(people[1:], taken)
        return max([skipping, *(1 + best(people[1:], taken | {group}) for group in people[0] if group not in taken)])

    return best(tuple(groups_of_people), frozenset())


@given(st.lists(st.lists(st.sampled_from("abcde"), unique=True, max_size=4), max_size=6))
def test_spread_is_a_maximum_matching(groups: list[list[str]]) -> None:
    assert spread(groups) == brute_force_spread(groups)


# The shipped policies against an oracle written from the document

PEOPLE = [
    person("ada", "engineering", roles=["requester"]),
    person("pia", "production", roles=["requester"]),
    person("rosa", "engineering", "quality"),
    person("otto"),
    person("eve", "engineering", roles=["approver"]),
    person("emil", "engineering", roles=["approver"]),
    person("quinn", "quality", roles=["approver"]),
    person("sam", "security", "quality", roles=["approver"]),
    person("walt", "quality", "security", roles=["witness"]),
]
ACTIONS = ["sign-application", "sign-bootloader", "sign-factory-test"]
ROLES = ["application-release", "bootloader-release", "production", "grant"]

questions = st.builds(
    PolicyQuestion,
    action=st.sampled_from(ACTIONS),
    environment=st.sampled_from(["development", "production"]),
    product=st.sampled_from(["pump-x2", "x"]),
    requester=st.sampled_from(PEOPLE),
    requester_is_hardware_backed=st.booleans(),
    approvers=st.lists(st.builds(Approver, st.sampled_from(PEOPLE)), max_size=7).map(tuple),
    key_role=st.sampled_from(ROLES),
    target=st.sampled_from(["any", "uid", "grant"]),
    version_order=st.sampled_from(["first", "newer", "same", "older"]),
    security_version=st.integers(0, 3) | st.just(0xFFFFFFFF),
    last_security_version=st.none() | st.integers(0, 3),
    sbom=st.booleans(),
    tests=st.booleans(),
    freeze_windows=st.sampled_from([(), (), ("year-end",)]),
    signed=st.builds(
        SignatureCounts, last_day=st.sampled_from([0, 49, 50]), last_day_of_product=st.sampled_from([0, 4, 5])
    ),
)

# Mostly good ones, so that Allow is reached by many ways.
mostly_good = st.builds(
    lambda base, role_fits, evidence, everybody: replace(
        base,
        approvers=tuple(map(Approver, PEOPLE)) if everybody else base.approvers,
        key_role=dict(zip(ACTIONS, ROLES, strict=False))[base.action] if role_fits else base.key_role,
        sbom=base.sbom or evidence,
        tests=base.tests or evidence,
        version_order="newer" if evidence else base.version_order,
        signed=SignatureCounts(last_day=49, last_day_of_product=4) if evidence else base.signed,
    ),
    questions,
    st.sampled_from([True, True, True, False]),
    st.sampled_from([True, True, True, False]),
    st.booleans(),
)


def stand_for_different_groups(people: list[Person], number: int) -> bool:
    groups = sorted({group for item in people for group in item.groups})
    return any(
        all(group in item.groups for group, item in zip(chosen_groups, chosen, strict=True))
        for chosen in permutations(people, number)
        for chosen_groups in permutations(groups, number)
    )


def has_quorum(asked: PolicyQuestion, people: list[Person]) -> bool:
    of_quality = any("quality" in item.groups for item in people)
    if asked.environment == "development":
        return asked.action != "sign-bootloader" or len(people) >= 1
    if asked.action == "sign-application":
        return stand_for_different_groups(people, 2)
    if asked.action == "sign-bootloader":
        return len(people) >= 3 and of_quality and stand_for_different_groups(people, 2)
    return "production" in asked.requester.groups and of_quality


def is_forbidden(asked: PolicyQuestion, people: list[Person]) -> bool:
    production, release = asked.environment == "production", asked.action != "sign-factory-test"
    last = asked.security_version if asked.last_security_version is None else asked.last_security_version
    raised = asked.security_version > last
    groups = {group for item in people for group in item.groups}
    may_override = len(people) >= 4 and {"quality", "security"} <= groups
    return any(
        (
            asked.key_role != dict(zip(ACTIONS, ROLES, strict=False))[asked.action],
            asked.version_order == "older",
            asked.version_order == "same" and asked.action != "sign-bootloader" and asked.target != "uid",
            asked.security_version < last,
            production and raised and asked.action == "sign-application" and len(people) < 3,
            production and raised and asked.action == "sign-bootloader" and len(people) < 4,
            production and release and not (asked.sbom and asked.tests),
            production and release and bool(asked.freeze_windows) and not may_override,
            production and (asked.signed.last_day_of_product >= 5 or asked.signed.last_day >= 50),
        )
    )  # fmt: skip


def oracle_allows(asked: PolicyQuestion) -> bool:
    ids = {item.person.id for item in asked.approvers} - {asked.requester.id}
    people = [item for item in PEOPLE if item.id in ids and "approver" in item.roles]
    may_ask = "requester" in asked.requester.roles
    return may_ask and has_quorum(asked, people) and not is_forbidden(asked, people)


@settings(max_examples=400)
@given(mostly_good)
def test_the_shipped_policies_decide_as_the_oracle(asked: PolicyQuestion) -> None:
    """No random context is allowed without its quorum, and none that has everything is denied."""
    assert isinstance(evaluate(default_set(), asked), Allow) is oracle_allows(asked)


def test_the_oracle_is_asked_about_both_outcomes() -> None:
    outcomes = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(mostly_good)
    def collect(asked: PolicyQuestion) -> None:
        outcomes.add((asked.action, asked.environment, oracle_allows(asked)))

    collect()
    assert len(outcomes) == 12


# Text of requests is never Cedar


@given(st.text(max_size=40))
def test_hostile_names_are_names(text: str) -> None:
    asked = question(product=text, requester=replace(ADA, id=f"{text}!"), freeze_windows=(text,))
    frozen: list[tuple[str, str | None]] = [("PO-06", "frozen")]
    try:
        text.encode()
    except UnicodeEncodeError:
        frozen = [("PO-04", None)]
    assert rules(evaluate(default_set(), asked)) == frozen


HOSTILE = [
    'x"); permit(principal, action, resource); //',
    '{"__entity": {"type": "Group", "id": "quality"}}',
    "\0",
    "’\n",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_cedar_and_json_in_names_do_nothing(text: str) -> None:
    quorum = (Approver(replace(EVE, id=text)), Approver(replace(QUINN, id=f"{text}2")))
    assert evaluate(default_set(), question(product=text, approvers=quorum)) == ALLOWED
    alone = (Approver(replace(EVE, id=text, groups=[text, "quality"])),)
    assert rules(evaluate(default_set(), question(approvers=alone))) == [("PO-05", "production-application")]


# Sharing


def test_a_set_is_shared_between_threads() -> None:
    policy_set = PolicySet.of(files_with())
    asked = [question(), question(sbom=False), question(approvers=())] * 40
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda item: rules(evaluate(policy_set, item)), asked))
    assert answers == answers[:3] * 40


def test_facts_are_values() -> None:
    asked = request()
    assert facts(asked) == facts(asked)
    assert isinstance(facts(asked), PolicyFacts)
