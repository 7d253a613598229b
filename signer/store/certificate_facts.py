"""Reads out of a certificate what the key store records beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from pki.errors import FormatError, InputRefused
from pki.values import PublicKey
from pki.x509_parse import certificate_public_key, parse_certificate

MAX_NAME_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What is recorded; the names are RFC 4514 strings, the serial number lower-case hexadecimal digits."""

    sha256: bytes
    serial_number: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


def read_certificate(der: bytes, key_label: str, public_key: PublicKey) -> CertificateFacts:
    """Parse a DER certificate that is to belong to a key; raises InputRefused unless it certifies exactly this key."""
    try:
        certificate = parse_certificate(der)
        certified_key = certificate_public_key(certificate)
    except FormatError as error:
        raise InputRefused(f"the certificate for key {key_label} cannot be read: {error}") from None
    if certified_key != public_key:
        raise InputRefused(
            f"the certificate certifies another key than {key_label}; check which file belongs to which key"
        )
    subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    if max(len(subject), len(issuer)) > MAX_NAME_LENGTH:
        raise InputRefused(
            f"the names in the certificate for key {key_label} are longer than {MAX_NAME_LENGTH} characters"
        )
    return CertificateFacts(
        sha256=hashlib.sha256(der).digest(),
        serial_number=f"{certificate.serial_number:x}",
        subject=subject,
        issuer=issuer,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
