"""Examining a policy set with its test table: every case, and whether every policy and every clause matters in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from policies.cedar import CedarAnswer, CedarEngine, CedarQuery
from policies.policy_file import Policy
from policies.policy_rules import PolicyFinding, policy_finding
from policies.policy_set import FILE_SIZE_BYTES_MAX, TESTS_FILE, PolicySet, read_policy_set
from policies.test_table import CaseWithPeople, parse_test_table


@dataclass(frozen=True)
class PolicyExamination:
    """What `policy check` found. `policy_set` is None if the set cannot be used at all."""

    policy_set: PolicySet | None
    case_count: int
    findings: tuple[PolicyFinding, ...]


@dataclass(frozen=True)
class _Passed:
    """A case that passes: its decision, the policies that determine it, and the query it makes."""

    allowed: bool
    policy_ids: tuple[str, ...]
    query: CedarQuery


def examine_policies(files: Mapping[str, bytes]) -> PolicyExamination:
    """Everything that is wrong with the files of `policies/`: PO-10 to PO-24."""
    policy_set, findings = read_policy_set(files)
    if policy_set is None:
        return PolicyExamination(None, 0, tuple(findings))
    try:
        cases = read_test_table(files)
    except ValueError as error:
        return PolicyExamination(policy_set, 0, (policy_finding("PO-20", TESTS_FILE, str(error)),))
    return PolicyExamination(policy_set, len(cases), tuple(examine_cases(policy_set, cases)))


def read_test_table(files: Mapping[str, bytes]) -> tuple[CaseWithPeople, ...]:
    """The cases of the folder's test table. ValueError."""
    if TESTS_FILE not in files:
        raise ValueError("is missing: policies without tests are not used for long")
    if len(files[TESTS_FILE]) > FILE_SIZE_BYTES_MAX:
        raise ValueError(f"has more than {FILE_SIZE_BYTES_MAX} bytes")
    return parse_test_table(files[TESTS_FILE])


def examine_cases(policy_set: PolicySet, cases: Sequence[CaseWithPeople]) -> Iterator[PolicyFinding]:
    """PO-21 and PO-22 for each case, then PO-23 and PO-24 for each policy."""
    passed = []
    for item in cases:
        query = item.question.cedar_query()
        answer = policy_set.engine.ask(query)
        wrong = wrong_with(item, answer)
        yield from wrong
        if not wrong:
            passed.append(_Passed(answer.allowed, answer.policy_ids, query))
    for policy in policy_set.policies:
        alone = [case for case in passed if case.policy_ids == (policy.id,)]
        if not _is_decisive(policy_set.engine_with({policy.id: None}), alone):
            yield policy_finding(
                "PO-23", policy.file, f"{policy.id}: no case is decided otherwise without it; add one, or remove it"
            )
        else:
            yield from _idle_clauses(policy_set, policy, passed)


def wrong_with(item: CaseWithPeople, answer: CedarAnswer) -> list[PolicyFinding]:
    """What is wrong with an answer to a case: PO-21 or PO-22, or nothing."""
    place = f"{TESTS_FILE}, {item.case.name!r}"
    if answer.errors:
        return [policy_finding("PO-21", place, f"cannot be evaluated: {'; '.join(answer.errors)}")]
    decided = "allow" if answer.allowed else "deny"
    determined = _listed(answer.policy_ids)
    if decided != item.case.expect:
        return [policy_finding("PO-21", place, f"expected {item.case.expect}, but it is {decided}, by {determined}")]
    if list(answer.policy_ids) != sorted(item.case.rules):
        text = f"expected to be decided by {_listed(item.case.rules)}, but it is by {determined}"
        return [policy_finding("PO-22", place, text)]
    return []


def _is_decisive(without: CedarEngine, cases: Sequence[_Passed]) -> bool:
    """Whether the decision of some case is the other one without something."""
    return any(without.ask(case.query).allowed is not case.allowed for case in cases)


def _idle_clauses(policy_set: PolicySet, policy: Policy, passed: Sequence[_Passed]) -> Iterator[PolicyFinding]:
    """PO-24. Without a clause a policy applies to more: a permit can turn a bare Deny, a forbid can turn an Allow."""
    could_turn = [case for case in passed if (not case.policy_ids if policy.is_permit else case.allowed)]
    clauses = policy.clauses
    for number in range(len(clauses)):
        rest = policy.with_clauses(clauses[:number] + clauses[number + 1 :])
        if not _is_decisive(policy_set.engine_with({policy.id: rest}), could_turn):
            text = f"{policy.id}: no case is decided otherwise without its clause {number + 1}; add one, or remove it"
            yield policy_finding("PO-24", policy.file, text)


def _listed(policy_ids: Sequence[str]) -> str:
    return ", ".join(sorted(policy_ids)) or "no policy"
