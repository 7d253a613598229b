"""Commands that sign certificates, requests and CRLs with keys in tokens, and record them in the key store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.cert_files import CERTIFICATE, CRL, REQUEST, read_certificate, read_crl, read_request, to_pem
from cli.context import change_by_operator, now, open_store, repository_of, signing_keys, site_of
from cli.options import JsonOption, OutputOption
from cli.output import emit
from pki.errors import InputRefused, PolicyViolation
from pki.key_specs import parse_key_label
from pki.roles import Role
from pki.values import PublicKey
from pki.x509_crls import Revocation
from pki.x509_lint import SERIAL_NUMBER_SIZE_BYTES
from pki.x509_names import DistinguishedName
from pki.x509_parse import certificate_public_key, parse_certificate
from pki.x509_profiles import (
    CERTIFICATE_PROFILES,
    CODE_SIGNING,
    DEVICE_IDENTITY,
    LOT_CA,
    PRODUCTION_CA,
    ROOT_CA,
    CertificateProfile,
)
from pki.x509_requests import verify_request
from signer import certificates
from signer.authority.development_material import refuse_fake_path, refuse_known_test_key
from signer.authority.repository import AuthorityRepository
from signer.new_file import NewFile
from signer.store.errors import KeyUnknown
from signer.store.values import KeyRecord

if TYPE_CHECKING:
    from signer.store.key_store import KeyStore

KeyOption = Annotated[str, typer.Option("--key", help="Label of the key; the key store knows its token.")]
CaKeyOption = Annotated[str, typer.Option("--ca-key", help="Label of the issuing CA's key.")]
CaCertOption = Annotated[Path, typer.Option("--ca-cert", help="The issuing CA's certificate.")]
CsrOption = Annotated[Path, typer.Option("--csr", help="The certification request.")]
OrganizationOption = Annotated[str, typer.Option("--organization", help="The name approved: organization.")]
CommonNameOption = Annotated[str, typer.Option("--common-name", help="The name approved: common name.")]
CountryOption = Annotated[str | None, typer.Option("--country", help="The name approved: two capital letters.")]
DaysOption = Annotated[int | None, typer.Option("--days", min=1, help="Days of validity; by default the profile's.")]


def root_ca(
    context: typer.Context,
    key: KeyOption,
    organization: OrganizationOption,
    common_name: CommonNameOption,
    out: OutputOption,
    country: CountryOption = None,
    days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue the self-signed certificate of a root CA key."""
    repository = repository_of(context)
    when = now()
    name = DistinguishedName(country, organization, common_name)
    with NewFile(out) as file, signing_keys(repository, site_of(context, repository), when) as keys:
        handle, session = keys.key_of_store(key, _role(ROOT_CA), None)
        order = certificates.IssueOrder(ROOT_CA, name, session.random(SERIAL_NUMBER_SIZE_BYTES), _days(ROOT_CA, days))
        der = certificates.create_root_ca(handle, order, when)
        with open_store(repository) as store:
            store.set_certificate(handle.cka_id, der, change_by_operator("root CA certificate issued", when))
        file.write_at(0, to_pem(der, CERTIFICATE))
        file.publish()
    _emit_certificate(der, out, as_json)


def csr(
    context: typer.Context,
    key: KeyOption,
    organization: OrganizationOption,
    common_name: CommonNameOption,
    out: OutputOption,
    country: CountryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a certification request (PKCS#10) for a production CA or code-signing key."""
    repository = repository_of(context)
    name = DistinguishedName(country, organization, common_name)
    with open_store(repository) as store:
        record = store.key(key)
    with NewFile(out) as file, signing_keys(repository, site_of(context, repository), now()) as keys:
        der = certificates.create_request(keys.key_for_request(record), name)
        file.write_at(0, to_pem(der, REQUEST))
        file.publish()
    emit({"file": str(out), "subject": str(name), "key": key}, as_json, f"wrote {out}: a request for {name}")


def production_ca(
    context: typer.Context,
    ca_key: CaKeyOption,
    ca_cert: CaCertOption,
    csr: CsrOption,
    organization: OrganizationOption,
    common_name: CommonNameOption,
    out: OutputOption,
    country: CountryOption = None,
    days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a production CA's certificate with the root CA's key, for exactly the name approved."""
    name = DistinguishedName(country, organization, common_name)
    _issue(context, _Issue(PRODUCTION_CA, name, ca_key, ca_cert, csr, out, days), as_json)


def lot_ca(
    context: typer.Context,
    ca_key: CaKeyOption,
    ca_cert: CaCertOption,
    csr: CsrOption,
    organization: OrganizationOption,
    common_name: CommonNameOption,
    out: OutputOption,
    country: CountryOption = None,
    days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue the certificate of a lot's issuing CA with a production CA's key, for exactly the name approved."""
    name = DistinguishedName(country, organization, common_name)
    _issue(context, _Issue(LOT_CA, name, ca_key, ca_cert, csr, out, days), as_json)


def code_signing(
    context: typer.Context,
    ca_key: CaKeyOption,
    ca_cert: CaCertOption,
    csr: CsrOption,
    organization: OrganizationOption,
    common_name: CommonNameOption,
    out: OutputOption,
    country: CountryOption = None,
    days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a code-signing certificate with a production CA's key, for exactly the name approved."""
    name = DistinguishedName(country, organization, common_name)
    _issue(context, _Issue(CODE_SIGNING, name, ca_key, ca_cert, csr, out, days), as_json)


def device_identity(
    context: typer.Context,
    ca_key: CaKeyOption,
    ca_cert: CaCertOption,
    csr: CsrOption,
    organization: OrganizationOption,
    serial_number: Annotated[str, typer.Option(help="The device's serial number, as approved.")],
    hardware_type: Annotated[str, typer.Option(metavar="OID", help="The maker's object identifier of the hardware.")],
    out: OutputOption,
    common_name: Annotated[str | None, typer.Option("--common-name", help="The name approved: common name.")] = None,
    country: CountryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a device's identity certificate (IEEE 802.1AR IDevID) with an issuing CA's key. It never expires."""
    name = DistinguishedName(country, organization, common_name, serial_number)
    _issue(context, _Issue(DEVICE_IDENTITY, name, ca_key, ca_cert, csr, out, None, hardware_type), as_json)


def crl(
    context: typer.Context,
    ca_key: CaKeyOption,
    ca_cert: CaCertOption,
    out: OutputOption,
    days: Annotated[int, typer.Option(min=1, help="Days until the next CRL is due.")],
    previous: Annotated[Path | None, typer.Option(help="The CA's newest CRL, which this one continues.")] = None,
    first: Annotated[bool, typer.Option("--first", help="The CA has no CRL yet.")] = False,
    revoke: Annotated[
        list[str] | None, typer.Option(metavar="SERIAL[:REASON]", help="Revoke this one too; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Issue a CA's next certificate revocation list; earlier revocations are carried over."""
    if first is (previous is not None):
        raise typer.BadParameter("give --previous with the CA's newest CRL, or --first if there is none")
    repository = repository_of(context)
    when = now()
    revoked = [_revocation(text, when) for text in revoke or ()]
    issuer_der = read_certificate(ca_cert)
    previous_der = None if previous is None else read_crl(previous)
    with NewFile(out) as file, signing_keys(repository, site_of(context, repository), when) as keys:
        profile = _ca_profile_of(ca_key)
        handle, _ = keys.key_of_store(ca_key, _role(profile), parse_key_label(ca_key).product)
        der = certificates.issue_revocation_list(handle, profile, issuer_der, previous_der, revoked, days, when)
        file.write_at(0, to_pem(der, CRL))
        file.publish()
    with open_store(repository) as store:
        ended = _end_revoked(store, issuer_der, revoked, when)
    data = {"file": str(out), "revoked": [f"{item.serial_number:x}" for item in revoked], "ended_for_keys": ended}
    emit(
        data,
        as_json,
        f"wrote {out}: {len(revoked)} more revoked" + "".join(f"\nno certificate now: {k}" for k in ended),
    )


# What they share


@dataclass(frozen=True, slots=True)
class _Issue:
    profile: CertificateProfile
    name: DistinguishedName
    ca_key: str
    ca_cert: Path
    csr: Path
    out: Path
    days: int | None
    hardware_type: str | None = None


def _issue(context: typer.Context, issue: _Issue, as_json: bool) -> None:
    """Check the request, sign, record, write: in this order, so that nothing issued is unrecorded."""
    repository = repository_of(context)
    when = now()
    issuer_der, request_der = read_certificate(issue.ca_cert), read_request(issue.csr)
    requested_key = _checked_request(repository, issue, request_der)
    issuer = parse_key_label(issue.ca_key)
    with (
        NewFile(issue.out) as file,
        open_store(repository) as store,
        signing_keys(repository, site_of(context, repository), when) as keys,
    ):
        record = _record_to_certify(store, issue.profile, requested_key)
        handle, session = keys.key_of_store(issue.ca_key, _issuer_role(issue, issuer.role), issuer.product)
        order = certificates.IssueOrder(
            issue.profile,
            issue.name,
            session.random(SERIAL_NUMBER_SIZE_BYTES),
            _days(issue.profile, issue.days),
            issue.hardware_type,
        )
        der = certificates.issue_from_request(handle, issuer_der, order, request_der, when)
        if record is not None:
            reason = f"{issue.profile.name} certificate issued by {issue.ca_key}"
            store.set_certificate(record.cka_id, der, change_by_operator(reason, when))
        file.write_at(0, to_pem(der, CERTIFICATE))
        file.publish()
    _emit_certificate(der, issue.out, as_json)


def _checked_request(repository: AuthorityRepository, issue: _Issue, request_der: bytes) -> PublicKey:
    environment = repository.authority.environment
    refuse_fake_path(environment, issue.csr)
    key = verify_request(request_der).public_key
    refuse_known_test_key(environment, key)
    return key


def _record_to_certify(store: KeyStore, profile: CertificateProfile, key: PublicKey) -> KeyRecord | None:
    """The store's record of the key in a request: it must have the profile's role; a device's key must not be in it."""
    try:
        record = store.key(key.cka_id)
    except KeyUnknown:
        return None
    if record.role is not profile.key_role:
        raise PolicyViolation(
            "CA-04", f"the request is for key {record.label}, which gets no {profile.name} certificate"
        )
    return record


def _role(profile: CertificateProfile) -> Any:
    if profile.key_role is None:
        raise PolicyViolation("CA-01", f"a {profile.name} key issues nothing")
    return profile.key_role


def _issuer_role(issue: _Issue, role: Role) -> Role:
    """The role of the CA's key, if a CA of that role issues this. Raises PolicyViolation CA-01."""
    roles = [_role(CERTIFICATE_PROFILES[name]) for name in issue.profile.issued_by]
    if role not in roles:
        wanted = " or ".join(sorted(roles))
        raise PolicyViolation(
            "CA-01", f"a {role} key issues no {issue.profile.name} certificate; use a key of role {wanted}"
        )
    return role


def _days(profile: CertificateProfile, days: int | None) -> int | None:
    """The validity asked for; else the profile's maximum, which is None for certificates that do not expire."""
    return profile.max_validity_days if days is None else days


def _ca_profile_of(ca_key: str) -> CertificateProfile:
    role = parse_key_label(ca_key).role
    for profile in (ROOT_CA, PRODUCTION_CA, LOT_CA):
        if profile.key_role is role:
            return profile
    raise PolicyViolation("CA-01", f"key {ca_key} has the role {role}, which issues no CRL; use a CA's key")


def _revocation(text: str, when: datetime) -> Revocation:
    serial, _, reason = text.partition(":")
    try:
        serial_number = int(serial, 16)
    except ValueError:
        raise InputRefused(f"--revoke {text!r}: begin with the serial number in hexadecimal") from None
    return Revocation(serial_number, when, reason or None)


def _end_revoked(store: KeyStore, issuer_der: bytes, revoked: list[Revocation], when: datetime) -> list[str]:
    """Keys of ours whose current certificate is now revoked have none any more; returns their labels."""
    issuer = parse_certificate(issuer_der).subject.rfc4514_string()
    serial_numbers = {f"{item.serial_number:x}" for item in revoked}
    ended = []
    records = store.keys()
    for record in records:
        certificate = record.certificate
        if certificate and certificate.issuer == issuer and certificate.serial_number in serial_numbers:
            store.end_certificate(record.cka_id, change_by_operator("certificate revoked", when))
            ended.append(record.label)
    return ended


def _emit_certificate(der: bytes, out: Path, as_json: bool) -> None:
    certificate = parse_certificate(der)
    data = {
        "file": str(out),
        "serial_number": f"{certificate.serial_number:x}",
        "subject": certificate.subject.rfc4514_string(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "key_id": certificate_public_key(certificate).key_id.hex(),
    }
    text = f"wrote {out}\n{data['subject']}, serial {data['serial_number']}, until {data['not_after']}"
    emit(data, as_json, text)
