"""Why no policy permitted: each permit that was meant for the question, and what it asks for that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from policies.cedar import CedarEngine, CedarQuery, PolicyForm, Schema
from policies.policy_file import Policy

_ANYONE = {"op": "All"}
_PRINCIPAL = 0
"""Where a permit's principal stands among its parts; its clauses follow, counted from 1."""


class NearMiss(msgspec.Struct, frozen=True):
    """A permit whose action and resource fit, and what it asks for that is not there, in words."""

    policy: Policy
    unmet: tuple[str, ...]

    @property
    def is_met(self) -> bool:
        """Whether it permits after all."""
        return not self.unmet


class PermitProbe:
    """Every part of every permit as a policy of its own, so that one evaluation tells which parts hold.

    A part holds if the engine names it; one that cannot be evaluated alone does not, which errs towards "not met".
    """

    def __init__(self, policies: Iterable[Policy], schema: Schema) -> None:
        self._permits = [policy for policy in policies if policy.is_permit]
        parts = {_name(policy, None): policy.with_clauses([], principal=_ANYONE) for policy in self._permits}
        for policy in self._permits:
            parts |= _parts(policy)
        self._engine = CedarEngine(parts, schema)

    def near_misses(self, query: CedarQuery) -> tuple[NearMiss, ...]:
        """The permits for this action and resource, in ascending order of id."""
        holding = set(self._engine.ask(query).policy_ids)
        return tuple(
            NearMiss(policy, tuple(_unmet(policy, holding)))
            for policy in self._permits
            if _name(policy, None) in holding
        )


def _parts(policy: Policy) -> dict[str, PolicyForm]:
    parts = {_name(policy, _PRINCIPAL): policy.with_clauses([])}
    for number, clause in enumerate(policy.clauses, start=1):
        parts[_name(policy, number)] = policy.with_clauses([clause], principal=_ANYONE)
    return parts


def _unmet(policy: Policy, holding: set[str]) -> list[str]:
    unmet = []
    if _name(policy, _PRINCIPAL) not in holding:
        unmet.append(f"a requester who is {_principal_words(policy.form['principal'])}")
    for number, words in enumerate(policy.needs, start=1):
        if _name(policy, number) not in holding:
            unmet.append(words)
    return unmet


def _name(policy: Policy, part: int | None) -> str:
    """Parts are named so that no policy's own id, which has no slash, can be one."""
    return f"{policy.id}/scope" if part is None else f"{policy.id}/{part}"


def _principal_words(principal: dict[str, Any]) -> str:
    """The principal constraint of a permit in words: `==`, `in`, or `is … in`."""
    if principal["op"] == "is":
        inner = principal.get("in", {}).get("entity")
        return f"a {principal['entity_type']}" + ("" if inner is None else f" in {_entity_words(inner)}")
    return f"{'' if principal['op'] == '==' else 'in '}{_entity_words(principal['entity'])}"


def _entity_words(entity: dict[str, str]) -> str:
    return f'{entity["type"]}::"{entity["id"]}"'
