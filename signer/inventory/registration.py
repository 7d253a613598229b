"""Recording a key that a token has just generated: only if what the token shows is what the role demands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pki.errors import PolicyViolation
from pki.key_audit import MODULE_DEPENDENT_RULES, AuditFinding, ExpectedKey, ObservedObject, Severity, audit_objects
from pki.key_states import KeyState
from signer.store.key_store import KeyStore
from signer.store.values import Change, KeyRecord, NewKey

UNAVOIDABLE_ON_SOME_MODULES = MODULE_DEPENDENT_RULES
"""What `signer.inventory.audit.unavoidable_rules` can give."""


def findings_of_new_key(observed: Sequence[ObservedObject], key: NewKey, now: datetime) -> tuple[AuditFinding, ...]:
    """What the audit says about the objects of one key: those with its label or its CKA_ID."""
    own = [item for item in observed if item.label == key.label or item.cka_id == key.cka_id]
    expected = ExpectedKey(key.label, key.cka_id, key.spec, KeyState.PRE_ACTIVATION, None, None)
    return audit_objects(own, [expected], now)


def register_key(
    store: KeyStore,
    observed: Sequence[ObservedObject],
    key: NewKey,
    change: Change,
    tolerated: frozenset[str] = frozenset(),
) -> tuple[KeyRecord, tuple[AuditFinding, ...]]:
    """Record a key after auditing all its objects among `observed` (everything on its token).

    `tolerated` are rule IDs of errors that the module cannot avoid, at most UNAVOIDABLE_ON_SOME_MODULES; they come back
    with the warnings. Any other error raises PolicyViolation with its rule ID, and nothing is recorded. Raises
    KeyConflict for a key or label that is recorded already.
    """
    if not tolerated <= UNAVOIDABLE_ON_SOME_MODULES:
        raise ValueError(f"not to be tolerated: {', '.join(sorted(tolerated - UNAVOIDABLE_ON_SOME_MODULES))}")
    findings = findings_of_new_key(observed, key, change.now)
    for finding in findings:
        if finding.severity is Severity.ERROR and finding.rule_id not in tolerated:
            raise PolicyViolation(
                finding.rule_id, f"key {key.label} is not registered: {finding.subject}: {finding.text}"
            )
    return store.register(key, change), findings
