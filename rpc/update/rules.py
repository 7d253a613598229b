"""The rules of docs/spec/update.md, as errors of files and refusals of devices."""

from __future__ import annotations

from dataclasses import dataclass

from pki.errors import PolicyViolation


class MaterialRefused(PolicyViolation):
    """A package, or a set of trust bundles, that no device is asked about: UP-01 to UP-04."""

    exit_code_name = "INPUT"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a device is not updated; `reason` is one line that says what to do."""

    rule_id: str
    reason: str

    def __str__(self) -> str:
        """As people read it."""
        return f"[{self.rule_id}] {self.reason}"


class Refused(PolicyViolation):
    """A refusal of one device, raised where it is found."""

    @property
    def refusal(self) -> Refusal:
        """As a value."""
        return Refusal(self.rule_id, str(self).removeprefix(f"[{self.rule_id}] "))
