"""One question to the policies, complete: who asks for what, who agrees, and every fact. And how Cedar is told."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from policies.cedar import CedarQuery
from policies.facts import SignatureCounts
from policies.people import Person

ACTION_OF_KIND = {
    "application": "sign-application",
    "bootloader": "sign-bootloader",
    "factory-test": "sign-factory-test",
    "work-order": "sign-work-order",
    "service-order": "sign-service-order",
    "grant-batch": "sign-grant-batch",
}
_TALLY = "approvals"


class Approver(msgspec.Struct, frozen=True):
    """Somebody who approved, and whether with a key in hardware (an SSH `sk-` key)."""

    person: Person
    is_hardware_backed: bool = False


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of every kind. Names and meanings as in docs/spec/policies.md, "What a policy sees"."""

    action: str
    environment: str
    product: str
    requester: Person
    requester_is_hardware_backed: bool
    approvers: tuple[Approver, ...]
    key_role: str
    freeze_windows: tuple[str, ...]
    signed: SignatureCounts

    @property
    def counted_approvers(self) -> tuple[Approver, ...]:
        """Those whose approval counts, each once: with role approver, the requester not among them."""
        by_id = {approver.person.id: approver for approver in self.approvers}
        return tuple(
            approver
            for person_id, approver in sorted(by_id.items())
            if person_id != self.requester.id and "approver" in approver.person.roles
        )

    def cedar_query(self) -> CedarQuery:
        """The question as Cedar's JSON: every text is a JSON value, none becomes part of a policy."""
        request = {
            "principal": _uid("Person", self.requester.id),
            "action": _uid("Action", self.action),
            "resource": _uid("Product", self.product),
            "context": json.dumps(self._context()),
        }
        return CedarQuery(request, json.dumps(self._entities()))

    def _context(self) -> dict[str, Any]:
        approvers = self.counted_approvers
        return {
            "approvals": {
                "count": len(approvers),
                "spread": spread([approver.person.groups for approver in approvers]),
                "hardware_backed": sum(approver.is_hardware_backed for approver in approvers),
                "by": [_uid("Person", approver.person.id) for approver in approvers],
                "of_group": _uid("Tally", _TALLY),
            },
            "requester_is_hardware_backed": self.requester_is_hardware_backed,
            "key_role": _uid("KeyRole", self.key_role),
            "freeze": {"in_force": bool(self.freeze_windows), "windows": list(self.freeze_windows)},
            "signed": {
                "last_day": self.signed.last_day,
                "last_day_of_product": self.signed.last_day_of_product,
                "last_day_by_requester": self.signed.last_day_by_requester,
                "of_product": self.signed.of_product,
            },
        }

    def _entities(self) -> list[dict[str, Any]]:
        approvers = [approver.person for approver in self.counted_approvers]
        tally = Counter(group for person in approvers for group in person.groups)
        return [
            *(_person(person) for person in (*approvers, self.requester)),
            _record("Product", self.product, [_uid("Environment", self.environment)]),
            {**_record("Tally", _TALLY, []), "tags": dict(tally)},
        ]


class PolicyQuestion(Question, frozen=True, kw_only=True):
    """A question about a package.

    `target` is "any", "uid" or "grant"; `version_order` as `facts.version_order` says; `last_security_version` is None
    without a last release.
    """

    target: str
    version_order: str
    security_version: int
    last_security_version: int | None
    sbom: bool
    tests: bool

    def _context(self) -> dict[str, Any]:
        before = self.security_version if self.last_security_version is None else self.last_security_version
        return {
            **super()._context(),
            "target": _uid("Target", self.target),
            "version": _uid("VersionOrder", self.version_order),
            "security_version": self.security_version,
            "last_security_version": before,
            "evidence": {"sbom": self.sbom, "tests": self.tests},
        }


class ObjectQuestion(Question, frozen=True, kw_only=True):
    """A question about an object other than a package; `facts` as `object_facts.policy_facts` gives them."""

    facts: dict[str, int | str | bool]

    def _context(self) -> dict[str, Any]:
        told = {
            name: _uid("ServiceAction", str(value)) if name == "service_action" else value
            for name, value in self.facts.items()
        }
        return {**super()._context(), **told}


def spread(groups_of_people: list[list[str]]) -> int:
    """The most different groups that people can stand for, each for one of theirs: a maximum bipartite matching."""
    stands_for: dict[str, int] = {}

    def finds_group(person: int, tried: set[str]) -> bool:
        for group in groups_of_people[person]:
            if group not in tried:
                tried.add(group)
                if group not in stands_for or finds_group(stands_for[group], tried):
                    stands_for[group] = person
                    return True
        return False

    return sum(finds_group(person, set()) for person in range(len(groups_of_people)))


def _person(person: Person) -> dict[str, Any]:
    roles = [_uid("PersonRole", role) for role in person.roles]
    return _record("Person", person.id, [*roles, *(_uid("Group", group) for group in person.groups)])


def _record(kind: str, identifier: str, parents: list[dict[str, str]]) -> dict[str, Any]:
    return {"uid": _uid(kind, identifier), "attrs": {}, "parents": parents}


def _uid(kind: str, identifier: str) -> dict[str, str]:
    """In the context, the schema says that this is an entity and not a record."""
    return {"type": kind, "id": identifier}
