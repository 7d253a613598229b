"""The audit of a token's objects against the key store, and its report as JSON and as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pki.key_audit import (
    BACKED_UP_RULES,
    COPY_RULES,
    AuditFinding,
    ExpectedKey,
    ObservedObject,
    Severity,
    audit_objects,
)
from signer.inventory.text_table import text_table
from signer.store.custody_values import CopyOrigin
from signer.store.values import KeyRecord
from signer.tokens.profiles import ModuleProfile


def audit_token(
    observed: Sequence[ObservedObject],
    records: Sequence[KeyRecord],
    now: datetime,
    unavoidable: frozenset[str] = frozenset(),
    token: tuple[str, str] | None = None,
) -> tuple[AuditFinding, ...]:
    """Lint everything on one token (`Session.objects()`, logged in) against the records of exactly that token.

    `unavoidable` are the rules of `unavoidable_rules`; their findings are warnings. `token` (serial, label) tells keys
    from copies; without it every record is taken for a key that was generated there.
    """
    return audit_objects(observed, [_expected(record, token) for record in records], now, unavoidable)


def recorded_rules(record: KeyRecord, origin: CopyOrigin | None) -> frozenset[str]:
    """The rules that an instance of this origin breaks by what is recorded of its key."""
    if origin in (CopyOrigin.TRANSFERRED, CopyOrigin.RESTORED):
        return COPY_RULES
    return BACKED_UP_RULES if record.was_extractable else frozenset()


def unavoidable_rules(profile: ModuleProfile) -> frozenset[str]:
    """The rules that a module breaks for every key, by its probed profile (docs/spec/key-roles.md, "Audit").

    That copies cannot be forbidden is excused only where a copy gains nothing: it is exact, or the key itself can be
    changed anyway (docs/adr/0022).
    """
    rules = set()
    if not profile.locks_by_copy:
        rules.add("KA-02")
    if not profile.copy_forbids_copying and (profile.copies_are_exact or not profile.locks_by_copy):
        rules.add("KA-03")
    if not profile.reports_local:
        rules.add("KA-06")
    return frozenset(rules)


def has_errors(findings: Sequence[AuditFinding]) -> bool:
    """Whether there is more than warnings."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def findings_as_json(findings: Sequence[AuditFinding]) -> list[dict[str, str]]:
    """One object per finding, ready for JSON: rule, severity, subject, text."""
    return [
        {
            "rule": finding.rule_id,
            "severity": finding.severity.value,
            "subject": finding.subject,
            "text": finding.text,
        }
        for finding in findings
    ]


def findings_as_text(findings: Sequence[AuditFinding]) -> str:
    """A table for people, errors first, and a closing line with the counts."""
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    warnings = [finding for finding in findings if finding.severity is Severity.WARNING]
    rows = [(item.severity.value, item.rule_id, item.subject, item.text) for item in errors + warnings]
    table = text_table(("severity", "rule", "object", "finding"), rows) if rows else ""
    return f"{table}{len(errors)} errors, {len(warnings)} warnings\n"


def _expected(record: KeyRecord, token: tuple[str, str] | None) -> ExpectedKey:
    origin = record.origin_on(token or record.token.identity)
    return ExpectedKey(
        label=record.label,
        cka_id=record.cka_id,
        spec=record.spec,
        state=record.state,
        not_before=record.not_before,
        not_after=record.not_after,
        recorded=recorded_rules(record, origin),
        ended=origin is None,
    )
