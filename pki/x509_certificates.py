"""Issuing certificates: built from a profile, linted before the signer is asked and again after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki.errors import InputRefused
from pki.hardware_module_name import HardwareModuleName
from pki.lint import require_clean
from pki.values import PublicKey
from pki.x509_lint import SERIAL_NUMBER_SIZE_BYTES, LintContext, lint_certificate, lint_to_be_signed
from pki.x509_names import DistinguishedName
from pki.x509_parse import certificate_public_key, extension_value, parse_certificate
from pki.x509_profiles import (
    NO_WELL_DEFINED_EXPIRATION,
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_HARDWARE_MODULE_NAME,
    CertificateProfile,
)
from pki.x509_signing_key import CallbackPrivateKey, Signer, load_public_key
from pki.x509_to_be_signed import dress_to_be_signed


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """What to certify.

    `serial_entropy` is 20 bytes from an approved random generator, used once. `validity_days` is None exactly for a
    profile without a well-defined expiration; `hardware_type` (a dotted OID) is given exactly for a device identity.
    `not_before` carries a time zone; fractions of a second are dropped.
    """

    profile: CertificateProfile
    subject: DistinguishedName
    public_key: PublicKey
    serial_entropy: bytes
    not_before: datetime
    validity_days: int | None
    hardware_type: str | None = None


def serial_number_from_entropy(entropy: bytes) -> int:
    """A positive serial number of exactly 20 octets with 158 random bits (RFC 5280, section 4.1.2.2).

    `entropy` is 20 random bytes; the top two bits are set to 01. Raises InputRefused for another length.
    """
    if len(entropy) != SERIAL_NUMBER_SIZE_BYTES:
        raise InputRefused(f"a serial number needs {SERIAL_NUMBER_SIZE_BYTES} random bytes, not {len(entropy)}")
    return int.from_bytes(entropy, "big") & ((1 << 158) - 1) | (1 << 158)


def issue_root_certificate(plan: CertificatePlan, signer: Signer, now: datetime) -> bytes:
    """Issue a self-signed certificate; `signer` holds the private key of `plan.public_key`. Returns DER.

    Raises PolicyViolation (a lint rule), InputRefused, SignatureInvalid, and what the signer raises.
    """
    return _issue(plan, None, signer, now)


def issue_certificate(plan: CertificatePlan, issuer_der: bytes, signer: Signer, now: datetime) -> bytes:
    """Issue a certificate under `issuer_der`, whose private key `signer` holds. Returns DER.

    Raises PolicyViolation (a lint rule), FormatError (the issuer's certificate), InputRefused, SignatureInvalid, and
    what the signer raises.
    """
    return _issue(plan, parse_certificate(issuer_der), signer, now)


def _issue(plan: CertificatePlan, issuer: x509.Certificate | None, signer: Signer, now: datetime) -> bytes:
    if now.tzinfo is None or plan.not_before.tzinfo is None:
        raise ValueError("times carry a time zone")
    context = LintContext(plan.profile, issuer, now)

    def inspect(to_be_signed: bytes) -> None:
        certificate = parse_certificate(dress_to_be_signed(to_be_signed))
        require_clean(lint_to_be_signed(certificate, context))

    signing_key = plan.public_key if issuer is None else certificate_public_key(issuer)
    builder = _builder(plan, issuer)
    certificate = builder.sign(CallbackPrivateKey(signing_key, signer, inspect), hashes.SHA256())
    der = certificate.public_bytes(Encoding.DER)
    require_clean(lint_certificate(parse_certificate(der), context))
    return der


def _builder(plan: CertificatePlan, issuer: x509.Certificate | None) -> x509.CertificateBuilder:
    not_before = plan.not_before.replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(plan.subject.to_x509())
        .issuer_name(issuer.subject if issuer is not None else plan.subject.to_x509())
        .public_key(load_public_key(plan.public_key))
        .serial_number(serial_number_from_entropy(plan.serial_entropy))
        .not_valid_before(not_before)
        .not_valid_after(_not_after(plan, not_before))
    )
    for extension in _extensions(plan, issuer):
        builder = builder.add_extension(extension, critical=plan.profile.extensions[extension.oid.dotted_string])
    return builder


def _not_after(plan: CertificatePlan, not_before: datetime) -> datetime:
    if plan.profile.max_validity_days is None:
        if plan.validity_days is not None:
            raise InputRefused(f"a {plan.profile.name} certificate has no end; give no validity")
        return NO_WELL_DEFINED_EXPIRATION
    if plan.validity_days is None:
        raise InputRefused(
            f"a {plan.profile.name} certificate needs a validity of 1 to {plan.profile.max_validity_days} days"
        )
    if not 1 <= plan.validity_days <= plan.profile.max_validity_days:
        raise InputRefused(
            f"a {plan.profile.name} certificate is valid for 1 to {plan.profile.max_validity_days} days, "
            f"not {plan.validity_days}"
        )
    return not_before + timedelta(days=plan.validity_days)


def _extensions(plan: CertificatePlan, issuer: x509.Certificate | None) -> list[x509.ExtensionType]:
    profile = plan.profile
    extensions: list[x509.ExtensionType] = [
        x509.BasicConstraints(ca=profile.is_ca, path_length=profile.path_length),
        _key_usage(profile.key_usage),
        x509.SubjectKeyIdentifier(plan.public_key.cka_id),
    ]
    if OID_AUTHORITY_KEY_IDENTIFIER in profile.extensions and issuer is not None:
        extensions.append(authority_key_identifier(issuer))
    if profile.extended_key_usage:
        purposes = [x509.ObjectIdentifier(oid) for oid in sorted(profile.extended_key_usage)]
        extensions.append(x509.ExtendedKeyUsage(purposes))
    extensions += _device_name(plan)
    return extensions


def _key_usage(names: frozenset[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digitalSignature" in names,
        content_commitment="nonRepudiation" in names,
        key_encipherment="keyEncipherment" in names,
        data_encipherment="dataEncipherment" in names,
        key_agreement="keyAgreement" in names,
        key_cert_sign="keyCertSign" in names,
        crl_sign="cRLSign" in names,
        encipher_only=False,
        decipher_only=False,
    )


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The issuer's key identifier alone (RFC 5280, section 4.2.1.1); InputRefused when the issuer has none."""
    identifier = extension_value(issuer, x509.SubjectKeyIdentifier)
    if identifier is None:
        raise InputRefused("the issuer's certificate has no subjectKeyIdentifier; use a CA certificate issued here")
    return x509.AuthorityKeyIdentifier(identifier.digest, None, None)


def _device_name(plan: CertificatePlan) -> list[x509.ExtensionType]:
    """subjectAltName of a device: its hardwareModuleName, with the subject's serialNumber as hwSerialNum."""
    if plan.profile.key_role is not None:
        if plan.hardware_type is not None:
            raise InputRefused(f"a {plan.profile.name} certificate names no hardware type; give none")
        return []
    if plan.hardware_type is None or plan.subject.serial_number is None:
        raise InputRefused("a device identity needs the hardware type's OID and the device's serial number")
    name = HardwareModuleName(plan.hardware_type, plan.subject.serial_number.encode("ascii"))
    other_name = x509.OtherName(x509.ObjectIdentifier(OID_HARDWARE_MODULE_NAME), name.to_der())
    return [x509.SubjectAlternativeName([other_name])]
