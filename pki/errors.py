"""The errors every room of the host side shares; each branch has one documented exit code (docs/spec/exit-codes.md)."""

from __future__ import annotations


class StrongroomError(Exception):
    """The root of every error that a user can cause or must act upon. The message is one line that says what to do."""


class FormatError(StrongroomError):
    """Bytes that are not what their format demands. `offset` is in bytes from the start of the object."""

    def __init__(self, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{field} at byte {offset}: {reason}")
        self.field = field
        self.offset = offset
        self.reason = reason


class InputRefused(StrongroomError):
    """An input (firmware file, option, existing output) that cannot be used as given."""


class ConfigurationError(StrongroomError):
    """A product file, board file or authority repository that fails its checks."""


class OutputError(StrongroomError):
    """An output that cannot be written, or that exists already."""


class PolicyViolation(StrongroomError):
    """A rule said no. `rule_id` is the same in code, log, document and tests."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id


class VerificationError(StrongroomError):
    """Something that claims to be authentic is not, or is not for here and now."""


class SignatureInvalid(VerificationError):
    """A signature does not verify under the key it names."""


class ChainInvalid(VerificationError):
    """A certificate or bundle chain does not lead to its anchor."""


class NotYetValid(VerificationError):
    """Used before its validity begins."""


class Expired(VerificationError):
    """Used after its validity ended."""


class Rollback(VerificationError):
    """Older than what has been accepted already."""


class WrongTarget(VerificationError):
    """Authentic, but meant for another product, device or board."""


class AuditError(StrongroomError):
    """The audit log cannot be written, read, or does not hold together. Nothing is released without it."""


class CeremonyAborted(StrongroomError):
    """A ceremony ended before its end. `rule_id` says which rule ended it; what was done is in its transcript."""

    def __init__(self, rule_id: str, reason: str) -> None:
        super().__init__(f"[{rule_id}] {reason}")
        self.rule_id = rule_id
