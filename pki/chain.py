"""Certificate chains, checked at an explicit time up to an explicit anchor: a strict subset of RFC 5280, section 6.

Strict means: the caller gives the chain in order, nothing is searched for; every certificate is P-256 with
ecdsa-with-SHA256; name constraints and policies are refused, not skipped. Messages start with the rule's ID
(docs/spec/x509-profiles.md, "Chain check").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from cryptography import x509

from pki.errors import ChainInvalid, Expired, FormatError, NotYetValid, SignatureInvalid
from pki.hardware_module_name import HardwareModuleName
from pki.values import Digest, PublicKey
from pki.x509_lint import authority_key_identifier_fault, key_usage_names
from pki.x509_parse import certificate_public_key, extension_value, is_ecdsa_with_sha256, parse_certificate, parse_crl
from pki.x509_profiles import (
    CRL_EXTENSIONS,
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_BASIC_CONSTRAINTS,
    OID_CODE_SIGNING,
    OID_EXTENDED_KEY_USAGE,
    OID_HARDWARE_MODULE_NAME,
    OID_KEY_USAGE,
    OID_SUBJECT_ALTERNATIVE_NAME,
    OID_SUBJECT_KEY_IDENTIFIER,
)
from pki.x509_signing_key import signature_from_der, verify_signature

MAX_CHAIN_LENGTH = 5
"""Certificates from the end entity to the anchor, both included."""

MAX_CRLS = 16

_UNDERSTOOD_EXTENSIONS = frozenset(
    {
        OID_BASIC_CONSTRAINTS,
        OID_KEY_USAGE,
        OID_EXTENDED_KEY_USAGE,
        OID_SUBJECT_ALTERNATIVE_NAME,
        OID_SUBJECT_KEY_IDENTIFIER,
        OID_AUTHORITY_KEY_IDENTIFIER,
    }
)
_REFUSED_EXTENSIONS = frozenset({"2.5.29.30", "2.5.29.33", "2.5.29.36", "2.5.29.54"})
"""nameConstraints, policyMappings, policyConstraints, inhibitAnyPolicy: they restrict what is not checked here."""


class Purpose(Enum):
    """What the end of the chain must be good for."""

    CERTIFICATE_AUTHORITY = "certificate-authority"
    CODE_SIGNING = "code-signing"
    DEVICE_IDENTITY = "device-identity"


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """What may be relied on after `check_chain`: the key at the end of the chain and its certificate."""

    public_key: PublicKey
    certificate: x509.Certificate


def check_chain(
    end_entity_der: bytes,
    intermediates_der: Sequence[bytes],
    anchor_der: bytes,
    at: datetime,
    purpose: Purpose,
    crls_der: Sequence[bytes] | None,
) -> VerifiedChain:
    """Check that `end_entity_der` leads through `intermediates_der`, in order and nearest first, to `anchor_der`.

    `at` carries a time zone; validity of certificates and CRLs is judged at that time. With CRLs, every certificate
    below the anchor must be covered by one that is current at `at`. `crls_der` None means: revocation is NOT checked.
    Raises ChainInvalid, NotYetValid, Expired, FormatError.
    """
    if at.tzinfo is None:
        raise ValueError("the time of a check carries a time zone")
    if 2 + len(intermediates_der) > MAX_CHAIN_LENGTH:
        raise ChainInvalid(f"CH-01: the chain has more than {MAX_CHAIN_LENGTH} certificates")
    chain = [parse_certificate(der) for der in (anchor_der, *reversed(intermediates_der), end_entity_der)]
    crls = None if crls_der is None else _parse_crls(crls_der)
    for certificate in chain:
        _check_form(certificate)
    _check_anchor(chain[0], at)
    for position, certificate in enumerate(chain[1:], start=1):
        issuer = chain[position - 1]
        _check_issuer(issuer, ca_count_below=sum(_is_ca(below) for below in chain[position:]))
        _check_link(certificate, issuer)
        _check_validity(certificate, at)
        if crls is not None:
            _check_revocation(certificate, issuer, crls, at)
    _check_purpose(chain[-1], purpose)
    return VerifiedChain(certificate_public_key(chain[-1]), chain[-1])


def check_issued(certificate_der: bytes, issuer: VerifiedChain, at: datetime, purpose: Purpose) -> VerifiedChain:
    """Check one certificate more, directly below a CA that `check_chain` has verified: for thousands under one CA.

    Validity of the certificate and of that CA is judged at `at`; that of the CAs above was judged by `check_chain`, at
    its own time. Revocation is NOT checked. Raises ChainInvalid, NotYetValid, Expired, FormatError.
    """
    if at.tzinfo is None:
        raise ValueError("the time of a check carries a time zone")
    certificate = parse_certificate(certificate_der)
    _check_form(certificate)
    _check_issuer(issuer.certificate, ca_count_below=int(_is_ca(certificate)))
    _check_link(certificate, issuer.certificate)
    _check_validity(issuer.certificate, at)
    _check_validity(certificate, at)
    _check_purpose(certificate, purpose)
    return VerifiedChain(certificate_public_key(certificate), certificate)


def _parse_crls(crls_der: Sequence[bytes]) -> list[x509.CertificateRevocationList]:
    if len(crls_der) > MAX_CRLS:
        raise ChainInvalid(f"CH-01: {len(crls_der)} CRLs; give at most {MAX_CRLS}")
    return [parse_crl(der) for der in crls_der]


def _check_form(certificate: x509.Certificate) -> None:
    """CH-03 and CH-04: version, algorithms, key and extensions are ones that are fully understood here."""
    name = _name(certificate)
    if certificate.version is not x509.Version.v3 or not is_ecdsa_with_sha256(certificate):
        raise ChainInvalid(f"CH-03: {name} is not an X.509 v3 certificate signed with ecdsa-with-SHA256")
    try:
        certificate_public_key(certificate)
    except FormatError as error:
        raise ChainInvalid(f"CH-03: the key of {name}: {error.reason}") from None
    for extension in certificate.extensions:
        oid = extension.oid.dotted_string
        unknown = extension.critical and oid not in _UNDERSTOOD_EXTENSIONS
        if unknown or oid in _REFUSED_EXTENSIONS or (oid == OID_EXTENDED_KEY_USAGE and _is_ca(certificate)):
            raise ChainInvalid(f"CH-04: {name} has extension {oid}, which is not handled here")


def _check_anchor(anchor: x509.Certificate, at: datetime) -> None:
    """CH-02: the anchor is a self-signed CA certificate, and valid."""
    if anchor.subject != anchor.issuer or not _is_ca(anchor):
        raise ChainInvalid(f"CH-02: the anchor {_name(anchor)} is not a self-signed CA certificate")
    _check_signature(anchor, anchor)
    _check_validity(anchor, at)


def _check_issuer(issuer: x509.Certificate, ca_count_below: int) -> None:
    """CH-08 and CH-09: the issuer may issue certificates, and this deep.

    A CA at the end of the chain counts too, stricter than RFC 5280, section 4.2.1.9.
    """
    constraints = extension_value(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca or "keyCertSign" not in key_usage_names(issuer):
        raise ChainInvalid(f"CH-08: {_name(issuer)} may not issue certificates")
    if constraints.path_length is not None and ca_count_below > constraints.path_length:
        raise ChainInvalid(f"CH-09: {ca_count_below} CAs below {_name(issuer)}; it allows {constraints.path_length}")


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """CH-05, CH-06 and CH-07: names, key identifiers and signature lead from `certificate` to `issuer`."""
    if certificate.issuer != issuer.subject:
        raise ChainInvalid(f"CH-05: {_name(certificate)} was not issued by {_name(issuer)}")
    identifier = extension_value(certificate, x509.AuthorityKeyIdentifier)
    fault = "it is absent" if identifier is None else authority_key_identifier_fault(identifier, issuer)
    if fault is not None:
        raise ChainInvalid(f"CH-06: authorityKeyIdentifier of {_name(certificate)}: {fault}")
    _check_signature(certificate, issuer)


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    digest = Digest.of(certificate.tbs_certificate_bytes)
    if not _verifies(digest, certificate.signature, issuer):
        raise ChainInvalid(f"CH-07: the signature of {_name(certificate)} does not verify with the key of its issuer")


def _verifies(digest: Digest, signature_der: bytes, issuer: x509.Certificate) -> bool:
    try:
        verify_signature(certificate_public_key(issuer), digest, signature_from_der(signature_der))
    except (ValueError, SignatureInvalid):
        return False
    return True


def _check_validity(certificate: x509.Certificate, at: datetime) -> None:
    """CH-10 and CH-11; both ends of the validity are inclusive (RFC 5280, section 4.1.2.5)."""
    if at < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc.isoformat()
        raise NotYetValid(f"CH-10: {_name(certificate)} is valid from {begin} on, checked at {at.isoformat()}")
    if at > certificate.not_valid_after_utc:
        end = certificate.not_valid_after_utc.isoformat()
        raise Expired(f"CH-11: {_name(certificate)} was valid until {end}, checked at {at.isoformat()}")


def _check_revocation(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: Sequence[x509.CertificateRevocationList],
    at: datetime,
) -> None:
    """CH-12 to CH-15. A serial number on any of the issuer's CRLs is revoked, whatever the dates."""
    covering = [crl for crl in crls if crl.issuer == issuer.subject]
    if not covering:
        raise ChainInvalid(f"CH-12: there is no CRL of {_name(issuer)}; give its current one")
    for crl in covering:
        _check_crl(crl, issuer)
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise ChainInvalid(f"CH-15: {_name(certificate)} is revoked")
    if not any(crl.last_update_utc <= at <= (crl.next_update_utc or crl.last_update_utc) for crl in covering):
        begun = [crl for crl in covering if crl.last_update_utc <= at]
        late = Expired if begun else NotYetValid
        raise late(f"CH-13: no CRL of {_name(issuer)} is current at {at.isoformat()}; give one that is")


def _check_crl(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> None:
    """CH-14: a complete CRL (not a delta, not for a part of the certificates), signed by the issuer, who may."""
    extensions = {extension.oid.dotted_string for extension in crl.extensions}
    if extensions - CRL_EXTENSIONS.keys():
        raise ChainInvalid(f"CH-14: a CRL of {_name(issuer)} has an extension that is not handled here")
    if any(extension.critical for entry in crl for extension in entry.extensions):
        raise ChainInvalid(f"CH-14: an entry in a CRL of {_name(issuer)} has a critical extension")
    if not is_ecdsa_with_sha256(crl) or "cRLSign" not in key_usage_names(issuer):
        raise ChainInvalid(f"CH-14: {_name(issuer)} may not sign CRLs, or not with this algorithm")
    if not _verifies(Digest.of(crl.tbs_certlist_bytes), crl.signature, issuer):
        raise ChainInvalid(f"CH-14: the signature of a CRL of {_name(issuer)} does not verify")


def _check_purpose(certificate: x509.Certificate, purpose: Purpose) -> None:
    """CH-16: the end of the chain is good for `purpose` and, unless that is a CA, for nothing else."""
    usage = key_usage_names(certificate)
    extended = extension_value(certificate, x509.ExtendedKeyUsage)
    purposes = [oid.dotted_string for oid in extended] if extended is not None else []
    if purpose is Purpose.CERTIFICATE_AUTHORITY:
        good = _is_ca(certificate) and "keyCertSign" in usage
    elif purpose is Purpose.CODE_SIGNING:
        good = not _is_ca(certificate) and usage == {"digitalSignature"} and purposes == [OID_CODE_SIGNING]
    else:
        good = not _is_ca(certificate) and usage == {"digitalSignature"} and not purposes
        good = good and hardware_module_name(certificate) is not None
    if not good:
        raise ChainInvalid(f"CH-16: {_name(certificate)} is not a {purpose.value} certificate")


def hardware_module_name(certificate: x509.Certificate) -> HardwareModuleName | None:
    """The device that an identity certificate names; None unless subjectAltName is exactly one hardwareModuleName."""
    names = extension_value(certificate, x509.SubjectAlternativeName)
    if names is None or len(list(names)) != 1:
        return None
    (name,) = names
    if not isinstance(name, x509.OtherName) or name.type_id.dotted_string != OID_HARDWARE_MODULE_NAME:
        return None
    try:
        return HardwareModuleName.from_der(name.value)
    except FormatError:
        return None


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = extension_value(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _name(certificate: x509.Certificate) -> str:
    """The subject in one line, as RFC 4514 writes it, with anything that does not print escaped."""
    text = certificate.subject.rfc4514_string()
    return text if text.isprintable() else ascii(text)
