"""Lint rules in general: a rule is a function with an ID that returns why it is broken, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pki.errors import PolicyViolation

_Item = TypeVar("_Item")
_Context = TypeVar("_Context")


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One broken rule."""

    rule_id: str
    reason: str


def run_rules(
    rules: Mapping[str, Callable[[_Item, _Context], str | None]], item: _Item, context: _Context
) -> tuple[LintFinding, ...]:
    """Run every rule, in the order of the mapping, and collect what is broken."""
    found = ((rule_id, rule(item, context)) for rule_id, rule in rules.items())
    return tuple(LintFinding(rule_id, reason) for rule_id, reason in found if reason is not None)


def require_clean(findings: Sequence[LintFinding]) -> None:
    """Raise PolicyViolation with the first finding's rule ID; the reason names every finding, in one line."""
    if findings:
        first, *others = findings
        raise PolicyViolation(first.rule_id, first.reason + "".join(f"; [{f.rule_id}] {f.reason}" for f in others))
