"""Every rule of the certificate lint: it passes what is right, and it alone objects when its one thing is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto.algos import SignedDigestAlgorithm
from asn1crypto.keys import ECPointBitString, PublicKeyInfo
from asn1crypto.x509 import BasicConstraints, ExtKeyUsageSyntax, KeyUsage, Name, RDNSequence, Time

from pki.errors import FormatError, PolicyViolation
from pki.hardware_module_name import HardwareModuleName
from pki.lint import LintFinding, require_clean
from pki.x509_certificates import issue_certificate, issue_root_certificate
from pki.x509_lint import CERTIFICATE_RULES, LintContext, lint_certificate, serial_number_fault
from pki.x509_parse import parse_certificate
from pki.x509_profiles import (
    CODE_SIGNING,
    DEVICE_IDENTITY,
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_BASIC_CONSTRAINTS,
    OID_EXTENDED_KEY_USAGE,
    OID_KEY_USAGE,
    OID_SUBJECT_ALTERNATIVE_NAME,
    OID_SUBJECT_KEY_IDENTIFIER,
    PRODUCTION_CA,
    ROOT_CA,
    CertificateProfile,
)
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey


@dataclass(frozen=True)
class Subject:
    """A certificate of the world, and what is needed to judge and re-sign it."""

    der: bytes
    profile: CertificateProfile
    issuer_der: bytes | None
    issuer_key: SoftwareKey

    def context(self, now: datetime = w.NOW) -> LintContext:
        issuer = None if self.issuer_der is None else parse_certificate(self.issuer_der)
        return LintContext(self.profile, issuer, now)


ROOT = Subject(w.WORLD.root, ROOT_CA, None, w.ROOT_KEY)
PRODUCTION = Subject(w.WORLD.production, PRODUCTION_CA, w.WORLD.root, w.ROOT_KEY)
CODE = Subject(w.WORLD.code, CODE_SIGNING, w.WORLD.production, w.PRODUCTION_KEY)
DEVICE = Subject(w.WORLD.device, DEVICE_IDENTITY, w.WORLD.production, w.PRODUCTION_KEY)


@pytest.mark.parametrize("subject", [ROOT, PRODUCTION, CODE, DEVICE], ids=lambda s: s.profile.name)
@pytest.mark.parametrize("rule_id", CERTIFICATE_RULES)
def test_every_rule_passes_what_is_right(subject: Subject, rule_id: str) -> None:
    assert CERTIFICATE_RULES[rule_id](parse_certificate(subject.der), subject.context()) is None


def _serial(value: int) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        tbs["serial_number"] = value

    return mutate


def _validity(begin: datetime | None = None, end: datetime | None = None) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        if begin is not None:
            tbs["validity"]["not_before"] = Time("utc_time", begin)
        if end is not None:
            tbs["validity"]["not_after"] = Time("general_time" if end.year > 2049 else "utc_time", end)

    return mutate


def _subject(**attributes: str) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        tbs["subject"] = Name.build(attributes)

    return mutate


def _reversed_subject(tbs: Any) -> None:
    tbs["subject"] = Name("", RDNSequence(list(reversed(list(tbs["subject"].chosen)))))


def _extension(oid: str, value: core.Asn1Value | bytes, critical: bool | None = None) -> w.Mutation:
    return lambda tbs: w.set_extension(tbs["extensions"], oid, value, critical)


def _criticality(oid: str, critical: bool) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        value = w.find_extension(tbs["extensions"], oid)["extn_value"].contents
        w.set_extension(tbs["extensions"], oid, bytes(value), critical)

    return mutate


def _signature_algorithm(tbs: Any) -> None:
    tbs["signature"] = SignedDigestAlgorithm({"algorithm": "sha384_ecdsa"})


def _compressed_key(tbs: Any) -> None:
    point = bytes(tbs["subject_public_key_info"]["public_key"].native)
    _replace_point(tbs, bytes([2 + (point[-1] & 1)]) + point[1:33])


def _point_off_the_curve(tbs: Any) -> None:
    point = bytearray(tbs["subject_public_key_info"]["public_key"].native)
    point[-1] ^= 1
    _replace_point(tbs, bytes(point))


def _replace_point(tbs: Any, point: bytes) -> None:
    key = tbs["subject_public_key_info"]
    tbs["subject_public_key_info"] = PublicKeyInfo(
        {"algorithm": key["algorithm"], "public_key": ECPointBitString(point)}
    )


def _key_of(key: SoftwareKey, with_identifier: bool = True) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        _replace_point(tbs, b"\x04" + key.public_key.point)
        if with_identifier:
            w.set_extension(tbs["extensions"], OID_SUBJECT_KEY_IDENTIFIER, core.OctetString(key.public_key.cka_id))

    return mutate


def _issuer_name(tbs: Any) -> None:
    tbs["issuer"] = Name.build({"organization_name": w.ORGANIZATION, "common_name": "Somebody else"})


def _san(*names: bytes) -> w.Mutation:
    """subjectAltName with GeneralNames given as DER."""
    body = b"".join(names)
    return _extension(OID_SUBJECT_ALTERNATIVE_NAME, b"\x30" + bytes([len(body)]) + body)


def _hardware_module_name(serial: bytes) -> bytes:
    return _other_name("1.3.6.1.5.5.7.8.4", HardwareModuleName(w.HARDWARE_TYPE, serial).to_der())


def _other_name(oid: str, value: bytes) -> bytes:
    identifier: bytes = core.ObjectIdentifier(oid).dump()
    body = identifier + b"\xa0" + bytes([len(value)]) + value
    return b"\xa0" + bytes([len(body)]) + body


def _authority_with_serial(tbs: Any) -> None:
    identifier = b"\x80\x14" + w.PRODUCTION_KEY.public_key.cka_id
    issuer = b"\xa1\x0b\x82\x09device.eu"
    body = identifier + issuer + b"\x82\x01\x05"
    w.set_extension(tbs["extensions"], OID_AUTHORITY_KEY_IDENTIFIER, b"\x30" + bytes([len(body)]) + body)


CORRECT_NAME = _hardware_module_name(b"SN-000123")
DNS_NAME = b"\x82\x09device.eu"


@dataclass(frozen=True)
class Broken:
    """One thing wrong: the rule that must object, the certificate, the change, and the time of the check."""

    rule_id: str
    what: str
    subject: Subject
    mutate: w.Mutation = lambda _: None
    now: datetime = w.NOW
    # Other rules that cannot but object too.
    also: frozenset[str] = field(default_factory=frozenset)


BROKEN = [
    Broken("X509-02", "sequential", CODE, _serial(1234)),
    Broken("X509-02", "21 octets", CODE, _serial(1 << 160)),
    Broken("X509-02", "top bits 00", CODE, _serial((1 << 158) - 1)),
    Broken("X509-02", "stuck generator", CODE, _serial(int.from_bytes(b"\x5a" * 20, "big"))),
    Broken("X509-03", "ecdsa-with-SHA384", CODE, _signature_algorithm, also=frozenset({"X509-20"})),
    Broken("X509-04", "compressed point", CODE, _compressed_key),
    Broken("X509-04", "point off the curve", CODE, _point_off_the_curve),
    Broken("X509-05", "another name", CODE, _issuer_name),
    Broken("X509-05", "root that names another", ROOT, _issuer_name),
    Broken("X509-06", "no common name", CODE, _subject(organization_name=w.ORGANIZATION)),
    Broken("X509-06", "order", CODE, _reversed_subject),
    Broken(
        "X509-06",
        "serialNumber not in the profile",
        CODE,
        _subject(organization_name=w.ORGANIZATION, common_name="x", serial_number="1"),
    ),
    Broken(
        "X509-06",
        "unknown attribute",
        CODE,
        _subject(organization_name=w.ORGANIZATION, common_name="x", locality_name="y"),
    ),
    Broken("X509-06", "empty", CODE, _subject(), also=frozenset({"X509-07"})),
    Broken(
        "X509-07", "another organization", CODE, _subject(organization_name="Other AG", common_name="Release tools")
    ),
    Broken("X509-08", "ends before it begins", CODE, _validity(end=w.NOW - timedelta(days=1))),
    Broken("X509-08", "too long", CODE, _validity(end=w.NOW + timedelta(days=3 * 365, seconds=1))),
    Broken("X509-08", "checked long after its beginning", ROOT, now=w.NOW + timedelta(minutes=5, seconds=1)),
    Broken("X509-08", "begins too late", CODE, _validity(begin=w.NOW + timedelta(days=90, seconds=1))),
    Broken(
        "X509-09", "begins before its issuer", CODE, _validity(w.NOW - timedelta(minutes=1), w.NOW + timedelta(days=9))
    ),
    Broken("X509-09", "device identity that ends", DEVICE, _validity(end=w.NOW + timedelta(days=3650))),
    Broken("X509-10", "no key usage", CODE, lambda tbs: w.drop_extension(tbs["extensions"], OID_KEY_USAGE)),
    Broken("X509-10", "one too many", CODE, _extension("2.5.29.32", bytes.fromhex("3006300406022a03"))),
    Broken("X509-10", "key usage not critical", CODE, _criticality(OID_KEY_USAGE, False)),
    Broken("X509-10", "basicConstraints not critical", PRODUCTION, _criticality(OID_BASIC_CONSTRAINTS, False)),
    Broken("X509-10", "key identifier critical", CODE, _criticality(OID_SUBJECT_KEY_IDENTIFIER, True)),
    Broken("X509-11", "leaf is a CA", CODE, _extension(OID_BASIC_CONSTRAINTS, BasicConstraints({"ca": True}))),
    Broken(
        "X509-11",
        "path length",
        PRODUCTION,
        _extension(OID_BASIC_CONSTRAINTS, BasicConstraints({"ca": True, "path_len_constraint": 2})),
    ),
    Broken("X509-11", "no path length", PRODUCTION, _extension(OID_BASIC_CONSTRAINTS, BasicConstraints({"ca": True}))),
    Broken("X509-12", "too much", CODE, _extension(OID_KEY_USAGE, KeyUsage({"digital_signature", "key_agreement"}))),
    Broken("X509-12", "CA without cRLSign", PRODUCTION, _extension(OID_KEY_USAGE, KeyUsage({"key_cert_sign"}))),
    Broken("X509-13", "another", CODE, _extension(OID_EXTENDED_KEY_USAGE, ExtKeyUsageSyntax(["server_auth"]))),
    Broken(
        "X509-13",
        "one more",
        CODE,
        _extension(OID_EXTENDED_KEY_USAGE, ExtKeyUsageSyntax(["code_signing", "email_protection"])),
    ),
    Broken("X509-14", "not of the key", CODE, _extension(OID_SUBJECT_KEY_IDENTIFIER, core.OctetString(b"\x01" * 20))),
    Broken("X509-14", "key without its identifier", CODE, _key_of(w.DEVICE_KEY, with_identifier=False)),
    Broken(
        "X509-15",
        "not the issuer's",
        CODE,
        _extension(OID_AUTHORITY_KEY_IDENTIFIER, bytes.fromhex("3003800101")),
    ),
    Broken(
        "X509-15",
        "with issuer and serial",
        CODE,
        _authority_with_serial,
    ),
    Broken("X509-16", "a DNS name", DEVICE, _san(DNS_NAME)),
    Broken("X509-16", "two names", DEVICE, _san(CORRECT_NAME, DNS_NAME)),
    Broken("X509-16", "another otherName", DEVICE, _san(_other_name("1.2.3.4", b"\x05\x00"))),
    Broken("X509-16", "not a HardwareModuleName", DEVICE, _san(_other_name("1.3.6.1.5.5.7.8.4", b"\x05\x00"))),
    Broken("X509-16", "another serial number", DEVICE, _san(_hardware_module_name(b"SN-000124"))),
    Broken("X509-18", "the issuer's own key", CODE, _key_of(w.PRODUCTION_KEY)),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: f"{b.rule_id} {b.what}")
def test_one_rule_objects_to_one_fault(broken: Broken) -> None:
    der = w.changed_certificate(broken.subject.der, broken.mutate, broken.subject.issuer_key)
    found = {
        finding.rule_id for finding in lint_certificate(parse_certificate(der), broken.subject.context(broken.now))
    }
    assert found - broken.also == {broken.rule_id}


def test_x509_01_version_1() -> None:
    der = w.changed_certificate(CODE.der, _drop_all_extensions_and_version, CODE.issuer_key)
    found = [f.rule_id for f in lint_certificate(parse_certificate(der), CODE.context())]
    assert found == ["X509-01", "X509-10"]


def _drop_all_extensions_and_version(tbs: Any) -> None:
    tbs["version"] = "v1"
    tbs["extensions"] = None


def test_x509_17_issuer_of_another_profile() -> None:
    context = replace(CODE.context(), issuer=parse_certificate(w.WORLD.root))
    assert CERTIFICATE_RULES["X509-17"](parse_certificate(CODE.der), context) is not None
    assert CERTIFICATE_RULES["X509-17"](parse_certificate(CODE.der), replace(context, issuer=None)) is not None
    assert CERTIFICATE_RULES["X509-17"](parse_certificate(ROOT.der), replace(context, profile=ROOT_CA)) is not None
    leaf_as_issuer = replace(context, issuer=parse_certificate(w.WORLD.device))
    assert CERTIFICATE_RULES["X509-17"](parse_certificate(CODE.der), leaf_as_issuer) is not None


@pytest.mark.parametrize("moment", [w.NOW - timedelta(seconds=1), w.NOW + timedelta(days=25 * 365, seconds=1)])
def test_x509_19_issuer_not_valid_now(moment: datetime) -> None:
    assert CERTIFICATE_RULES["X509-19"](parse_certificate(CODE.der), CODE.context(moment)) is not None


@pytest.mark.parametrize("subject", [ROOT, CODE], ids=lambda s: s.profile.name)
def test_x509_20_signature_of_another_key(subject: Subject) -> None:
    der = w.changed_certificate(subject.der, lambda _: None, SoftwareKey("stranger"))
    assert [f.rule_id for f in lint_certificate(parse_certificate(der), subject.context())] == ["X509-20"]


@pytest.mark.parametrize("value", [-5, 0])
def test_a_serial_number_below_one_is_refused_when_parsing(value: int) -> None:
    with pytest.raises(FormatError, match="serial number"):
        parse_certificate(w.changed_certificate(CODE.der, _serial(value), CODE.issuer_key))


def test_a_repeated_extension_is_refused_when_parsing() -> None:
    def repeat(tbs: Any) -> None:
        tbs["extensions"].append(w.find_extension(tbs["extensions"], OID_KEY_USAGE))

    with pytest.raises(FormatError):
        parse_certificate(w.changed_certificate(CODE.der, repeat, CODE.issuer_key))


def test_every_rule_has_a_test_in_which_it_objects() -> None:
    tested_apart = {"X509-01", "X509-17", "X509-19", "X509-20"}
    assert {broken.rule_id for broken in BROKEN} | tested_apart == set(CERTIFICATE_RULES)


def test_serial_number_bounds() -> None:
    distinct = int.from_bytes(bytes(range(20)), "big")
    assert serial_number_fault(distinct | 1 << 158) is None
    assert serial_number_fault(distinct | 1 << 159) is not None
    assert serial_number_fault(distinct | 3 << 158) is not None


def test_require_clean_names_every_finding_in_one_line() -> None:
    require_clean([])
    with pytest.raises(PolicyViolation, match=r"^\[X-1\] one; \[X-2\] two$") as caught:
        require_clean([LintFinding("X-1", "one"), LintFinding("X-2", "two")])
    assert caught.value.rule_id == "X-1"


def test_x509_09_outlives_its_issuer() -> None:
    short_root = issue_root_certificate(replace(w.ROOT_PLAN, validity_days=1000), w.ROOT_KEY.sign, w.NOW)
    key = SoftwareKey("root")
    with pytest.raises(PolicyViolation, match="X509-09"):
        issue_certificate(replace(w.PRODUCTION_PLAN, validity_days=1001), short_root, key.sign, w.NOW)
    assert key.signature_count == 0
    issue_certificate(replace(w.PRODUCTION_PLAN, validity_days=1000), short_root, key.sign, w.NOW)
    assert key.signature_count == 1


def test_nothing_is_signed_when_the_lint_objects() -> None:
    key = SoftwareKey("root")
    late = replace(w.ROOT_PLAN, not_before=w.NOW + timedelta(days=91))
    with pytest.raises(PolicyViolation, match="X509-08"):
        issue_root_certificate(late, key.sign, w.NOW)
    assert key.signature_count == 0
