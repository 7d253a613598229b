"""Certificate and CRL profiles as data: what building writes and what the lint demands (docs/spec/x509-profiles.md).

This module imports nothing heavy: object identifiers are dotted strings, key usage bits their names in RFC 5280.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from pki.errors import ConfigurationError
from pki.roles import Role

OID_BASIC_CONSTRAINTS = "2.5.29.19"
OID_KEY_USAGE = "2.5.29.15"
OID_EXTENDED_KEY_USAGE = "2.5.29.37"
OID_SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
OID_SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
OID_AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
OID_CRL_NUMBER = "2.5.29.20"

OID_CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
"""id-kp-codeSigning (RFC 5280, section 4.2.1.12)."""

OID_HARDWARE_MODULE_NAME = "1.3.6.1.5.5.7.8.4"
"""id-on-hardwareModuleName (RFC 4108, section 5)."""

NO_WELL_DEFINED_EXPIRATION = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""notAfter 99991231235959Z (RFC 5280, section 4.1.2.5; IEEE 802.1AR-2018, section 8.5)."""

MAX_NOT_BEFORE_IN_PAST = timedelta(minutes=5)
MAX_NOT_BEFORE_IN_FUTURE = timedelta(days=90)

_DAYS_PER_YEAR = 365


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """One kind of certificate.

    `issued_by` names the profiles that may issue it, none for self-signed. `key_role` is the role of the certified key,
    None where the key is a device's. `max_validity_days` None means exactly NO_WELL_DEFINED_EXPIRATION. `extensions`
    maps every extension that must be present, and no other may be, to whether it is critical.
    """

    name: str
    issued_by: tuple[str, ...]
    key_role: Role | None
    required_subject: frozenset[str]
    optional_subject: frozenset[str]
    max_validity_days: int | None
    is_ca: bool
    path_length: int | None
    key_usage: frozenset[str]
    extended_key_usage: frozenset[str]
    extensions: Mapping[str, bool]


_COMMON_EXTENSIONS = {
    OID_BASIC_CONSTRAINTS: True,
    OID_KEY_USAGE: True,
    OID_SUBJECT_KEY_IDENTIFIER: False,
}
_ISSUED_EXTENSIONS = _COMMON_EXTENSIONS | {OID_AUTHORITY_KEY_IDENTIFIER: False}
_ORGANIZATION_AND_NAME = frozenset({"organization", "common_name"})
_COUNTRY = frozenset({"country"})
_CA_USAGE = frozenset({"keyCertSign", "cRLSign"})
_END_ENTITY_USAGE = frozenset({"digitalSignature"})

ROOT_CA = CertificateProfile(
    name="root-ca",
    issued_by=(),
    key_role=Role.ROOT_CA,
    required_subject=_ORGANIZATION_AND_NAME,
    optional_subject=_COUNTRY,
    max_validity_days=30 * _DAYS_PER_YEAR,
    is_ca=True,
    path_length=2,
    key_usage=_CA_USAGE,
    extended_key_usage=frozenset(),
    extensions=MappingProxyType(_COMMON_EXTENSIONS),
)

PRODUCTION_CA = CertificateProfile(
    name="production-ca",
    issued_by=("root-ca",),
    key_role=Role.PRODUCTION_CA,
    required_subject=_ORGANIZATION_AND_NAME,
    optional_subject=_COUNTRY,
    max_validity_days=25 * _DAYS_PER_YEAR,
    is_ca=True,
    path_length=1,
    key_usage=_CA_USAGE,
    extended_key_usage=frozenset(),
    extensions=MappingProxyType(_ISSUED_EXTENSIONS),
)

LOT_CA = CertificateProfile(
    name="lot-ca",
    issued_by=("production-ca",),
    key_role=Role.LOT_CA,
    required_subject=_ORGANIZATION_AND_NAME,
    optional_subject=_COUNTRY,
    max_validity_days=20 * _DAYS_PER_YEAR,
    is_ca=True,
    path_length=0,
    key_usage=_CA_USAGE,
    extended_key_usage=frozenset(),
    extensions=MappingProxyType(_ISSUED_EXTENSIONS),
)

CODE_SIGNING = CertificateProfile(
    name="code-signing",
    issued_by=("production-ca",),
    key_role=Role.CODE_SIGNING,
    required_subject=_ORGANIZATION_AND_NAME,
    optional_subject=_COUNTRY,
    max_validity_days=3 * _DAYS_PER_YEAR,
    is_ca=False,
    path_length=None,
    key_usage=_END_ENTITY_USAGE,
    extended_key_usage=frozenset({OID_CODE_SIGNING}),
    extensions=MappingProxyType(_ISSUED_EXTENSIONS | {OID_EXTENDED_KEY_USAGE: True}),
)

DEVICE_IDENTITY = CertificateProfile(
    name="device-identity",
    issued_by=("lot-ca", "production-ca"),
    key_role=None,
    required_subject=frozenset({"organization", "serial_number"}),
    optional_subject=frozenset({"country", "common_name"}),
    max_validity_days=None,
    is_ca=False,
    path_length=None,
    key_usage=_END_ENTITY_USAGE,
    extended_key_usage=frozenset(),
    extensions=MappingProxyType(_ISSUED_EXTENSIONS | {OID_SUBJECT_ALTERNATIVE_NAME: False}),
)

CERTIFICATE_PROFILES: Mapping[str, CertificateProfile] = MappingProxyType(
    {profile.name: profile for profile in (ROOT_CA, PRODUCTION_CA, LOT_CA, CODE_SIGNING, DEVICE_IDENTITY)}
)

MAX_CRL_VALIDITY_DAYS: Mapping[str, int] = MappingProxyType({"root-ca": 400, "production-ca": 100, "lot-ca": 400})
"""Longest time from thisUpdate to nextUpdate by the issuer's profile.

The root is offline and meets once a year; a lot's CA is on a station's token, and works while the lot is made.
"""

CRL_EXTENSIONS: Mapping[str, bool] = MappingProxyType({OID_AUTHORITY_KEY_IDENTIFIER: False, OID_CRL_NUMBER: False})
"""Every extension that a CRL must have, and no other, with its criticality (RFC 5280, section 5.2)."""

REVOCATION_REASONS: frozenset[str] = frozenset(
    {"keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn"}
)
"""Reasons that may be given (RFC 5280, section 5.3.1). None can be taken back, so there is no certificateHold."""


def certificate_profile(name: str) -> CertificateProfile:
    """Find a profile by name; ConfigurationError names the ones there are."""
    if name not in CERTIFICATE_PROFILES:
        raise ConfigurationError(
            f"there is no certificate profile {name!r}; use one of {', '.join(CERTIFICATE_PROFILES)}"
        )
    return CERTIFICATE_PROFILES[name]
