"""What a plan may say, and how it becomes a script: CE-02 to CE-07, each by a small change of a plan that passes."""

from __future__ import annotations

import re

import pytest

from ceremonies.plan import KINDS, parse_plan
from ceremonies.script import holder
from ceremonies.script_text import script_text
from cli.ceremony_files import new_plan_text, shipped_plans
from pki.errors import ConfigurationError
from tests.unit.ceremonies.plans import PLAN, script_of


def test_the_small_plan_passes() -> None:
    script = script_of()
    assert [step.id for step in script.steps] == [
        *("present-ada", "present-bob", "present-cy", "opening", "heard", "unlock", "look", "make", "closing"),
    ]
    assert script.title == "Issue of sr:root:-:0001"
    assert script.steps[-2].parameters == {"label": "sr:root:-:0001", "token": "one"}


CHANGES = [
    ("CE-02", "kind: role-key-issue", "kind: something"),
    ("CE-02", "purpose: A key.", "purpose: A key.\nunknown: x"),
    ("CE-02", "purpose: A key.\n", ""),
    ("CE-02", "format: strongroom-ceremony-plan-1", "format: strongroom-ceremony-plan-2"),
    ("CE-02", "{id: closing, who: operator, say: Done.}", "{id: closing, who: operator}"),
    ("CE-02", "say: Done.}", "say: Done., unlock: one}"),
    ("CE-02", "say: Done.}", "say: Done., with: {x: y}}"),
    ("CE-02", "type: the digest agrees", "kind: the digest agrees"),
    ("CE-02", "type: the digest agrees", "type: y"),
    ("CE-02", "id: closing", "id: opening"),
    ("CE-02", "who: witness-1", "who: witness-2"),
    ("CE-02", "who: witness-1", "who: witness"),
    ("CE-02", "who: witness-1", "who: custodian-1"),
    ("CE-02", "witness: {minimum: 1}", "witness: {minimum: 2, maximum: 1}"),
    ("CE-02", "witness: {minimum: 1}", "witness: {minimum: 0}"),
    ("CE-02", "assignment: {operator: [ada]", "assignment: {custodian: [ada], operator: [ada]"),
    ("CE-02", "  site: main", "  site: main\n  date: 27.11.2026"),
    ("CE-03", "token: one}", "token: three}"),
    ("CE-03", 'label: "sr:root:-:0001"', "label: sr:root"),
    ("CE-03", 'label: "sr:root:-:0001", ', ""),
    ("CE-03", "token: one}", "token: one, other: x}"),
    ("CE-03", "say: This is <name>.", "say: This is <nobody>."),
    ("CE-03", 'label: "sr:root:-:0001"', "label: 7"),
    ("CE-04", "witness: [bob, cy]", "witness: [ada]"),
    ("CE-04", "witness: [bob, cy]", "witness: [zoe]"),
    ("CE-05", "witness: [bob, cy]", "witness: [bob, bob]"),
    ("CE-06", "witness: [bob, cy]}", "witness: []}"),
    ("CE-06", "operator: [ada]", "operator: [ada, bob]"),
    ("CE-07", "run: check-token", "run: burn-token"),
    ("CE-07", "with: {token: <token>}}", "with: {token: <token>, colour: red}}"),
    ("CE-07", "with: {token: <token>}}", "with: {}}"),
    ("CE-07", "unlock: <token>", "unlock: three"),
    ("CE-07", "id: opening", "id: present-zoe"),
]


@pytest.mark.parametrize(("rule", "old", "new"), CHANGES)
def test_a_small_change_is_refused_by_its_rule(rule: str, old: str, new: str) -> None:
    assert PLAN.count(old) >= 1
    changed = PLAN.replace(old, new, 1)
    with pytest.raises(ConfigurationError) as refused:
        script_of(changed)
    if rule == "CE-06" and "CE-02" in str(refused.value):
        return  # an empty list is not even a list of people
    assert f"[{rule}]" in str(refused.value)


def test_every_shipped_plan_passes_and_there_is_one_of_every_kind() -> None:
    plans = {name: parse_plan(text.encode(), name) for name, text in shipped_plans().items()}
    assert {plan.kind for plan in plans.values()} == set(KINDS)
    assert set(KINDS) <= set(plans)
    for text in shipped_plans().values():
        named = set(re.findall(r"<([a-z0-9-]+)>", text))
        declared = set(parse_plan(text.encode(), "plan").parameters) | {"name", "site"}
        assert named <= declared


def test_a_new_plan_is_the_shipped_one_and_its_own_part() -> None:
    shipped = shipped_plans()["role-key-issue"]
    values = {"label": 'quote " and \\', "days": 3}
    part = {"name": "x", "site": "main", "values": values, "assignment": {"operator": ["ada"]}}
    text = new_plan_text(shipped, part)
    assert text.startswith(shipped.rstrip("\n"))
    made = parse_plan(text.encode(), "plan").ceremony
    assert made is not None
    assert made.values == values


def test_parts_go_to_those_who_are_present() -> None:
    script = script_of()
    assert holder(script, "witness-1").id == "bob"
    assert holder(script, "witness-1", frozenset({"bob"})).id == "cy"


def test_the_printed_script_says_who_does_what() -> None:
    text = script_text(script_of(), bytes(range(32)), "development")
    assert "  1 of 9  operator (Ada Example): ROLL CALL" in text
    assert "Type:   the digest agrees" in text
    assert "THE PROGRAM ACTS (generate-key)" in text
    assert "  1  aardvark" in text
    assert bytes(range(32)).hex() in text
    assert max(map(len, text.splitlines())) <= 100
