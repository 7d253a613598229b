"""A decision in words: what was asked, what is known, which policies allowed or denied, and why others did not."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import msgspec

from policies.decision import Allow, PolicyDecision
from policies.evaluation import evaluate
from policies.near_misses import NearMiss
from policies.policy_file import Policy
from policies.policy_set import PolicySet
from policies.question import Approver, ObjectQuestion, PolicyQuestion, Question, spread

_LABEL_WIDTH = 18
_LINE_WIDTH = 110
_ORDER_WORDS = {
    "first": "there is no release yet",
    "newer": "newer than the last release",
    "same": "the same as the last release",
    "older": "older than the last release",
}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A question, its decision, and every policy that had a say or came near.

    `permits` are those for this action and resource, each with what it lacks; `silent` the forbids that did not apply.
    """

    question: Question
    decision: PolicyDecision
    permits: tuple[NearMiss, ...]
    forbidding: tuple[Policy, ...]
    silent: tuple[Policy, ...]

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **self.decision.fields(),
            "question": _question_fields(self.question),
            "permits": [
                {"policy_id": item.policy.id, "text": item.policy.text, "met": item.is_met, "unmet": list(item.unmet)}
                for item in self.permits
            ],
            "forbids": [{"policy_id": item.id, "text": item.text} for item in self.forbidding],
            "silent_forbids": [item.id for item in self.silent],
        }

    def text(self) -> str:
        """For people: the decision first, then the reasons, then what was known."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        asked = self.question
        allowed = isinstance(self.decision, Allow)
        verdict = "ALLOW" if allowed else "DENY"
        yield f"{verdict}: {asked.action} for {asked.product} in {asked.environment}, asked for by {asked.requester.id}"
        yield from (f"  [{item.rule_id}] {item}" for item in getattr(self.decision, "violations", ()))
        word = "permitted" if allowed else "it would be permitted"
        yield from (f"  {word} by {item.policy.id}: {item.policy.text}" for item in self.permits if item.is_met)
        yield "\nWhat is known"
        yield from (f"  {label.ljust(_LABEL_WIDTH)} {value}" for label, value in _known(asked))
        if self.silent:
            yield "\nPolicies that forbid other things"
            names = ", ".join(policy.id for policy in self.silent)
            yield from (f"  {line}" for line in wrap(names, _LINE_WIDTH, break_on_hyphens=False))


def explain(policy_set: PolicySet, question: Question, decision: PolicyDecision | None = None) -> Explanation:
    """Explain what the policies say to a question; `decision` is one that was made before policies were asked."""
    if decision is None:
        decision = evaluate(policy_set, question)
    forbidding = {item for item in decision.policy_ids if not policy_set.by_id[item].is_permit}
    forbids = [policy for policy in policy_set.policies if not policy.is_permit]
    return Explanation(
        question=question,
        decision=decision,
        permits=policy_set.permit_probe.near_misses(question.cedar_query()),
        forbidding=tuple(policy for policy in forbids if policy.id in forbidding),
        silent=tuple(policy for policy in forbids if policy.id not in forbidding),
    )


def _known(asked: Question) -> Iterator[tuple[str, str]]:
    requester = Approver(asked.requester, asked.requester_is_hardware_backed)
    yield "requester", f"{_person(requester)}; roles {', '.join(asked.requester.roles)}"
    approvers = asked.counted_approvers
    groups = spread([approver.person.groups for approver in approvers])
    names = "; ".join(map(_person, approvers))
    yield "approvals", f"{len(approvers)}, standing for {groups} groups: {names}" if approvers else "none that count"
    yield "keys", asked.key_role
    if isinstance(asked, PolicyQuestion):
        yield from _known_of_package(asked)
    if isinstance(asked, ObjectQuestion):
        yield from ((name.replace("_", " "), str(value)) for name, value in asked.facts.items())
    yield "freeze windows", ", ".join(asked.freeze_windows) or "none open"
    signed = asked.signed
    of_product = f"{signed.last_day_of_product} of this product and kind ({signed.of_product} ever)"
    by_requester = f"{signed.last_day_by_requester} for this requester"
    yield "signed in 24 hours", f"{signed.last_day} requests; {of_product}; {by_requester}"


def _known_of_package(asked: PolicyQuestion) -> Iterator[tuple[str, str]]:
    yield "target", asked.target
    yield "version", _ORDER_WORDS.get(asked.version_order, asked.version_order)
    last = "" if asked.last_security_version is None else f", last release {asked.last_security_version}"
    yield "security version", f"{asked.security_version}{last}"
    yield "evidence", f"SBOM {_yes(asked.sbom)}, tests {_yes(asked.tests)}"


def _question_fields(asked: Question) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(asked)
    fields["requester"] = asked.requester.id
    fields["approvers"] = [approver.person.id for approver in asked.counted_approvers]
    return fields


def _person(approver: Approver) -> str:
    groups = ", ".join(approver.person.groups) or "in no group"
    return f"{approver.person.id} ({groups}{', key in hardware' if approver.is_hardware_backed else ''})"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
