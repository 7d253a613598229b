"""The policy set of an authority: every file of `policies/` that decides, read whole or not at all, and its digest."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from pki.errors import ConfigurationError
from policies.calendar import Calendar, parse_calendar
from policies.cedar import CedarEngine, PolicyForm, Schema
from policies.near_misses import PermitProbe
from policies.policy_file import Policy, read_policy_file
from policies.policy_rules import PolicyFinding, policy_finding

SCHEMA_FILE = "schema.cedarschema"
CALENDAR_FILE = "calendar.toml"
TESTS_FILE = "tests.toml"
README_FILE = "README.md"

FILE_SIZE_BYTES_MAX = 256 * 1024
POLICY_FILES_MAX = 64
POLICIES_MAX = 256

_POLICY_FILE = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?\.cedar")
_NOT_DECIDING = frozenset({TESTS_FILE, README_FILE})
_DIGEST_CONTEXT = b"strongroom-policy-set-1\0"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class PolicySet:
    """Policies in ascending order of id, their calendar and schema, and the digest that requests name (32 bytes)."""

    policies: tuple[Policy, ...]
    calendar: Calendar
    schema: Schema
    digest: bytes

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> PolicySet:
        """The set that these files make, by name. Raises ConfigurationError with the first finding (PO-10 to PO-15)."""
        found, findings = read_policy_set(files)
        if found is None:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            raise ConfigurationError(f"{findings[0]}{more}; see `strongroom policy check`")
        return found

    @cached_property
    def engine(self) -> CedarEngine:
        """The engine with every policy."""
        return self.engine_with({})

    def engine_with(self, instead: Mapping[str, PolicyForm | None]) -> CedarEngine:
        """The engine with some policies in another form, or (None) without them."""
        forms = {policy.id: instead.get(policy.id, policy.form) for policy in self.policies}
        return CedarEngine({policy_id: form for policy_id, form in forms.items() if form is not None}, self.schema)

    @cached_property
    def permit_probe(self) -> PermitProbe:
        """What tells why no policy permitted."""
        return PermitProbe(self.policies, self.schema)

    @cached_property
    def by_id(self) -> Mapping[str, Policy]:
        """Every policy by its id."""
        return MappingProxyType({policy.id: policy for policy in self.policies})


def policy_set_digest(files: Mapping[str, bytes]) -> bytes:
    """SHA-256 over names and contents of the files that decide (docs/spec/policies.md, "Digest"); 32 bytes."""
    digest = hashlib.sha256(_DIGEST_CONTEXT)
    for name in sorted(files.keys() - _NOT_DECIDING, key=str.encode):
        for part in (name.encode(), files[name]):
            digest.update(_LENGTH.pack(len(part)) + part)
    return digest.digest()


def read_policy_set(files: Mapping[str, bytes]) -> tuple[PolicySet | None, list[PolicyFinding]]:
    """The set, if nothing is wrong with it, and what is wrong (PO-10 to PO-15)."""
    texts, findings = _texts(files)
    schema, schema_findings = _schema(texts)
    calendar, calendar_findings = _calendar(texts)
    policies, policy_findings = _policies(texts, schema)
    findings += schema_findings + calendar_findings + policy_findings
    if findings or schema is None or calendar is None:
        return None, findings
    ordered = tuple(sorted(policies, key=lambda policy: policy.id))
    return PolicySet(ordered, calendar, schema, policy_set_digest(files)), []


def _texts(files: Mapping[str, bytes]) -> tuple[dict[str, str], list[PolicyFinding]]:
    texts, findings = {}, []
    for name in sorted(files.keys() - _NOT_DECIDING):
        if name not in {SCHEMA_FILE, CALENDAR_FILE} and not _POLICY_FILE.fullmatch(name):
            findings.append(policy_finding("PO-10", name, "does not belong here; move it elsewhere"))
        elif len(files[name]) > FILE_SIZE_BYTES_MAX:
            findings.append(policy_finding("PO-10", name, f"has more than {FILE_SIZE_BYTES_MAX} bytes"))
        else:
            try:
                texts[name] = files[name].decode("utf-8")
            except UnicodeDecodeError as error:
                findings.append(policy_finding("PO-10", name, f"not UTF-8 at byte {error.start}"))
    missing = [name for name in (SCHEMA_FILE, CALENDAR_FILE) if name not in files]
    findings += [policy_finding("PO-10", name, "is missing; restore it, or take the shipped one") for name in missing]
    return texts, findings


def _schema(texts: Mapping[str, str]) -> tuple[Schema | None, list[PolicyFinding]]:
    if SCHEMA_FILE not in texts:
        return None, []
    try:
        return Schema(texts[SCHEMA_FILE]), []
    except ValueError as error:
        return None, [policy_finding("PO-12", SCHEMA_FILE, str(error))]


def _calendar(texts: Mapping[str, str]) -> tuple[Calendar | None, list[PolicyFinding]]:
    if CALENDAR_FILE not in texts:
        return None, []
    try:
        return parse_calendar(texts[CALENDAR_FILE]), []
    except ValueError as error:
        return None, [policy_finding("PO-15", CALENDAR_FILE, str(error))]


def _policies(texts: Mapping[str, str], schema: Schema | None) -> tuple[list[Policy], list[PolicyFinding]]:
    names = sorted(name for name in texts if name.endswith(".cedar"))
    if not 1 <= len(names) <= POLICY_FILES_MAX:
        return [], [policy_finding("PO-11", "", f"{len(names)} policy files; there must be 1 to {POLICY_FILES_MAX}")]
    policies: list[Policy] = []
    findings: list[PolicyFinding] = []
    for name in names:
        found, wrong = read_policy_file(name, texts[name])
        policies += found
        findings += wrong
        if schema is not None and not any(item.rule_id == "PO-11" for item in wrong):
            errors = schema.errors_in(texts[name])
            findings += [policy_finding("PO-13", name, f"{place or 'a policy'}: {text}") for place, text in errors]
    if len(policies) > POLICIES_MAX:
        findings.append(policy_finding("PO-11", "", f"{len(policies)} policies; there may be {POLICIES_MAX}"))
    seen: dict[str, str] = {}
    for policy in policies:
        if policy.id in seen:
            findings.append(policy_finding("PO-14", policy.file, f"{policy.id}: stands in {seen[policy.id]} already"))
        seen.setdefault(policy.id, policy.file)
    return policies, findings
