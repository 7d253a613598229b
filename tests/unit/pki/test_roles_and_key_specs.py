"""Roles, key specs and labels: the data is complete, and a label is read back only if it was made by the scheme."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pki.errors import ConfigurationError
from pki.key_specs import (
    KEY_SPECS,
    MAX_PRODUCT_SLUG_LENGTH,
    MAX_SEQUENCE,
    KeyAlgorithm,
    KeyUsage,
    LabelParts,
    key_label,
    parse_key_label,
)
from pki.roles import DEVICE_ROLES, ROLES, Role

SLUGS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


def test_every_role_has_facts_and_a_spec() -> None:
    assert set(ROLES) == set(KEY_SPECS) == set(Role)
    assert all(ROLES[role].role is role and KEY_SPECS[role].role is role for role in Role)
    assert all(ROLES[role].description for role in Role)


def test_device_role_numbers_are_those_of_the_trust_bundle() -> None:
    assert DEVICE_ROLES == {
        1: Role.APPLICATION_RELEASE,
        2: Role.PRODUCTION,
        3: Role.GRANT,
        4: Role.SERVICE,
        5: Role.BOOTLOADER_RELEASE,
    }


@pytest.mark.parametrize("role", Role)
def test_no_key_may_leave_its_token_or_do_two_kinds_of_things(role: Role) -> None:
    spec = KEY_SPECS[role]
    assert (spec.extractable, spec.modifiable, spec.copyable) == (False, False, False)
    on_p256 = {KeyUsage.DERIVE} if role is Role.GROUP_AGREEMENT else {KeyUsage.SIGN}
    assert spec.usages == (on_p256 if spec.algorithm is KeyAlgorithm.EC_P256 else {KeyUsage.WRAP, KeyUsage.UNWRAP})
    assert spec.stays_on_token is (role is not Role.GROUP_AGREEMENT)
    assert 365 <= spec.max_validity_days <= 25 * 365
    assert spec.label_prefix == f"sr:{role}"


@pytest.mark.parametrize(
    ("role", "product", "sequence", "label"),
    [
        (Role.APPLICATION_RELEASE, "pump-x2", 1, "sr:application-release:pump-x2:0001"),
        (Role.ROOT, None, 9999, "sr:root:-:9999"),
        (Role.PACKAGE_WRAP, "0", 10, "sr:package-wrap:0:0010"),
    ],
)
def test_labels(role: Role, product: str | None, sequence: int, label: str) -> None:
    assert key_label(KEY_SPECS[role], product, sequence) == label
    assert parse_key_label(label) == LabelParts(role, product, sequence)


@given(role=st.sampled_from(Role), product=st.none() | SLUGS, sequence=st.integers(1, MAX_SEQUENCE))
def test_every_label_made_is_read_back(role: Role, product: str | None, sequence: int) -> None:
    label = key_label(KEY_SPECS[role], product, sequence)
    assert parse_key_label(label) == LabelParts(role, product, sequence)
    assert len(label) <= 61
    assert label.isascii()


@pytest.mark.parametrize("product", ["", "-", "-a", "a-", "Pump", "pump x2", "a:b", "ü", "a" * 33, "a\n", "pump_x2"])
def test_products_outside_the_scheme(product: str) -> None:
    with pytest.raises(ConfigurationError):
        key_label(KEY_SPECS[Role.ROOT], product, 1)


@pytest.mark.parametrize("sequence", [-1, 0, MAX_SEQUENCE + 1])
def test_sequence_numbers_outside_the_scheme(sequence: int) -> None:
    with pytest.raises(ConfigurationError):
        key_label(KEY_SPECS[Role.ROOT], "pump", sequence)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "sr",
        "sr:root:-",
        "sr:root:-:0001:",
        "xx:root:-:0001",
        "SR:root:-:0001",
        "sr:Root:-:0001",
        "sr:nobody:-:0001",
        "sr:root::0001",
        "sr:root:Pump:0001",
        "sr:root:-:0000",
        "sr:root:-:1",
        "sr:root:-:00001",
        "sr:root:-:+001",
        "sr:root:-:\u0660\u0660\u0660\u0661",
        "sr:root:-:0001\n",
        "unfinished:sr:root:-:0001",
        f"sr:root:{'a' * (MAX_PRODUCT_SLUG_LENGTH + 1)}:0001",
    ],
)
def test_strings_that_are_no_labels(label: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_key_label(label)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="sr:ot-0 19axR\n", max_size=40))
def test_a_string_is_refused_or_is_exactly_what_the_scheme_makes(text: str) -> None:
    try:
        parts = parse_key_label(text)
    except ConfigurationError:
        return
    assert key_label(KEY_SPECS[parts.role], parts.product, parts.sequence) == text


def test_a_spec_is_a_value() -> None:
    spec = KEY_SPECS[Role.ROOT]
    assert replace(spec) == spec
    with pytest.raises(AttributeError):
        spec.extractable = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "module",
    ["values", "errors", "roles", "key_specs", "key_states", "key_audit", "x509_profiles", "lint", "x509_names"],
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    """Start-up time is a feature: these are imported by every command."""
    script = f"import sys, pki.{module}; print(sorted({{'cryptography', 'asn1crypto'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"
