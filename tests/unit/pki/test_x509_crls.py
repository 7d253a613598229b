"""CRLs: openssl verifies them, each lint rule objects to its one fault, and nothing revoked is ever taken back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core, crl
from asn1crypto.x509 import Name, Time
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.errors import ChainInvalid, FormatError, InputRefused, PolicyViolation, SignatureInvalid
from pki.x509_certificates import issue_root_certificate
from pki.x509_crl_lint import CRL_RULES, CrlLintContext, crl_number, lint_crl
from pki.x509_crls import CrlPlan, Revocation, issue_crl, revocations_of
from pki.x509_parse import crl_der, parse_certificate, parse_crl
from pki.x509_profiles import CODE_SIGNING, OID_AUTHORITY_KEY_IDENTIFIER, OID_CRL_NUMBER, PRODUCTION_CA, ROOT_CA
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey, WrongKey

DAY = timedelta(days=1)
CODE_SERIAL = w.serial_number(w.WORLD.code)
DEVICE_SERIAL = w.serial_number(w.WORLD.device)
REVOCATIONS = [Revocation(CODE_SERIAL, w.NOW, "keyCompromise"), Revocation(DEVICE_SERIAL, w.NOW)]
SECOND = w.next_crl(w.WORLD, REVOCATIONS)
CONTEXT = CrlLintContext(parse_certificate(w.WORLD.production), parse_crl(w.WORLD.production_crl), 100, w.NOW)


def test_openssl_verifies_and_reads_it(tmp_path: Path) -> None:
    (tmp_path / "crl.pem").write_bytes(w.pem(SECOND, "X509 CRL"))
    (tmp_path / "ca.pem").write_bytes(w.pem(w.WORLD.production))
    shown = w.openssl("crl", "-in", tmp_path / "crl.pem", "-CAfile", tmp_path / "ca.pem", "-noout", "-text")
    assert shown.returncode == 0
    assert "verify OK" in shown.stderr
    text = " ".join(shown.stdout.split())
    assert "Version 2 (0x1)" in text
    assert "X509v3 CRL Number: 2" in text
    assert "Last Update: Nov 22 12:00:00 2026 GMT Next Update: Mar 2 12:00:00 2027 GMT" in text
    assert f"Serial Number: {CODE_SERIAL:040X}" in text
    assert text.count("Serial Number:") == 2
    assert text.count("X509v3 CRL Reason Code: Key Compromise") == 1


def test_openssl_notices_another_issuer(tmp_path: Path) -> None:
    (tmp_path / "crl.pem").write_bytes(
        w.pem(w.changed_crl(SECOND, lambda _: None, SoftwareKey("stranger")), "X509 CRL")
    )
    (tmp_path / "ca.pem").write_bytes(w.pem(w.WORLD.production))
    shown = w.openssl("crl", "-in", tmp_path / "crl.pem", "-CAfile", tmp_path / "ca.pem", "-noout")
    assert "verify failure" in shown.stderr


def test_entries_are_sorted_and_carried_over() -> None:
    first, later = sorted(REVOCATIONS, key=lambda revocation: revocation.serial_number)
    assert revocations_of(SECOND) == (first, later)
    third = w.next_crl(w.WORLD, [Revocation(5, w.NOW + DAY, "superseded")], previous=SECOND, at=w.NOW + DAY)
    assert revocations_of(third) == (Revocation(5, w.NOW + DAY, "superseded"), first, later)
    assert [crl_number(parse_crl(der)) for der in (w.WORLD.production_crl, SECOND, third)] == [1, 2, 3]


def test_pem() -> None:
    assert crl_der(w.pem(SECOND, "X509 CRL")) == SECOND


@pytest.mark.parametrize("rule_id", CRL_RULES)
def test_every_rule_passes_what_is_right(rule_id: str) -> None:
    assert CRL_RULES[rule_id](parse_crl(SECOND), CONTEXT) is None
    first_context = replace(CONTEXT, previous=None)
    assert CRL_RULES[rule_id](parse_crl(w.WORLD.production_crl), first_context) is None


def _time(field: str, moment: Any) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        tbs[field] = Time("utc_time", moment)

    return mutate


def _no_next_update(tbs: Any) -> None:
    tbs["next_update"] = None


def _issuer(tbs: Any) -> None:
    tbs["issuer"] = Name.build({"common_name": "Somebody else"})


def _extension(oid: str, value: core.Asn1Value | bytes, critical: bool | None = None) -> w.Mutation:
    return lambda tbs: w.set_extension(tbs["crl_extensions"], oid, value, critical)


def _swap_entries(tbs: Any) -> None:
    first, second = list(tbs["revoked_certificates"])
    tbs["revoked_certificates"] = crl.RevokedCertificates([second, first])


def _repeat_entry(tbs: Any) -> None:
    first, second = list(tbs["revoked_certificates"])
    tbs["revoked_certificates"] = crl.RevokedCertificates([first, first, second])


def _drop_first_entry(tbs: Any) -> None:
    tbs["revoked_certificates"] = crl.RevokedCertificates(list(tbs["revoked_certificates"])[1:])


def _revocation_date(moment: Any) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        tbs["revoked_certificates"][0]["revocation_date"] = Time("utc_time", moment)

    return mutate


def _reason(reason: str, critical: bool = False) -> w.Mutation:
    def mutate(tbs: Any) -> None:
        extension = crl.CRLEntryExtension(
            {"extn_id": "crl_reason", "critical": critical, "extn_value": crl.CRLReason(reason)}
        )
        tbs["revoked_certificates"][0]["crl_entry_extensions"] = crl.CRLEntryExtensions([extension])

    return mutate


def _invalidity_date(tbs: Any) -> None:
    extension = crl.CRLEntryExtension(
        {"extn_id": "invalidity_date", "critical": False, "extn_value": core.GeneralizedTime(w.NOW)}
    )
    tbs["revoked_certificates"][0]["crl_entry_extensions"] = crl.CRLEntryExtensions([extension])


@dataclass(frozen=True)
class Broken:
    """One thing wrong: the rule that must object, the change, and the context. `also` cannot but object too."""

    rule_id: str
    what: str
    mutate: w.Mutation = lambda _: None
    context: CrlLintContext = CONTEXT
    also: frozenset[str] = frozenset()


AFTER_SECOND = replace(CONTEXT, previous=parse_crl(SECOND))
THIRD = w.next_crl(w.WORLD, [], previous=SECOND, at=w.NOW + DAY)

BROKEN = [
    Broken("CRL-02", "another name", _issuer),
    Broken(
        "CRL-03",
        "thisUpdate later than now",
        context=replace(CONTEXT, now=w.NOW - timedelta(seconds=1)),
        also=frozenset({"CRL-13"}),
    ),
    Broken("CRL-03", "thisUpdate long before now", context=replace(CONTEXT, now=w.NOW + timedelta(seconds=301))),
    Broken("CRL-04", "no nextUpdate", _no_next_update),
    Broken("CRL-04", "nextUpdate before thisUpdate", _time("next_update", w.NOW - DAY)),
    Broken("CRL-04", "nextUpdate too late", _time("next_update", w.NOW + timedelta(days=100, seconds=1))),
    Broken("CRL-05", "no number", lambda tbs: w.drop_extension(tbs["crl_extensions"], OID_CRL_NUMBER)),
    Broken("CRL-05", "delta", _extension("2.5.29.27", core.Integer(1), critical=True)),
    Broken("CRL-05", "critical number", _extension(OID_CRL_NUMBER, core.Integer(2), critical=True)),
    Broken("CRL-06", "another key", _extension(OID_AUTHORITY_KEY_IDENTIFIER, bytes.fromhex("3003800101"))),
    Broken("CRL-07", "number repeated", _extension(OID_CRL_NUMBER, core.Integer(1))),
    Broken("CRL-07", "number skipped", _extension(OID_CRL_NUMBER, core.Integer(3))),
    Broken("CRL-07", "number too large", _extension(OID_CRL_NUMBER, core.Integer(2**63))),
    Broken("CRL-07", "first number is not 1", context=replace(CONTEXT, previous=None)),
    Broken("CRL-08", "order", _swap_entries),
    Broken("CRL-08", "repeated", _repeat_entry),
    Broken("CRL-08", "revoked in the future", _revocation_date(w.NOW + DAY)),
    Broken("CRL-08", "revoked before the issuer began", _revocation_date(w.NOW - DAY)),
    Broken("CRL-09", "hold", _reason("certificate_hold")),
    Broken("CRL-09", "critical reason", _reason("superseded", critical=True)),
    Broken("CRL-09", "another extension", _invalidity_date),
    Broken("CRL-14", "signature", lambda _: None),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: f"{b.rule_id} {b.what}")
def test_one_rule_objects_to_one_fault(broken: Broken) -> None:
    signer = SoftwareKey("stranger") if broken.rule_id == "CRL-14" else w.PRODUCTION_KEY
    der = w.changed_crl(SECOND, broken.mutate, signer)
    found = {finding.rule_id for finding in lint_crl(parse_crl(der), broken.context)}
    assert found - broken.also == {broken.rule_id}


def test_crl_01_another_signature_algorithm() -> None:
    builder = x509.CertificateRevocationListBuilder().issuer_name(CONTEXT.issuer.subject)
    builder = builder.last_update(w.NOW).next_update(w.NOW + DAY)
    crl = builder.sign(w.PRODUCTION_KEY.private_key, hashes.SHA384())
    assert CRL_RULES["CRL-01"](crl, CONTEXT) is not None


def test_crl_04_beyond_the_issuers_end() -> None:
    root = issue_root_certificate(replace(w.ROOT_PLAN, validity_days=200), w.ROOT_KEY.sign, w.NOW)
    with pytest.raises(PolicyViolation, match="CRL-04"):
        issue_crl(CrlPlan(ROOT_CA, root, None, [], 201), w.ROOT_KEY.sign, w.NOW)


@pytest.mark.parametrize(
    "mutate", [_drop_first_entry, _reason("superseded"), _revocation_date(w.NOW + timedelta(hours=1))]
)
def test_crl_10_a_revocation_taken_back_or_changed(mutate: w.Mutation) -> None:
    der = w.changed_crl(THIRD, mutate, w.PRODUCTION_KEY)
    context = replace(AFTER_SECOND, now=w.NOW + DAY)
    assert [finding.rule_id for finding in lint_crl(parse_crl(der), context)] == ["CRL-10"]


def test_crl_11_older_than_the_previous_one() -> None:
    der = w.changed_crl(THIRD, _time("this_update", w.NOW - timedelta(seconds=1)), w.PRODUCTION_KEY)
    assert CRL_RULES["CRL-11"](parse_crl(der), AFTER_SECOND) is not None
    assert CRL_RULES["CRL-11"](parse_crl(THIRD), AFTER_SECOND) is None


def test_crl_12_issuer_without_crl_sign() -> None:
    context = replace(CONTEXT, issuer=parse_certificate(w.WORLD.code))
    assert CRL_RULES["CRL-12"](parse_crl(SECOND), context) is not None


@pytest.mark.parametrize("days", [-1, 25 * 365 + 1])
def test_crl_13_issuer_not_valid_now(days: int) -> None:
    assert CRL_RULES["CRL-13"](parse_crl(SECOND), replace(CONTEXT, now=w.NOW + days * DAY)) is not None


def test_every_rule_has_a_test_in_which_it_objects() -> None:
    apart = {"CRL-01", "CRL-10", "CRL-11", "CRL-12", "CRL-13"}
    assert {broken.rule_id for broken in BROKEN} | apart == set(CRL_RULES)


PLAN = CrlPlan(PRODUCTION_CA, w.WORLD.production, SECOND, [], 30)
BAD_PLANS: dict[str, tuple[CrlPlan, type[Exception]]] = {
    "a profile that issues no CRL": (replace(PLAN, issuer_profile=CODE_SIGNING), InputRefused),
    "validity of nothing": (replace(PLAN, validity_days=0), InputRefused),
    "validity too long": (replace(PLAN, validity_days=101), InputRefused),
    "revoked already": (replace(PLAN, revoked=[Revocation(CODE_SERIAL, w.NOW)]), InputRefused),
    "named twice": (replace(PLAN, revoked=[Revocation(5, w.NOW)] * 2), InputRefused),
    "previous CRL of another": (replace(PLAN, previous_der=w.WORLD.root_crl), ChainInvalid),
    "previous CRL forged": (
        replace(PLAN, previous_der=w.changed_crl(SECOND, _drop_first_entry, SoftwareKey("stranger"))),
        ChainInvalid,
    ),
    "previous CRL malformed": (replace(PLAN, previous_der=SECOND[:-1]), FormatError),
    "revoked in the future": (replace(PLAN, revoked=[Revocation(5, w.NOW + DAY)]), PolicyViolation),
    "issuer is no CA": (replace(PLAN, issuer_der=w.WORLD.code, previous_der=None), PolicyViolation),
}


@pytest.mark.parametrize(("plan", "error"), BAD_PLANS.values(), ids=BAD_PLANS.keys())
def test_bad_plans_sign_nothing(plan: CrlPlan, error: type[Exception]) -> None:
    key = SoftwareKey("production")
    with pytest.raises(error):
        issue_crl(plan, key.sign, w.NOW)
    assert key.signature_count == 0


def test_a_wrong_signature_is_not_released() -> None:
    with pytest.raises(SignatureInvalid):
        issue_crl(PLAN, WrongKey("production").sign, w.NOW)


@pytest.mark.parametrize("reason", ["certificateHold", "removeFromCRL", "unspecified", "aACompromise", "KeyCompromise"])
def test_reasons_that_are_not_given(reason: str) -> None:
    with pytest.raises(InputRefused):
        Revocation(5, w.NOW, reason)


@pytest.mark.parametrize("serial_number", [-1, 0, 1 << 159])
def test_serial_numbers_that_no_certificate_has(serial_number: int) -> None:
    with pytest.raises(InputRefused):
        Revocation(serial_number, w.NOW)


def test_times_without_a_zone_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Revocation(5, w.NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="time zone"):
        issue_crl(PLAN, w.PRODUCTION_KEY.sign, w.NOW.replace(tzinfo=None))
