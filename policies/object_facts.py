"""What policies are told of an object, and the decision about a request for one (docs/spec/object-requests.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from policies.authentication import AuthenticApproval, AuthenticObjectRequest
from policies.decision import Deny, PolicyDecision
from policies.evaluation import evaluate, in_force
from policies.facts import KeyFact, SignatureCounts
from policies.object_request import Fact, ObjectKind
from policies.policy_set import PolicySet
from policies.question import ACTION_OF_KIND, Approver, ObjectQuestion
from policies.request import EnvironmentName
from policies.statement import parse_time

_DAY = timedelta(days=1)

PolicyFact = int | str | bool


class ObjectFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about one request. `environment` is this authority's; `keys` are those that the request names."""

    environment: EnvironmentName
    keys: tuple[KeyFact, ...]
    signed: SignatureCounts


def policy_facts(kind: ObjectKind, facts: Mapping[str, Fact], now: datetime) -> dict[str, PolicyFact]:
    """The facts of an object as policies see them: numbers, and names that the schema enumerates.

    `valid_days` are the days from `now` to the end of the order, the begun one counted whole; 0 when it is over.
    """
    if kind == "work-order":
        left = max(timedelta(0), parse_time(facts["order_not_after"], "order_not_after") - now)
        return {
            "quota": int(facts["quota"]),
            "stations": int(facts["stations"]),
            "valid_days": -(-left // _DAY),
            "injects_keys": facts["inject"] != "none",
        }
    if kind == "service-order":
        return {"service_action": str(facts["action"])}
    return {"devices": int(facts["devices"])}


def decide_object(
    policy_set: PolicySet,
    request: AuthenticObjectRequest,
    approvals: Sequence[AuthenticApproval],
    facts: ObjectFacts,
    now: datetime,
) -> PolicyDecision:
    """Allow, or Deny with every reason (docs/spec/policies.md, "Decision"). Denies unless the engine clearly allows."""
    violations = tuple(in_force(policy_set, request.request, facts.environment, facts.keys))
    if violations:
        return Deny(violations)
    return evaluate(policy_set, object_question(policy_set, request, approvals, facts, now))


def object_question(
    policy_set: PolicySet,
    request: AuthenticObjectRequest,
    approvals: Sequence[AuthenticApproval],
    facts: ObjectFacts,
    now: datetime,
) -> ObjectQuestion:
    """The question that policies are asked about a request whose facts fit it."""
    asked = request.request
    return ObjectQuestion(
        action=ACTION_OF_KIND[asked.kind],
        environment=facts.environment,
        product=asked.product,
        requester=request.requester,
        requester_is_hardware_backed=request.is_hardware_backed,
        approvers=tuple(
            Approver(item.approver, item.is_hardware_backed)
            for item in approvals
            if item.approval.request_digest == asked.digest
        ),
        key_role=facts.keys[0].role,
        freeze_windows=policy_set.calendar.open_windows(asked.product, now),
        signed=facts.signed,
        facts=policy_facts(asked.kind, asked.facts, now),
    )
