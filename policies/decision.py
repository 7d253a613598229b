"""What policies answer: Allow with the policies that permitted, or Deny with every reason. Values, not exceptions."""

from __future__ import annotations

from typing import Any

import msgspec

from pki.errors import PolicyViolation

REASON_CHARACTERS_MAX = 600


class Violation(msgspec.Struct, frozen=True):
    """One reason to deny: a rule of docs/spec/policies.md, the policy's id where one is concerned, and words."""

    rule_id: str
    policy_id: str | None
    text: str

    def __str__(self) -> str:
        return self.text if self.policy_id is None else f"{self.policy_id}: {self.text}"


class Allow(msgspec.Struct, frozen=True):
    """Permitted, by at least one policy. `policy_ids` in ascending order."""

    policy_ids: tuple[str, ...]

    def require(self) -> None:
        """Nothing to refuse."""

    def fields(self) -> dict[str, Any]:
        """As JSON, for logs and output."""
        return {"decision": "allow", "policy_ids": list(self.policy_ids)}


class Deny(msgspec.Struct, frozen=True):
    """Refused, for these reasons: at least one."""

    violations: tuple[Violation, ...]

    def __post_init__(self) -> None:
        if not self.violations:
            raise ValueError("a refusal has a reason")

    @property
    def policy_ids(self) -> tuple[str, ...]:
        """The policies that forbade it, in ascending order; none if only no policy permitted it."""
        return tuple(sorted({item.policy_id for item in self.violations if item.policy_id and item.rule_id == "PO-06"}))

    def require(self) -> None:
        """Raises PolicyViolation with the first rule's ID and every reason, as far as they fit one line."""
        reasons = "; ".join(map(str, self.violations))
        raise PolicyViolation(self.violations[0].rule_id, reasons[:REASON_CHARACTERS_MAX])

    def fields(self) -> dict[str, Any]:
        """As JSON, for logs and output."""
        violations = [
            {"rule_id": item.rule_id, "policy_id": item.policy_id, "text": item.text} for item in self.violations
        ]
        return {"decision": "deny", "policy_ids": list(self.policy_ids), "violations": violations}


PolicyDecision = Allow | Deny
