"""Issuing with keys in tokens: a key acts in its role only, and only for its own certificate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pki.chain import Purpose, check_chain
from pki.errors import ConfigurationError, PolicyViolation
from pki.key_specs import KEY_SPECS, key_label
from pki.roles import Role
from pki.x509_crls import Revocation
from pki.x509_parse import certificate_public_key, parse_certificate
from pki.x509_profiles import CODE_SIGNING, DEVICE_IDENTITY, PRODUCTION_CA, ROOT_CA
from pki.x509_requests import make_request
from signer.certificates import (
    REQUEST_ROLES,
    IssueOrder,
    create_request,
    create_root_ca,
    issue_from_request,
    issue_revocation_list,
)
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey

ROOT_ORDER = IssueOrder(ROOT_CA, w.name("Root CA"), w.entropy("r"), 1000)
PRODUCTION_ORDER = IssueOrder(PRODUCTION_CA, w.name("Production CA"), w.entropy("p"), 900)
CODE_ORDER = IssueOrder(CODE_SIGNING, w.name("Tools"), w.entropy("c"), 365)
DEVICE_ORDER = IssueOrder(DEVICE_IDENTITY, w.name(serial_number="SN-7"), w.entropy("d"), None, w.HARDWARE_TYPE)


def test_a_whole_authority(tmp_path: Path) -> None:
    root = create_root_ca(w.ROOT_KEY, ROOT_ORDER, w.NOW)
    production = issue_from_request(
        w.ROOT_KEY, root, PRODUCTION_ORDER, create_request(w.PRODUCTION_KEY, PRODUCTION_ORDER.name), w.NOW
    )
    code = issue_from_request(
        w.PRODUCTION_KEY, production, CODE_ORDER, create_request(w.CODE_KEY, CODE_ORDER.name), w.NOW
    )
    device_request = make_request(DEVICE_ORDER.name, w.DEVICE_KEY.public_key, w.DEVICE_KEY.sign)
    device = issue_from_request(w.PRODUCTION_KEY, production, DEVICE_ORDER, device_request, w.NOW)
    root_crl = issue_revocation_list(w.ROOT_KEY, ROOT_CA, root, None, [], 400, w.NOW)
    revoked = [Revocation(w.serial_number(code), w.NOW, "superseded")]
    crl = issue_revocation_list(w.PRODUCTION_KEY, PRODUCTION_CA, production, None, revoked, 30, w.NOW)
    crls = [root_crl, crl]

    check_chain(device, [production], root, w.NOW, Purpose.DEVICE_IDENTITY, crls)
    assert w.openssl_accepts(tmp_path, device, [production], root, w.NOW, crls)
    assert w.openssl_accepts(tmp_path, code, [production], root, w.NOW, None)
    assert not w.openssl_accepts(tmp_path, code, [production], root, w.NOW, crls)
    assert certificate_public_key(parse_certificate(code)) == w.CODE_KEY.public_key


def key_in_role(role: Role) -> SoftwareKey:
    return SoftwareKey("root", key_label(KEY_SPECS[role], None, 1))


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ROOT_CA}))
def test_ca_01_only_a_root_ca_key_makes_a_root_certificate(role: Role) -> None:
    key = key_in_role(role)
    with pytest.raises(PolicyViolation, match="CA-01"):
        create_root_ca(key, ROOT_ORDER, w.NOW)
    assert key.signature_count == 0


@pytest.mark.parametrize("role", sorted(set(Role) - REQUEST_ROLES))
def test_ca_01_no_key_that_a_device_accepts_signs_a_request(role: Role) -> None:
    key = key_in_role(role)
    with pytest.raises(PolicyViolation, match="CA-01"):
        create_request(key, CODE_ORDER.name)
    assert key.signature_count == 0


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.PRODUCTION_CA, Role.LOT_CA}))
def test_ca_01_only_keys_of_issuing_cas_issue_to_devices(role: Role) -> None:
    key = key_in_role(role)
    request = make_request(DEVICE_ORDER.name, w.DEVICE_KEY.public_key, w.DEVICE_KEY.sign)
    with pytest.raises(PolicyViolation, match="CA-01"):
        issue_from_request(key, w.WORLD.production, DEVICE_ORDER, request, w.NOW)
    with pytest.raises(PolicyViolation, match="CA-01"):
        issue_revocation_list(key, PRODUCTION_CA, w.WORLD.production, None, [], 30, w.NOW)
    assert key.signature_count == 0


@pytest.mark.parametrize("profile", [CODE_SIGNING, DEVICE_IDENTITY])
def test_ca_01_leaf_profiles_issue_no_crl(profile: object) -> None:
    with pytest.raises(PolicyViolation, match="CA-01"):
        issue_revocation_list(w.CODE_KEY, profile, w.WORLD.code, None, [], 30, w.NOW)  # type: ignore[arg-type]


def test_ca_02_a_key_issues_under_its_own_certificate_only() -> None:
    other = SoftwareKey("production 2", "sr:production-ca:-:0002")
    with pytest.raises(PolicyViolation, match="CA-02"):
        issue_revocation_list(other, PRODUCTION_CA, w.WORLD.production, None, [], 30, w.NOW)
    request = make_request(DEVICE_ORDER.name, w.DEVICE_KEY.public_key, w.DEVICE_KEY.sign)
    with pytest.raises(PolicyViolation, match="CA-02"):
        issue_from_request(other, w.WORLD.production, DEVICE_ORDER, request, w.NOW)
    assert other.signature_count == 0


def test_ca_03_self_signed_and_issued_profiles_are_not_mixed_up() -> None:
    with pytest.raises(PolicyViolation, match="CA-03"):
        create_root_ca(w.ROOT_KEY, PRODUCTION_ORDER, w.NOW)
    request = make_request(ROOT_ORDER.name, w.DEVICE_KEY.public_key, w.DEVICE_KEY.sign)
    with pytest.raises(PolicyViolation, match="CA-03"):
        issue_from_request(w.ROOT_KEY, w.WORLD.root, ROOT_ORDER, request, w.NOW)


def test_csr_04_the_request_must_ask_for_the_approved_name() -> None:
    request = create_request(w.CODE_KEY, w.name("Other tools"))
    with pytest.raises(PolicyViolation, match="CSR-04"):
        issue_from_request(w.PRODUCTION_KEY, w.WORLD.production, CODE_ORDER, request, w.NOW)


def test_a_key_without_a_label_of_ours_has_no_role() -> None:
    with pytest.raises(ConfigurationError, match="not a key label"):
        create_root_ca(SoftwareKey("root", "my key"), ROOT_ORDER, w.NOW)


def test_orders_are_values() -> None:
    assert replace(CODE_ORDER) == CODE_ORDER
