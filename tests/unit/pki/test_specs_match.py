"""The tables of the specifications and the data and rules of the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

from pki.key_audit import AUDIT_RULES, MODULE_DEPENDENT_RULES
from pki.key_specs import KEY_SPECS, KeyAlgorithm
from pki.key_states import ALLOWED_TRANSITIONS
from pki.roles import ROLES
from pki.x509_crl_lint import CRL_RULES
from pki.x509_lint import CERTIFICATE_RULES
from pki.x509_profiles import CERTIFICATE_PROFILES, REVOCATION_REASONS

SPEC = Path(__file__).parents[3] / "docs" / "spec"
KEY_ROLES = (SPEC / "key-roles.md").read_text(encoding="utf-8")
X509_PROFILES = (SPEC / "x509-profiles.md").read_text(encoding="utf-8")


def rows(text: str, first_cell: str) -> list[list[str]]:
    """The cells of every table row whose first cell matches."""
    cells = ([cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|"))
    return [row for row in cells if re.fullmatch(first_cell, row[0])]


def test_audit_rules() -> None:
    found = {row[0]: row[1] for row in rows(KEY_ROLES, r"KA-\d\d")}
    assert found == {
        rule_id: f"{severity.value} *" if rule_id in MODULE_DEPENDENT_RULES else severity.value
        for rule_id, (severity, _) in AUDIT_RULES.items()
    }


def test_lint_rules() -> None:
    assert [row[0] for row in rows(X509_PROFILES, r"X509-\d\d")] == list(CERTIFICATE_RULES)
    assert [row[0] for row in rows(X509_PROFILES, r"CRL-\d\d")] == list(CRL_RULES)


def test_roles() -> None:
    algorithms = {"P-256": KeyAlgorithm.EC_P256, "AES-256": KeyAlgorithm.AES_256}
    table = {row[0].strip("`"): row for row in rows(KEY_ROLES, r"`[a-z-]+`") if len(row) == 7}
    assert set(table) == {role.value for role in KEY_SPECS}
    for role, spec in KEY_SPECS.items():
        _, number, algorithm, usages, years, backup, _ = table[role.value]
        copies_only = spec.backup_permitted and not spec.backup_file_permitted
        assert backup == ("copies" if copies_only else "yes" if spec.backup_permitted else "no")
        assert number == str(ROLES[role].device_role_number or "–")
        assert algorithms[algorithm] is spec.algorithm
        assert set(usages.split(", ")) == {usage.value for usage in spec.usages}
        assert int(years) * 365 == spec.max_validity_days


def test_state_transitions() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(KEY_ROLES, r"`[a-z-]+`") if len(row) == 2}
    assert table.keys() == {state.value for state in ALLOWED_TRANSITIONS}
    for state, following in ALLOWED_TRANSITIONS.items():
        assert set(table[state.value].replace("–", "").split(", ")) - {""} == {item.value for item in following}


def test_profiles() -> None:
    (header,) = (row for row in rows(X509_PROFILES, "") if row[1:2] == ["`root-ca`"])
    names = [cell.strip("`") for cell in header[1:]]
    assert names == list(CERTIFICATE_PROFILES)
    columns = list(
        zip(names, *(row[1:] for row in rows(X509_PROFILES, r"valid, at most|keyUsage \(critical\)")), strict=True)
    )
    for name, validity, usage in columns:
        profile = CERTIFICATE_PROFILES[name]
        years = re.match(r"(\d+) years", validity)
        assert profile.max_validity_days == (None if years is None else int(years.group(1)) * 365)
        assert profile.key_usage == set(usage.split(", "))


def test_revocation_reasons() -> None:
    assert all(reason in X509_PROFILES for reason in REVOCATION_REASONS)
