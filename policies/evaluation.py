"""The decision about one request: what must hold before policies are asked, then the engine, then reasons in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from policies.authentication import AuthenticApproval, AuthenticRequest
from policies.decision import Allow, Deny, PolicyDecision, Violation
from policies.facts import KeyFact, PolicyFacts, version_order
from policies.object_request import ObjectRequest
from policies.policy_set import PolicySet
from policies.question import ACTION_OF_KIND, Approver, PolicyQuestion, Question
from policies.request import EnvironmentName, SigningRequest


def decide(
    policy_set: PolicySet,
    request: AuthenticRequest,
    approvals: Sequence[AuthenticApproval],
    facts: PolicyFacts,
    now: datetime,
) -> PolicyDecision:
    """Allow, or Deny with every reason (docs/spec/policies.md, "Decision"). Denies unless the engine clearly allows."""
    violations = tuple(in_force(policy_set, request.request, facts.environment, facts.keys))
    if violations:
        return Deny(violations)
    return evaluate(policy_set, question_of(policy_set, request, approvals, facts, now))


def question_of(
    policy_set: PolicySet,
    request: AuthenticRequest,
    approvals: Sequence[AuthenticApproval],
    facts: PolicyFacts,
    now: datetime,
) -> PolicyQuestion:
    """The question that policies are asked about a request whose facts fit it."""
    asked = request.request
    last = facts.last_release
    digest = asked.digest
    return PolicyQuestion(
        action=ACTION_OF_KIND[asked.kind],
        environment=facts.environment,
        product=asked.product,
        requester=request.requester,
        requester_is_hardware_backed=request.is_hardware_backed,
        approvers=tuple(
            Approver(item.approver, item.is_hardware_backed)
            for item in approvals
            if item.approval.request_digest == digest
        ),
        key_role=facts.keys[0].role,
        target=asked.target.partition(":")[0],
        version_order=version_order(asked.version, last),
        security_version=asked.security_version,
        last_security_version=None if last is None else last.security_version,
        sbom=asked.sbom_digest is not None and facts.sbom_present,
        tests=asked.test_evidence_digest is not None and facts.test_evidence_present,
        freeze_windows=policy_set.calendar.open_windows(asked.product, now),
        signed=facts.signed,
    )


def evaluate(policy_set: PolicySet, question: Question) -> PolicyDecision:
    """What the policies say to a question: PO-04 to PO-06."""
    query = question.cedar_query()
    answer = policy_set.engine.ask(query)
    if answer.allowed:
        return Allow(answer.policy_ids)
    if answer.errors:
        return Deny(tuple(Violation("PO-04", None, f"cannot be evaluated: {text}") for text in answer.errors))
    forbidding = [policy_set.by_id[policy_id] for policy_id in answer.policy_ids]
    violations = [Violation("PO-06", policy.id, policy.text) for policy in forbidding]
    near_misses = policy_set.permit_probe.near_misses(query)
    if not any(item.is_met for item in near_misses):
        violations += [Violation("PO-05", item.policy.id, f"needs {'; '.join(item.unmet)}") for item in near_misses]
    if not near_misses:
        text = f"no policy permits {question.action} for {question.product} in {question.environment}"
        violations.append(Violation("PO-05", None, text))
    return Deny(tuple(violations))


def in_force(
    policy_set: PolicySet, asked: SigningRequest | ObjectRequest, environment: EnvironmentName, keys: Sequence[KeyFact]
) -> Iterator[Violation]:
    """What must hold before policies are asked: PO-01 to PO-03."""
    if asked.environment != environment:
        text = f"the request is for {asked.environment}, this authority is for {environment}"
        yield Violation("PO-01", None, text)
    if asked.policy_digest != policy_set.digest:
        text = f"made under policy set {asked.policy_digest.hex()[:16]}…, in force is {policy_set.digest.hex()[:16]}…"
        yield Violation("PO-02", None, f"{text}; make a new request, and have it approved")
    if sorted(key.key_id for key in keys) != sorted(asked.key_ids):
        yield Violation("PO-03", None, "the keys examined are not those that the request names")
    elif len({key.role for key in keys}) != 1:
        yield Violation("PO-03", None, "the keys that the request names have several roles")
    for key in keys:
        if key.product not in {None, asked.product}:
            yield Violation("PO-03", None, f"key {key.label} is of product {key.product!r}, not {asked.product!r}")
