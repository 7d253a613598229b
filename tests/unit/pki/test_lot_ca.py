"""A lot's issuing CA: certified by the production CA, for devices only; what `openssl verify` says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pki.chain import Purpose, check_chain
from pki.device_identity import device_name, uid_of_certificate
from pki.errors import ChainInvalid, InputRefused, PolicyViolation
from pki.x509_certificates import issue_certificate
from pki.x509_crls import Revocation
from pki.x509_names import DistinguishedName
from pki.x509_parse import parse_certificate
from pki.x509_profiles import CODE_SIGNING, DEVICE_IDENTITY, LOT_CA, PRODUCTION_CA
from signer.certificates import (
    IssueOrder,
    create_request,
    issue_device_identity,
    issue_from_request,
    issue_revocation_list,
)
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey

LOT_CA_KEY = SoftwareKey("lot-ca", "sr:lot-ca:pump-x2:0001")
LOT_CA_ORDER = IssueOrder(LOT_CA, w.name("Lot LOT-2026-11"), w.entropy("l"), 20 * 365)
LOT_CA_DER = issue_from_request(
    w.PRODUCTION_KEY, w.WORLD.production, LOT_CA_ORDER, create_request(LOT_CA_KEY, LOT_CA_ORDER.name), w.NOW
)
UID = bytes(range(12)) + bytes(4)
DEVICE_ORDER = IssueOrder(
    DEVICE_IDENTITY, device_name(w.ORGANIZATION, UID, "(21)A0001"), w.entropy("ld"), None, w.HARDWARE_TYPE
)


def device_of_lot() -> bytes:
    return issue_device_identity(LOT_CA_KEY, LOT_CA_DER, DEVICE_ORDER, w.DEVICE_KEY.public_key, w.NOW)


def test_a_device_leads_through_its_lots_ca_to_the_root_here_and_for_openssl(tmp_path: Path) -> None:
    device, between = device_of_lot(), [LOT_CA_DER, w.WORLD.production]
    lot_crl = issue_revocation_list(LOT_CA_KEY, LOT_CA, LOT_CA_DER, None, [], 400, w.NOW)
    crls = [w.WORLD.root_crl, w.WORLD.production_crl, lot_crl]
    found = check_chain(device, between, w.WORLD.root, w.NOW, Purpose.DEVICE_IDENTITY, crls)
    assert found.public_key == w.DEVICE_KEY.public_key
    assert uid_of_certificate(found.certificate) == UID
    assert w.openssl_accepts(tmp_path, device, between, w.WORLD.root, w.NOW, crls)


def test_a_revoked_lot_ca_ends_its_devices_and_no_others(tmp_path: Path) -> None:
    device, between = device_of_lot(), [LOT_CA_DER, w.WORLD.production]
    revoked = w.next_crl(w.WORLD, [Revocation(w.serial_number(LOT_CA_DER), w.NOW, "keyCompromise")])
    lot_crl = issue_revocation_list(LOT_CA_KEY, LOT_CA, LOT_CA_DER, None, [], 400, w.NOW)
    crls = [w.WORLD.root_crl, revoked, lot_crl]
    with pytest.raises(ChainInvalid, match="CH-15"):
        check_chain(device, between, w.WORLD.root, w.NOW, Purpose.DEVICE_IDENTITY, crls)
    assert not w.openssl_accepts(tmp_path, device, between, w.WORLD.root, w.NOW, crls)
    check_chain(w.WORLD.device, [w.WORLD.production], w.WORLD.root, w.NOW, Purpose.DEVICE_IDENTITY, crls)


def test_ch_09_a_lot_ca_has_no_ca_below_it(tmp_path: Path) -> None:
    # The profile's own issuer check is passed over: a stolen lot CA key would not ask it.
    unlinted = replace(w.PRODUCTION_PLAN, profile=replace(PRODUCTION_CA, issued_by=("lot-ca",)), validity_days=30)
    below = issue_certificate(
        replace(unlinted, subject=w.name("Sub CA"), public_key=w.CODE_KEY.public_key),
        LOT_CA_DER,
        LOT_CA_KEY.sign,
        w.NOW,
    )
    between = [LOT_CA_DER, w.WORLD.production]
    with pytest.raises(ChainInvalid, match="CH-09"):
        check_chain(below, between, w.WORLD.root, w.NOW, Purpose.CERTIFICATE_AUTHORITY, None)
    leaf = issue_certificate(
        replace(w.DEVICE_PLAN, profile=replace(DEVICE_IDENTITY, issued_by=("production-ca",))),
        below,
        w.CODE_KEY.sign,
        w.NOW,
    )
    assert not w.openssl_accepts(tmp_path, leaf, [below, *between], w.WORLD.root, w.NOW, None)


def test_x509_17_a_lot_ca_certifies_devices_only() -> None:
    order = IssueOrder(CODE_SIGNING, w.name("Tools"), w.entropy("c"), 30)
    with pytest.raises(PolicyViolation, match="CA-01"):
        issue_from_request(LOT_CA_KEY, LOT_CA_DER, order, create_request(w.CODE_KEY, order.name), w.NOW)
    with pytest.raises(PolicyViolation, match="X509-17"):
        issue_certificate(replace(w.CODE_PLAN, validity_days=30), LOT_CA_DER, LOT_CA_KEY.sign, w.NOW)


def test_ca_01_the_root_certifies_no_lot() -> None:
    request = create_request(LOT_CA_KEY, LOT_CA_ORDER.name)
    with pytest.raises(PolicyViolation, match="CA-01"):
        issue_from_request(w.ROOT_KEY, w.WORLD.root, LOT_CA_ORDER, request, w.NOW)


def test_ca_01_a_device_is_certified_without_request_by_its_lots_ca_alone() -> None:
    with pytest.raises(PolicyViolation, match="CA-01"):
        issue_device_identity(w.PRODUCTION_KEY, w.WORLD.production, DEVICE_ORDER, w.DEVICE_KEY.public_key, w.NOW)


def test_ca_03_nothing_but_a_device_is_certified_without_request() -> None:
    with pytest.raises(PolicyViolation, match="CA-03"):
        issue_device_identity(LOT_CA_KEY, LOT_CA_DER, LOT_CA_ORDER, w.CODE_KEY.public_key, w.NOW)


def test_x509_09_a_lot_ca_ends_with_its_issuer() -> None:
    later = w.NOW + timedelta(days=5 * 365 + 1)
    full = replace(LOT_CA_ORDER, validity_days=20 * 365)
    request = create_request(LOT_CA_KEY, LOT_CA_ORDER.name)
    with pytest.raises(PolicyViolation, match="X509-09"):
        issue_from_request(w.PRODUCTION_KEY, w.WORLD.production, full, request, later)
    issue_from_request(w.PRODUCTION_KEY, w.WORLD.production, full, request, later - timedelta(days=1))


def test_a_device_without_serial_number_is_named_by_its_uid() -> None:
    named = device_name(w.ORGANIZATION, UID)
    assert named.serial_number == UID.hex()
    assert named.common_name == f"uid:{UID.hex()}"
    with pytest.raises(InputRefused):
        device_name(w.ORGANIZATION, UID[:12])
    with pytest.raises(InputRefused):
        device_name(w.ORGANIZATION, UID, "A_1")


def test_a_certificate_of_another_name_names_no_uid() -> None:
    assert uid_of_certificate(parse_certificate(w.WORLD.device)) is None
    assert DistinguishedName.from_x509(parse_certificate(device_of_lot()).subject).serial_number == "(21)A0001"
