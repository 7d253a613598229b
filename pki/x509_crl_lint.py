"""Lint of CRLs: run on the to-be-signed bytes before signing, and on the result after.

One rule is one function and one ID; docs/spec/x509-profiles.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from cryptography import x509

from pki.errors import FormatError, SignatureInvalid
from pki.lint import LintFinding, run_rules
from pki.values import Digest
from pki.x509_lint import authority_key_identifier_fault, extension_set_fault, key_usage_names
from pki.x509_parse import certificate_public_key, extension_value, is_ecdsa_with_sha256
from pki.x509_profiles import CRL_EXTENSIONS, MAX_NOT_BEFORE_IN_PAST, REVOCATION_REASONS
from pki.x509_signing_key import signature_from_der, verify_signature

MAX_CRL_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CrlLintContext:
    """What a CRL is held against. `previous` is the issuer's last CRL, None for its first."""

    issuer: x509.Certificate
    previous: x509.CertificateRevocationList | None
    max_validity_days: int
    now: datetime


Rule = Callable[[x509.CertificateRevocationList, CrlLintContext], str | None]


def lint_crl_to_be_signed(crl: x509.CertificateRevocationList, context: CrlLintContext) -> tuple[LintFinding, ...]:
    """Run every rule that needs no signature."""
    return run_rules(TO_BE_SIGNED_RULES, crl, context)


def lint_crl(crl: x509.CertificateRevocationList, context: CrlLintContext) -> tuple[LintFinding, ...]:
    """Run every rule on a finished CRL."""
    return run_rules(CRL_RULES, crl, context)


def crl_number(crl: x509.CertificateRevocationList) -> int | None:
    """The CRL number (RFC 5280, section 5.2.3), None when it is absent."""
    extension = extension_value(crl, x509.CRLNumber)
    return None if extension is None else extension.crl_number


def reason_of(entry: x509.RevokedCertificate) -> str | None:
    """The reason code's name, None when none is given."""
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            return extension.value.reason.value
    return None


def _signature_algorithm(crl: x509.CertificateRevocationList, _: CrlLintContext) -> str | None:
    return None if is_ecdsa_with_sha256(crl) else "the signature algorithm is not ecdsa-with-SHA256"


def _issuer_name(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    return None if crl.issuer == context.issuer.subject else "the issuer's name is not the subject of the issuer"


def _this_update(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    earliest = context.now - MAX_NOT_BEFORE_IN_PAST
    if earliest <= crl.last_update_utc <= context.now:
        return None
    return f"thisUpdate is not between {earliest.isoformat()} and {context.now.isoformat()}"


def _next_update(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    next_update = crl.next_update_utc
    if next_update is None or next_update <= crl.last_update_utc:
        return "nextUpdate is absent or not after thisUpdate"
    if next_update - crl.last_update_utc > timedelta(days=context.max_validity_days):
        return f"nextUpdate is more than {context.max_validity_days} days after thisUpdate"
    if next_update > context.issuer.not_valid_after_utc:
        return "nextUpdate is after the end of the issuer's certificate"
    return None


def _extension_set(crl: x509.CertificateRevocationList, _: CrlLintContext) -> str | None:
    present = {extension.oid.dotted_string: extension.critical for extension in crl.extensions}
    return extension_set_fault(present, CRL_EXTENSIONS)


def _authority_key_identifier(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    identifier = extension_value(crl, x509.AuthorityKeyIdentifier)
    return None if identifier is None else authority_key_identifier_fault(identifier, context.issuer)


def _number(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    number = crl_number(crl)
    if number is None:
        return None
    if not 1 <= number <= MAX_CRL_NUMBER:
        return f"the CRL number is not between 1 and {MAX_CRL_NUMBER}"
    wanted = 1 + ((crl_number(context.previous) or 0) if context.previous is not None else 0)
    return None if number == wanted else f"the CRL number is {number}; the next one is {wanted}"


def _entries(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    last_serial = 0
    for entry in crl:
        if entry.serial_number <= last_serial:
            return "the entries are not in rising order of distinct, positive serial numbers"
        last_serial = entry.serial_number
        if not context.issuer.not_valid_before_utc <= entry.revocation_date_utc <= crl.last_update_utc:
            return f"the revocation date of {entry.serial_number:x} is before the issuer began or after thisUpdate"
    return None


def _entry_extensions(crl: x509.CertificateRevocationList, _: CrlLintContext) -> str | None:
    for entry in crl:
        for extension in entry.extensions:
            if not isinstance(extension.value, x509.CRLReason) or extension.critical:
                return f"the entry of {entry.serial_number:x} has an extension other than a non-critical reason"
            if extension.value.reason.value not in REVOCATION_REASONS:
                return f"the reason {extension.value.reason.value} of {entry.serial_number:x} is not allowed"
    return None


def _nothing_taken_back(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    if context.previous is None:
        return None
    kept = {entry.serial_number: (entry.revocation_date_utc, reason_of(entry)) for entry in crl}
    for entry in context.previous:
        if kept.get(entry.serial_number) != (entry.revocation_date_utc, reason_of(entry)):
            return f"the revocation of {entry.serial_number:x} is missing or changed"
    return None


def _after_previous(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    if context.previous is None or crl.last_update_utc >= context.previous.last_update_utc:
        return None
    return "thisUpdate is before that of the previous CRL"


def _issuer_may_sign(_: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    return None if "cRLSign" in key_usage_names(context.issuer) else "the issuer's certificate lacks cRLSign"


def _issuer_valid_now(_: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    if context.issuer.not_valid_before_utc <= context.now <= context.issuer.not_valid_after_utc:
        return None
    return "the issuer's certificate is not valid now"


def _signature_verifies(crl: x509.CertificateRevocationList, context: CrlLintContext) -> str | None:
    try:
        public_key = certificate_public_key(context.issuer)
        verify_signature(public_key, Digest.of(crl.tbs_certlist_bytes), signature_from_der(crl.signature))
    except (FormatError, ValueError, SignatureInvalid) as error:
        return f"signature: {error}"
    return None


TO_BE_SIGNED_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "CRL-01": _signature_algorithm,
        "CRL-02": _issuer_name,
        "CRL-03": _this_update,
        "CRL-04": _next_update,
        "CRL-05": _extension_set,
        "CRL-06": _authority_key_identifier,
        "CRL-07": _number,
        "CRL-08": _entries,
        "CRL-09": _entry_extensions,
        "CRL-10": _nothing_taken_back,
        "CRL-11": _after_previous,
        "CRL-12": _issuer_may_sign,
        "CRL-13": _issuer_valid_now,
    }
)
"""Rules that need no signature."""

CRL_RULES: Mapping[str, Rule] = MappingProxyType({**TO_BE_SIGNED_RULES, "CRL-14": _signature_verifies})
"""Every rule."""
