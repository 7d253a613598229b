"""The shipped policies: they pass their own check, and their test table notices every small change of a rule."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from policies.cedar import PolicyForm
from policies.evaluation import evaluate
from policies.policy_set import TESTS_FILE
from policies.policy_tests import examine_policies, read_test_table, wrong_with
from signer.authority.policy_folder import shipped_policies
from tests.unit.policies.policy_world import default_files, default_set

CASES = read_test_table(default_files())
QUERIES = [(item, item.question.cedar_query()) for item in CASES]
OPPOSITES = {">=": ">", ">": ">=", "<": "<=", "<=": "<", "==": "!=", "!=": "==", "&&": "||", "||": "&&"}


def is_noticed(instead: dict[str, PolicyForm | None]) -> bool:
    """Whether some case turns red with policies in another form."""
    engine = default_set().engine_with(instead)
    return any(wrong_with(item, engine.ask(query)) for item, query in QUERIES)


def test_they_pass_their_own_check() -> None:
    examination = examine_policies(default_files())
    assert examination.findings == ()
    assert examination.case_count == len(CASES) > 50


def test_they_are_what_init_writes() -> None:
    assert {name: text.encode() for name, text in shipped_policies().items()} == default_files()


def test_the_untouched_set_is_the_negative_control() -> None:
    assert not is_noticed({})
    assert not is_noticed({policy.id: policy.form for policy in default_set().policies})


def test_every_base_of_the_table_is_allowed_as_it_stands() -> None:
    """So each deny that starts from one is denied for its change alone."""
    allowed = {(item.question.action, item.question.environment) for item in CASES if item.case.expect == "allow"}
    assert len(allowed) == 12


@pytest.mark.parametrize("policy_id", [policy.id for policy in default_set().policies])
def test_each_policy_removed_or_turned_around_is_noticed(policy_id: str) -> None:
    form = default_set().by_id[policy_id].form
    assert is_noticed({policy_id: None})
    assert is_noticed({policy_id: {**form, "effect": "forbid" if form["effect"] == "permit" else "permit"}})


def mutations(form: PolicyForm) -> Iterator[tuple[str, PolicyForm]]:
    """One small change each: clauses dropped or turned, scopes widened, numbers moved, operators, names exchanged."""
    for part in ("principal", "action", "resource"):
        if form[part] != {"op": "All"}:
            yield f"any {part}", {**form, part: {"op": "All"}}
    for number, clause in enumerate(form["conditions"]):
        others = form["conditions"][:number], form["conditions"][number + 1 :]
        turned = {**clause, "kind": "unless" if clause["kind"] == "when" else "when"}
        yield f"clause {number + 1} dropped", {**form, "conditions": [*others[0], *others[1]]}
        yield f"clause {number + 1} turned", {**form, "conditions": [*others[0], turned, *others[1]]}
    for path, value in walk(form["conditions"], ()):
        for other in changed(value):
            mutant = copy.deepcopy(dict(form))
            put(mutant["conditions"], path, other)
            yield f"{'/'.join(map(str, path))}: {json.dumps(value)[:40]} to {json.dumps(other)[:40]}", mutant


def walk(part: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = enumerate(part) if isinstance(part, list) else part.items() if isinstance(part, dict) else ()
    for key, value in items:
        yield (*path, key), value
        yield from walk(value, (*path, key))


def changed(value: Any) -> Iterator[Any]:
    if not isinstance(value, dict):
        return
    literal = value.get("Value")
    if isinstance(literal, int) and not isinstance(literal, bool):
        yield {"Value": literal + 1}
        yield {"Value": literal - 1}
    elif isinstance(literal, str):
        yield {"Value": f"{literal}-x"}
    for operator, opposite in OPPOSITES.items():
        if operator in value:
            yield {opposite: value[operator]}
            if operator in {"&&", "||"}:
                yield value[operator]["left"]
                yield value[operator]["right"]


def put(part: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value


MUTANTS = [(policy.id, what, mutant) for policy in default_set().policies for what, mutant in mutations(policy.form)]


def test_there_are_many_mutants() -> None:
    assert len(MUTANTS) > 120


def test_every_mutant_is_noticed() -> None:
    survivors = [f"{policy_id}: {what}" for policy_id, what, mutant in MUTANTS if not is_noticed({policy_id: mutant})]
    assert survivors == []


def test_the_table_is_decided_by_the_function_that_decides_requests() -> None:
    for item in CASES:
        fields = evaluate(default_set(), item.question).fields()
        assert (fields["decision"], fields["policy_ids"]) == (item.case.expect, sorted(item.case.rules)), item.case.name


def test_no_case_is_left_of_the_table_file() -> None:
    assert default_files()[TESTS_FILE].count(b"\n[[cases]]\n") == len(CASES)
