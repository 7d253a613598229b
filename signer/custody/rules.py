"""The rules of custody, each with its ID (docs/spec/key-backup.md)."""

from __future__ import annotations

from types import MappingProxyType

from pki.errors import PolicyViolation

CUSTODY_RULES = MappingProxyType(
    {
        "KB-01": "a backup or copy of a key whose role must not have one; a file where it may have copies only",
        "KB-02": "a backup plan without copy and file, or with a copy on the key's own token, or twice on one",
        "KB-03": "a share scheme outside its bounds",
        "KB-04": "a custodian who did not read the share back rightly",
        "KB-05": "shares that do not recombine: too few, damaged, or of another set",
        "KB-06": "a KEK whose check value is not the expected one; a file whose MAC it does not make",
        "KB-07": "a backup that is not recorded, or ended",
        "KB-08": "a backup that says something else of the key than the key store",
        "KB-09": "a key that does not sign under the recorded public key",
        "KB-10": "restoring a key that is destroyed or compromised",
        "KB-11": "restoring to a token where the key is already",
    }
)
"""What each rule refuses."""


def violation(rule_id: str, reason: str) -> PolicyViolation:
    """The error of a rule; `reason` is one line that says what to do, and holds no secret."""
    if rule_id not in CUSTODY_RULES:
        raise ValueError(f"there is no rule {rule_id}")
    return PolicyViolation(rule_id, reason)
