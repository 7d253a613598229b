"""Recording a key that a token has just generated: only if what the token shows is what the role demands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pki.errors import PolicyViolation
from pki.key_audit import AuditFinding, ExpectedKey, ObservedObject, Severity, audit_objects
from pki.key_states import KeyState
from signer.store.key_store import KeyStore
from signer.store.values import Change, KeyRecord, NewKey


def findings_of_new_key(
    observed: Sequence[ObservedObject],
    key: NewKey,
    now: datetime,
    unavoidable: frozenset[str] = frozenset(),
    recorded: frozenset[str] = frozenset(),
) -> tuple[AuditFinding, ...]:
    """What the audit says about the objects of one key: those with its label or its CKA_ID.

    `recorded` are rules that what is about to be recorded of the key excuses (`audit.recorded_rules`).
    """
    own = [item for item in observed if item.label == key.label or item.cka_id == key.cka_id]
    expected = ExpectedKey(key.label, key.cka_id, key.spec, KeyState.PRE_ACTIVATION, None, None, recorded)
    return audit_objects(own, [expected], now, unavoidable)


def require_sound(findings: Sequence[AuditFinding], label: str) -> None:
    """Raise PolicyViolation with the rule of the first finding that is an error."""
    for finding in findings:
        if finding.severity is Severity.ERROR:
            raise PolicyViolation(finding.rule_id, f"key {label} is not registered: {finding.subject}: {finding.text}")


def register_key(
    store: KeyStore,
    observed: Sequence[ObservedObject],
    key: NewKey,
    change: Change,
    unavoidable: frozenset[str] = frozenset(),
) -> tuple[KeyRecord, tuple[AuditFinding, ...]]:
    """Record a key after auditing all its objects among `observed` (everything on its token); warnings come back.

    `unavoidable` are the rules of `audit.unavoidable_rules` for the token's module, which are warnings. An error raises
    PolicyViolation with its rule ID, and nothing is recorded. Raises KeyConflict for a key or label recorded already.
    """
    findings = findings_of_new_key(observed, key, change.now, unavoidable)
    require_sound(findings, key.label)
    return store.register(key, change), findings
