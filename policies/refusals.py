"""Refusals of statements and SSH signatures. The branch gives the exit code; the rule's ID stands before the reason.

What is authentic but not allowed is a `PolicyViolation`, which has a rule's ID already.
"""

from __future__ import annotations

from pki.errors import Expired, FormatError, NotYetValid, SignatureInvalid, StrongroomError


class Malformed(FormatError):
    """Not what its format demands. `rule_id` as in docs/spec/requests-and-approvals.md."""

    def __init__(self, rule_id: str, what: str, reason: str, offset: int = 0) -> None:
        StrongroomError.__init__(self, f"[{rule_id}] {what}: {reason}")
        self.rule_id = rule_id
        self.field = what
        self.offset = offset
        self.reason = reason


class NotAuthentic(SignatureInvalid):
    """A signature that does not count for what it stands under."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


class StatementExpired(Expired):
    """A statement or key after its time."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


class KeyNotYetValid(NotYetValid):
    """A key before its time."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id
