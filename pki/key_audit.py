"""Audit of a token's objects against their specs and the store: a pure function from observations to findings.

Attributes are what the module says about itself, unsigned: a finding is proof of a fault, the absence of findings is no
proof of its absence (docs/spec/key-roles.md, "Audit").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from pki.errors import ConfigurationError
from pki.key_specs import KEY_SPECS, KeyAlgorithm, KeySpec, KeyUsage, parse_key_label
from pki.key_states import KeyState
from pki.values import PublicKey


class ObjectClass(StrEnum):
    """CKA_CLASS of an object on a token; OTHER is anything that is neither a key nor a certificate."""

    PRIVATE_KEY = "private-key"
    PUBLIC_KEY = "public-key"
    SECRET_KEY = "secret-key"  # noqa: S105 (the name of an object class)
    CERTIFICATE = "certificate"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ObservedObject:
    """One object as its token shows it; values only, never key material.

    A boolean is None when the module does not have the attribute or does not give it. `usages` are the flags of
    `KeyUsage` that are true; `other_usages` the remaining true CKA_ usage flags by their lower-case name without CKA_
    ("verify", "sign-recover", "verify-recover"). `public_point` is X and Y, 64 bytes, of a P-256 public key object or
    certificate, else None. `algorithm` is None for any algorithm that is not ours.
    """

    object_class: ObjectClass
    label: str
    cka_id: bytes
    algorithm: KeyAlgorithm | None = None
    private: bool | None = None
    local: bool | None = None
    sensitive: bool | None = None
    always_sensitive: bool | None = None
    extractable: bool | None = None
    never_extractable: bool | None = None
    modifiable: bool | None = None
    copyable: bool | None = None
    usages: frozenset[KeyUsage] = frozenset()
    other_usages: frozenset[str] = frozenset()
    public_point: bytes | None = None

    @property
    def name(self) -> str:
        """How a finding names the object."""
        return f"{self.object_class} {self.label!r} (id {self.cka_id.hex() or 'empty'})"


@dataclass(frozen=True, slots=True)
class ExpectedKey:
    """A key that the store says is, or was, on this token.

    `recorded` names the rules, of RECORDED_RULES only, that a key cannot keep which was wrapped while it was generated,
    or which is a copy; `ended` says that this token is recorded to have it no more.
    """

    label: str
    cka_id: bytes
    spec: KeySpec
    state: KeyState
    not_before: datetime | None
    not_after: datetime | None
    recorded: frozenset[str] = frozenset()
    ended: bool = False

    def __post_init__(self) -> None:
        if not self.recorded <= RECORDED_RULES:
            raise ValueError(f"no record excuses {', '.join(sorted(self.recorded - RECORDED_RULES))}")


class Severity(StrEnum):
    """ERROR: the key is not what it must be. WARNING: something to tidy up."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One rule broken by one object. `subject` names the object or, for a vanished key, its entry in the store."""

    rule_id: str
    severity: Severity
    subject: str
    text: str


AUDIT_RULES = {
    "KA-01": (Severity.ERROR, "the key can be extracted"),
    "KA-02": (Severity.ERROR, "attributes can be changed"),
    "KA-03": (Severity.ERROR, "the object can be copied"),
    "KA-04": (Severity.ERROR, "the key is not sensitive"),
    "KA-05": (Severity.ERROR, "the key has not always been sensitive"),
    "KA-06": (Severity.ERROR, "the key was not generated on this token"),
    "KA-07": (Severity.ERROR, "the key has not always been non-extractable"),
    "KA-08": (Severity.ERROR, "a usage that the role needs is missing"),
    "KA-09": (Severity.ERROR, "a usage that the role does not have is allowed"),
    "KA-10": (Severity.ERROR, "two objects of one class share the label"),
    "KA-11": (Severity.ERROR, "two objects of one class share the CKA_ID"),
    "KA-12": (Severity.ERROR, "CKA_ID is not derived from the public key"),
    "KA-13": (Severity.ERROR, "private key without its public key"),
    "KA-14": (Severity.WARNING, "public key without its private key"),
    "KA-15": (Severity.ERROR, "unknown to the store"),
    "KA-16": (Severity.ERROR, "in the store, but not on the token"),
    "KA-17": (Severity.WARNING, "its time window is over, but it is still on the token"),
    "KA-18": (Severity.ERROR, "its state forbids every use, but it is still on the token"),
    "KA-19": (Severity.WARNING, "label outside the scheme"),
    "KA-20": (Severity.ERROR, "not the algorithm of its role"),
    "KA-21": (Severity.WARNING, "the module does not give an attribute, so it cannot be checked"),
    "KA-22": (Severity.ERROR, "the key can be used without login"),
    "KA-23": (Severity.ERROR, "the store knows this CKA_ID under another label"),
    "KA-24": (Severity.ERROR, "recorded as no longer on this token, but it is"),
}
"""Every rule of the audit: its severity and what it finds."""

_KEY_CLASSES = (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)

# rule, attribute, the only good value. The attribute missing altogether is KA-21.
_FLAG_RULES = (
    ("KA-01", "extractable", False),
    ("KA-02", "modifiable", False),
    ("KA-03", "copyable", False),
    ("KA-04", "sensitive", True),
    ("KA-05", "always_sensitive", True),
    ("KA-06", "local", True),
    ("KA-07", "never_extractable", True),
    ("KA-22", "private", True),
)
_PUBLIC_FLAG_RULES = (("KA-02", "modifiable", False),)

MODULE_DEPENDENT_RULES = frozenset({"KA-02", "KA-03", "KA-06"})
"""Rules that some modules break for every key: none can be unmodifiable, or uncopyable, or is ever shown as local."""

BACKED_UP_RULES = frozenset({"KA-07"})
"""What a key breaks that was extractable while it was generated, so that it could be wrapped."""

COPY_RULES = frozenset({"KA-05", "KA-06", "KA-07"})
"""What a copy breaks, transferred or restored: a token vouches only for what it generated."""

RECORDED_RULES = BACKED_UP_RULES | COPY_RULES
"""Rules that are excused for exactly the keys of which the store has recorded why they break them."""


def audit_objects(
    observed: Sequence[ObservedObject],
    expected: Sequence[ExpectedKey],
    now: datetime,
    unavoidable: frozenset[str] = frozenset(),
) -> tuple[AuditFinding, ...]:
    """Compare everything seen on one token (logged in) with what the store expects there.

    `now` carries a time zone. `unavoidable` names the rules, of MODULE_DEPENDENT_RULES only, that the token's module
    was probed to break for every key: their findings stay, as warnings that say so; likewise the rules that the store
    has recorded of a key. Findings come sorted by subject and rule, so two runs over equal input are equal.
    """
    if not unavoidable <= MODULE_DEPENDENT_RULES:
        raise ValueError(f"no module excuses {', '.join(sorted(unavoidable - MODULE_DEPENDENT_RULES))}")
    if now.tzinfo is None:
        raise ValueError("the time of an audit carries a time zone")
    findings: list[AuditFinding] = []
    expected_by_id = {key.cka_id: key for key in expected}
    for item in observed:
        known = expected_by_id.get(item.cka_id)
        findings += (_of_record(finding, known) for finding in _audit_one(item, known))
    findings += _duplicates(observed)
    findings += _unpaired(observed)
    findings += _against_store(observed, expected, now)
    weighed = (_excused(finding) if finding.rule_id in unavoidable else finding for finding in findings)
    return tuple(sorted(weighed, key=lambda finding: (finding.subject, finding.rule_id, finding.text)))


def _excused(finding: AuditFinding) -> AuditFinding:
    return replace(finding, severity=Severity.WARNING, text=f"{finding.text} (this module makes no other keys)")


def _of_record(finding: AuditFinding, known: ExpectedKey | None) -> AuditFinding:
    if known is None or finding.rule_id not in known.recorded:
        return finding
    return replace(finding, severity=Severity.WARNING, text=f"{finding.text} (recorded: it has a backup or is a copy)")


def _finding(rule_id: str, subject: str, detail: str = "") -> AuditFinding:
    severity, text = AUDIT_RULES[rule_id]
    return AuditFinding(rule_id, severity, subject, f"{text}: {detail}" if detail else text)


def _audit_one(item: ObservedObject, known: ExpectedKey | None) -> Iterator[AuditFinding]:
    """The rules that look at one object by itself."""
    label_spec = _spec_of_label(item.label)
    if label_spec is None:
        yield _finding("KA-19", item.name)
    spec = known.spec if known is not None else label_spec
    if item.object_class in _KEY_CLASSES:
        yield from _audit_flags(item, _FLAG_RULES)
        if spec is not None:
            yield from _audit_usages(item, spec.usages, frozenset())
    if item.object_class is ObjectClass.PUBLIC_KEY:
        yield from _audit_flags(item, _PUBLIC_FLAG_RULES)
        if spec is not None:
            yield from _audit_usages(item, frozenset(), frozenset({"verify"}))
    if spec is not None and item.object_class is not ObjectClass.OTHER and item.algorithm is not spec.algorithm:
        yield _finding("KA-20", item.name, f"expected {spec.algorithm.value}")
    if item.public_point is not None and item.cka_id != PublicKey(item.public_point).cka_id:
        yield _finding("KA-12", item.name, f"expected {PublicKey(item.public_point).cka_id.hex()}")


def _spec_of_label(label: str) -> KeySpec | None:
    try:
        return KEY_SPECS[parse_key_label(label).role]
    except ConfigurationError:
        return None


def _audit_flags(item: ObservedObject, rules: Sequence[tuple[str, str, bool]]) -> Iterator[AuditFinding]:
    for rule_id, attribute, good in rules:
        value = getattr(item, attribute)
        if value is None:
            yield _finding("KA-21", item.name, attribute)
        elif value is not good:
            yield _finding(rule_id, item.name)


def _audit_usages(
    item: ObservedObject, usages: frozenset[KeyUsage], other_usages: frozenset[str]
) -> Iterator[AuditFinding]:
    wanted = {usage.value for usage in usages} | other_usages
    present = {usage.value for usage in item.usages} | item.other_usages
    if wanted - present:
        yield _finding("KA-08", item.name, ", ".join(sorted(wanted - present)))
    if present - wanted:
        yield _finding("KA-09", item.name, ", ".join(sorted(present - wanted)))


def _duplicates(observed: Sequence[ObservedObject]) -> Iterator[AuditFinding]:
    labels = Counter((item.object_class, item.label) for item in observed)
    ids = Counter((item.object_class, item.cka_id) for item in observed)
    for item in observed:
        if labels[item.object_class, item.label] > 1:
            yield _finding("KA-10", item.name)
        if ids[item.object_class, item.cka_id] > 1:
            yield _finding("KA-11", item.name)


def _unpaired(observed: Sequence[ObservedObject]) -> Iterator[AuditFinding]:
    private_ids = {item.cka_id for item in observed if item.object_class is ObjectClass.PRIVATE_KEY}
    public_ids = {item.cka_id for item in observed if item.object_class is ObjectClass.PUBLIC_KEY}
    for item in observed:
        if item.object_class is ObjectClass.PRIVATE_KEY and item.cka_id not in public_ids:
            yield _finding("KA-13", item.name)
        if item.object_class is ObjectClass.PUBLIC_KEY and item.cka_id not in private_ids:
            yield _finding("KA-14", item.name)


def _against_store(
    observed: Sequence[ObservedObject], expected: Sequence[ExpectedKey], now: datetime
) -> Iterator[AuditFinding]:
    labels_in_store = {key.cka_id: key.label for key in expected}
    for item in observed:
        if item.cka_id not in labels_in_store:
            yield _finding("KA-15", item.name)
        elif item.label != labels_in_store[item.cka_id]:
            yield _finding("KA-23", item.name, repr(labels_in_store[item.cka_id]))
    key_ids_on_token = {item.cka_id for item in observed if item.object_class in _KEY_CLASSES}
    for key in expected:
        subject = f"key {key.label!r} (id {key.cka_id.hex()})"
        if key.cka_id not in key_ids_on_token:
            if key.state is not KeyState.DESTROYED and not key.ended:
                yield _finding("KA-16", subject)
        elif key.ended and key.state is not KeyState.DESTROYED:
            yield _finding("KA-24", subject)
        elif key.state in (
            KeyState.COMPROMISED,
            KeyState.DESTROYED,
            KeyState.DEACTIVATED,
        ):
            yield _finding("KA-18", subject, f"it is {key.state}")
        elif key.not_after is not None and now > key.not_after:
            yield _finding("KA-17", subject, f"it ended {key.not_after.isoformat()}")
