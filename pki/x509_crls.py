"""Issuing CRLs (RFC 5280, section 5): complete, numbered without gaps, linted before and after signing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki.errors import ChainInvalid, InputRefused
from pki.lint import require_clean
from pki.x509_certificates import authority_key_identifier
from pki.x509_crl_lint import CRL_RULES, CrlLintContext, crl_number, lint_crl, lint_crl_to_be_signed, reason_of
from pki.x509_parse import certificate_public_key, parse_certificate, parse_crl
from pki.x509_profiles import CRL_EXTENSIONS, MAX_CRL_VALIDITY_DAYS, REVOCATION_REASONS, CertificateProfile
from pki.x509_signing_key import CallbackPrivateKey, Signer
from pki.x509_to_be_signed import dress_to_be_signed

MAX_CRL_ENTRIES = 100_000


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revoked certificate. `reason` is a name from REVOCATION_REASONS, or None for no reason given.

    `revoked_at` carries a time zone; fractions of a second are dropped.
    """

    serial_number: int
    revoked_at: datetime
    reason: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.serial_number < 1 << 159:
            raise InputRefused("a certificate's serial number is positive and has at most 20 octets")
        if self.revoked_at.tzinfo is None:
            raise ValueError("times carry a time zone")
        if self.reason is not None and self.reason not in REVOCATION_REASONS:
            raise InputRefused(f"revocation reason {self.reason!r}: use one of {', '.join(sorted(REVOCATION_REASONS))}")


@dataclass(frozen=True, slots=True)
class CrlPlan:
    """A CRL to issue. `revoked` are the new revocations; those of `previous_der` are carried over.

    `previous_der` is None for the issuer's first CRL only: it sets the CRL number.
    """

    issuer_profile: CertificateProfile
    issuer_der: bytes
    previous_der: bytes | None
    revoked: Sequence[Revocation]
    validity_days: int


def issue_crl(plan: CrlPlan, signer: Signer, now: datetime) -> bytes:
    """Issue the next complete CRL; `signer` holds the issuer's private key. Returns DER.

    Raises PolicyViolation (a lint rule), FormatError, InputRefused, ChainInvalid (the previous CRL is not this
    issuer's), SignatureInvalid, and what the signer raises.
    """
    context = _context(plan, now)

    def inspect(to_be_signed: bytes) -> None:
        require_clean(lint_crl_to_be_signed(parse_crl(dress_to_be_signed(to_be_signed)), context))

    key = CallbackPrivateKey(certificate_public_key(context.issuer), signer, inspect)
    der = _builder(plan, context).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    require_clean(lint_crl(parse_crl(der), context))
    return der


def revocations_of(crl_der: bytes) -> tuple[Revocation, ...]:
    """The entries of a CRL, in its order; raises FormatError, and InputRefused for a reason that we do not use."""
    return tuple(_revocation(entry) for entry in parse_crl(crl_der))


def _context(plan: CrlPlan, now: datetime) -> CrlLintContext:
    if now.tzinfo is None:
        raise ValueError("times carry a time zone")
    if plan.issuer_profile.name not in MAX_CRL_VALIDITY_DAYS:
        raise InputRefused(f"a {plan.issuer_profile.name} key issues no CRL; use {' or '.join(MAX_CRL_VALIDITY_DAYS)}")
    max_days = MAX_CRL_VALIDITY_DAYS[plan.issuer_profile.name]
    if not 1 <= plan.validity_days <= max_days:
        raise InputRefused(f"a CRL of a {plan.issuer_profile.name} is valid for 1 to {max_days} days")
    issuer = parse_certificate(plan.issuer_der)
    previous = None if plan.previous_der is None else parse_crl(plan.previous_der)
    context = CrlLintContext(issuer, previous, max_days, now)
    if previous is not None:
        fault = CRL_RULES["CRL-02"](previous, context) or CRL_RULES["CRL-14"](previous, context)
        if fault is not None:
            raise ChainInvalid(f"the previous CRL is not this issuer's: {fault}")
    return context


def _builder(plan: CrlPlan, context: CrlLintContext) -> x509.CertificateRevocationListBuilder:
    this_update = context.now.replace(microsecond=0)
    number = 1 if context.previous is None else 1 + (crl_number(context.previous) or 0)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(context.issuer.subject)
        .last_update(this_update)
        .next_update(this_update + timedelta(days=plan.validity_days))
    )
    for extension in (authority_key_identifier(context.issuer), x509.CRLNumber(number)):
        builder = builder.add_extension(extension, critical=CRL_EXTENSIONS[extension.oid.dotted_string])
    for revocation in _all_revocations(plan, context):
        builder = builder.add_revoked_certificate(_entry(revocation))
    return builder


def _all_revocations(plan: CrlPlan, context: CrlLintContext) -> list[Revocation]:
    carried = [_revocation(entry) for entry in context.previous or ()]
    everything = {revocation.serial_number: revocation for revocation in carried}
    for revocation in plan.revoked:
        if revocation.serial_number in everything:
            raise InputRefused(f"certificate {revocation.serial_number:x} is revoked already; leave it out")
        everything[revocation.serial_number] = revocation
    if len(everything) > MAX_CRL_ENTRIES:
        raise InputRefused(f"{len(everything)} revoked certificates; a CRL holds at most {MAX_CRL_ENTRIES}")
    return [everything[serial_number] for serial_number in sorted(everything)]


def _revocation(entry: x509.RevokedCertificate) -> Revocation:
    return Revocation(entry.serial_number, entry.revocation_date_utc, reason_of(entry))


def _entry(revocation: Revocation) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(revocation.serial_number)
        .revocation_date(revocation.revoked_at.replace(microsecond=0))
    )
    if revocation.reason is not None:
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(revocation.reason)), critical=False)
    return builder.build()
