"""Lint of certificates against their profile: run on the to-be-signed bytes before signing, and on the result after.

One rule is one function and one ID; docs/spec/x509-profiles.md lists them. An extension that is missing is reported by
X509-10 alone: the rules about its content then have nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from cryptography import x509

from pki.errors import FormatError, InputRefused, SignatureInvalid
from pki.hardware_module_name import HardwareModuleName
from pki.lint import LintFinding, run_rules
from pki.values import Digest
from pki.x509_names import DistinguishedName
from pki.x509_parse import certificate_public_key, extension_value, is_ecdsa_with_sha256
from pki.x509_profiles import (
    CERTIFICATE_PROFILES,
    MAX_NOT_BEFORE_IN_FUTURE,
    MAX_NOT_BEFORE_IN_PAST,
    NO_WELL_DEFINED_EXPIRATION,
    OID_HARDWARE_MODULE_NAME,
    CertificateProfile,
)
from pki.x509_signing_key import signature_from_der, verify_signature

SERIAL_NUMBER_SIZE_BYTES = 20
MIN_DISTINCT_SERIAL_BYTES = 8
"""20 random bytes have fewer than 8 distinct values about once in 10^15 times; a broken generator has often."""

_KEY_USAGE_ATTRIBUTES = {
    "digital_signature": "digitalSignature",
    "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}


@dataclass(frozen=True, slots=True)
class LintContext:
    """What a certificate is held against. `issuer` is None exactly for a self-signed profile."""

    profile: CertificateProfile
    issuer: x509.Certificate | None
    now: datetime


Rule = Callable[[x509.Certificate, LintContext], str | None]


def lint_to_be_signed(certificate: x509.Certificate, context: LintContext) -> tuple[LintFinding, ...]:
    """Run every rule that needs no signature."""
    return run_rules(TO_BE_SIGNED_RULES, certificate, context)


def lint_certificate(certificate: x509.Certificate, context: LintContext) -> tuple[LintFinding, ...]:
    """Run every rule on a finished certificate."""
    return run_rules(CERTIFICATE_RULES, certificate, context)


def key_usage_names(certificate: x509.Certificate) -> frozenset[str]:
    """The bits of keyUsage by their names in RFC 5280, section 4.2.1.3; empty without the extension."""
    usage = extension_value(certificate, x509.KeyUsage)
    if usage is None:
        return frozenset()
    names = {name for attribute, name in _KEY_USAGE_ATTRIBUTES.items() if getattr(usage, attribute)}
    if usage.key_agreement:
        names |= {"encipherOnly"} if usage.encipher_only else set()
        names |= {"decipherOnly"} if usage.decipher_only else set()
    return frozenset(names)


def serial_number_fault(serial_number: int) -> str | None:
    """Why a serial number is not one of ours: 20 octets, the top two bits 01, the other 158 random; None if it is."""
    if serial_number >> 158 != 1:
        return "the serial number is not 20 octets that start with the bits 01"
    if len(set(serial_number.to_bytes(SERIAL_NUMBER_SIZE_BYTES, "big"))) < MIN_DISTINCT_SERIAL_BYTES:
        return "the serial number repeats so few octets that its random source must be broken"
    return None


def _version(certificate: x509.Certificate, _: LintContext) -> str | None:
    return None if certificate.version is x509.Version.v3 else "the version is not v3"


def _serial_number(certificate: x509.Certificate, _: LintContext) -> str | None:
    return serial_number_fault(certificate.serial_number)


def _signature_algorithm(certificate: x509.Certificate, _: LintContext) -> str | None:
    return None if is_ecdsa_with_sha256(certificate) else "the signature algorithm is not ecdsa-with-SHA256"


def _public_key(certificate: x509.Certificate, _: LintContext) -> str | None:
    try:
        certificate_public_key(certificate)
    except FormatError as error:
        return f"the public key is not an uncompressed P-256 point: {error.reason}"
    return None


def _issuer_name(certificate: x509.Certificate, context: LintContext) -> str | None:
    issuer = context.issuer or certificate
    return None if certificate.issuer == issuer.subject else "the issuer's name is not the subject of the issuer"


def _subject(certificate: x509.Certificate, context: LintContext) -> str | None:
    try:
        name = DistinguishedName.from_x509(certificate.subject)
    except InputRefused as error:
        return f"subject: {error}"
    if name.to_x509().public_bytes() != certificate.subject.public_bytes():
        return "the subject's attributes are not in the order country, organization, common_name, serial_number"
    present = {attribute for attribute, _ in name.attributes()}
    missing = context.profile.required_subject - present
    if missing:
        return f"the subject lacks {', '.join(sorted(missing))}"
    extra = present - context.profile.required_subject - context.profile.optional_subject
    return f"the subject has {', '.join(sorted(extra))}, which the profile does not allow" if extra else None


def _organization(certificate: x509.Certificate, context: LintContext) -> str | None:
    if context.issuer is None:
        return None
    own = certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    issuers = context.issuer.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return None if own == issuers else "the subject's organization is not the issuer's"


def _validity(certificate: x509.Certificate, context: LintContext) -> str | None:
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not_after <= not_before:
        return "notAfter is not after notBefore"
    # Certificates count whole seconds, so a notBefore of "now" may lie up to a second before it.
    earliest = context.now - MAX_NOT_BEFORE_IN_PAST
    latest = context.now + MAX_NOT_BEFORE_IN_FUTURE
    if not earliest <= not_before <= latest:
        return f"notBefore {not_before.isoformat()} is not between {earliest.isoformat()} and {latest.isoformat()}"
    limit = context.profile.max_validity_days
    if limit is not None and not_after - not_before > timedelta(days=limit):
        return f"it is valid for longer than the profile's {limit} days"
    return None


def _expiration(certificate: x509.Certificate, context: LintContext) -> str | None:
    if context.profile.max_validity_days is None:
        indefinite = certificate.not_valid_after_utc == NO_WELL_DEFINED_EXPIRATION
        return None if indefinite else "notAfter is not 99991231235959Z, which the profile demands"
    if context.issuer is None:
        return None
    if certificate.not_valid_before_utc < context.issuer.not_valid_before_utc:
        return "it is valid before its issuer"
    if certificate.not_valid_after_utc > context.issuer.not_valid_after_utc:
        return f"it is valid after its issuer, which ends {context.issuer.not_valid_after_utc.isoformat()}"
    return None


def _extension_set(certificate: x509.Certificate, context: LintContext) -> str | None:
    present = {extension.oid.dotted_string: extension.critical for extension in certificate.extensions}
    return extension_set_fault(present, context.profile.extensions)


def extension_set_fault(present: Mapping[str, bool], wanted: Mapping[str, bool]) -> str | None:
    """Why extensions (dotted OID -> critical) are not exactly the wanted ones, or None."""
    missing, extra = wanted.keys() - present.keys(), present.keys() - wanted.keys()
    if missing:
        return f"extension {', '.join(sorted(missing))} is missing"
    if extra:
        return f"extension {', '.join(sorted(extra))} is not in the profile"
    wrong = sorted(oid for oid, critical in wanted.items() if present[oid] is not critical)
    return f"the criticality of extension {', '.join(wrong)} is not the profile's" if wrong else None


def _basic_constraints(certificate: x509.Certificate, context: LintContext) -> str | None:
    constraints = extension_value(certificate, x509.BasicConstraints)
    if constraints is None:
        return None
    same = constraints.ca is context.profile.is_ca and constraints.path_length == context.profile.path_length
    return None if same else f"basicConstraints is CA {constraints.ca}, path length {constraints.path_length}"


def _key_usage(certificate: x509.Certificate, context: LintContext) -> str | None:
    if extension_value(certificate, x509.KeyUsage) is None:
        return None
    names = key_usage_names(certificate)
    return None if names == context.profile.key_usage else f"keyUsage is {', '.join(sorted(names)) or 'empty'}"


def _extended_key_usage(certificate: x509.Certificate, context: LintContext) -> str | None:
    usage = extension_value(certificate, x509.ExtendedKeyUsage)
    if usage is None:
        return None
    purposes = sorted(oid.dotted_string for oid in usage)
    return None if purposes == sorted(context.profile.extended_key_usage) else f"extKeyUsage is {', '.join(purposes)}"


def _subject_key_identifier(certificate: x509.Certificate, context: LintContext) -> str | None:
    identifier = extension_value(certificate, x509.SubjectKeyIdentifier)
    if identifier is None or _public_key(certificate, context) is not None:
        return None
    wanted = certificate_public_key(certificate).cka_id
    return None if identifier.digest == wanted else f"subjectKeyIdentifier is not {wanted.hex()}"


def _authority_key_identifier(certificate: x509.Certificate, context: LintContext) -> str | None:
    identifier = extension_value(certificate, x509.AuthorityKeyIdentifier)
    if identifier is None or context.issuer is None:
        return None
    return authority_key_identifier_fault(identifier, context.issuer)


def authority_key_identifier_fault(identifier: x509.AuthorityKeyIdentifier, issuer: x509.Certificate) -> str | None:
    """Why an authorityKeyIdentifier is not exactly the issuer's subjectKeyIdentifier, or None."""
    if identifier.authority_cert_issuer is not None or identifier.authority_cert_serial_number is not None:
        return "authorityKeyIdentifier has more than the key identifier"
    issuers = extension_value(issuer, x509.SubjectKeyIdentifier)
    same = issuers is not None and identifier.key_identifier == issuers.digest
    return None if same else "authorityKeyIdentifier is not the issuer's subjectKeyIdentifier"


def _hardware_module_name(certificate: x509.Certificate, _: LintContext) -> str | None:
    names = extension_value(certificate, x509.SubjectAlternativeName)
    if names is None:
        return None
    first, *others = list(names) or [None]
    if others or not isinstance(first, x509.OtherName) or first.type_id.dotted_string != OID_HARDWARE_MODULE_NAME:
        return "subjectAltName is not exactly one hardwareModuleName"
    try:
        name = HardwareModuleName.from_der(first.value)
    except FormatError as error:
        return str(error)
    serials = [a.value for a in certificate.subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)]
    same = serials == [name.serial_number.decode("ascii", "replace")]
    return None if same else "hwSerialNum is not the subject's serialNumber"


def _issuer_may_issue(_: x509.Certificate, context: LintContext) -> str | None:
    wanted, issuer = " or ".join(context.profile.issued_by), context.issuer
    if not wanted or issuer is None:
        return None if not wanted and issuer is None else f"the issuer must be {wanted or 'the certificate itself'}"
    fits = any(is_certificate_of(issuer, CERTIFICATE_PROFILES[name]) for name in context.profile.issued_by)
    return None if fits else f"the issuer's certificate is not a {wanted} certificate"


def is_certificate_of(issuer: x509.Certificate, profile: CertificateProfile) -> bool:
    """Whether a CA's certificate has the constraints and key usage of a profile."""
    constraints = extension_value(issuer, x509.BasicConstraints)
    return (
        constraints is not None
        and constraints.ca is profile.is_ca
        and constraints.path_length == profile.path_length
        and key_usage_names(issuer) == profile.key_usage
    )


def _key_reuse(certificate: x509.Certificate, context: LintContext) -> str | None:
    if context.issuer is None or _public_key(certificate, context) is not None:
        return None
    same = certificate_public_key(certificate) == certificate_public_key(context.issuer)
    return "the certified key is the issuer's own key" if same else None


def _issuer_valid_now(_: x509.Certificate, context: LintContext) -> str | None:
    issuer = context.issuer
    if issuer is None or issuer.not_valid_before_utc <= context.now <= issuer.not_valid_after_utc:
        return None
    return "the issuer's certificate is not valid now"


def _signature_verifies(certificate: x509.Certificate, context: LintContext) -> str | None:
    try:
        public_key = certificate_public_key(context.issuer or certificate)
        signature = signature_from_der(certificate.signature)
        verify_signature(public_key, Digest.of(certificate.tbs_certificate_bytes), signature)
    except (FormatError, ValueError, SignatureInvalid) as error:
        return f"signature: {error}"
    return None


TO_BE_SIGNED_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "X509-01": _version,
        "X509-02": _serial_number,
        "X509-03": _signature_algorithm,
        "X509-04": _public_key,
        "X509-05": _issuer_name,
        "X509-06": _subject,
        "X509-07": _organization,
        "X509-08": _validity,
        "X509-09": _expiration,
        "X509-10": _extension_set,
        "X509-11": _basic_constraints,
        "X509-12": _key_usage,
        "X509-13": _extended_key_usage,
        "X509-14": _subject_key_identifier,
        "X509-15": _authority_key_identifier,
        "X509-16": _hardware_module_name,
        "X509-17": _issuer_may_issue,
        "X509-18": _key_reuse,
        "X509-19": _issuer_valid_now,
    }
)
"""Rules that need no signature."""

CERTIFICATE_RULES: Mapping[str, Rule] = MappingProxyType({**TO_BE_SIGNED_RULES, "X509-20": _signature_verifies})
"""Every rule."""
