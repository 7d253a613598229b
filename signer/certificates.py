"""Issuing X.509 with keys in tokens: the one place where a token's key meets the builders of `pki`.

A key acts only in its role (docs/spec/key-roles.md): CA keys issue, CA and code-signing keys sign requests. A key that
a device accepts never signs an X.509 structure, because those carry no context string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pki.errors import PolicyViolation
from pki.key_specs import parse_key_label
from pki.roles import Role
from pki.values import Digest, PublicKey, Scheme, Signature
from pki.x509_certificates import CertificatePlan, issue_certificate, issue_root_certificate
from pki.x509_crls import CrlPlan, Revocation, issue_crl
from pki.x509_names import DistinguishedName
from pki.x509_parse import certificate_public_key, parse_certificate
from pki.x509_profiles import CERTIFICATE_PROFILES, DEVICE_IDENTITY, LOT_CA, ROOT_CA, CertificateProfile
from pki.x509_requests import make_request, require_same_name, verify_request
from pki.x509_signing_key import Signer

REQUEST_ROLES = frozenset({Role.PRODUCTION_CA, Role.LOT_CA, Role.CODE_SIGNING})
"""Roles whose keys may sign a certification request: those that a certificate of ours is issued to on request."""


class CertificateKey(Protocol):
    """What is needed of a key on a token; `signer.tokens` provides it."""

    @property
    def label(self) -> str:
        """CKA_LABEL, in the scheme of docs/spec/key-roles.md."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""

    def sign(self, digest: Digest, scheme: Scheme) -> Signature:
        """Sign in the token; raises TokenError."""


@dataclass(frozen=True, slots=True)
class IssueOrder:
    """What the operator approved: profile, exact name, validity, and for a device identity the hardware type (an OID).

    `serial_entropy` is 20 random bytes, best from the token's generator, used for this certificate only.
    """

    profile: CertificateProfile
    name: DistinguishedName
    serial_entropy: bytes
    validity_days: int | None
    hardware_type: str | None = None


def create_root_ca(key: CertificateKey, order: IssueOrder, now: datetime) -> bytes:
    """Issue the self-signed certificate of a root CA key; returns DER.

    Raises PolicyViolation CA-01 (role) or a lint rule, InputRefused, SignatureInvalid, TokenError.
    """
    if order.profile is not ROOT_CA:
        raise PolicyViolation(
            "CA-03", f"a {order.profile.name} certificate is not self-signed; use the profile root-ca"
        )
    _require_role(key, frozenset({Role.ROOT_CA}), "issue a root CA certificate")
    return issue_root_certificate(_plan(order, key.public_key, now), _signer(key), now)


def create_request(key: CertificateKey, name: DistinguishedName) -> bytes:
    """Make a certification request for a key on a token; returns DER.

    Raises PolicyViolation CA-01 (role), InputRefused, SignatureInvalid, TokenError.
    """
    _require_role(key, REQUEST_ROLES, "sign a certification request")
    return make_request(name, key.public_key, _signer(key))


def issue_from_request(
    key: CertificateKey, issuer_der: bytes, order: IssueOrder, request_der: bytes, now: datetime
) -> bytes:
    """Issue a certificate for the key in a request, which must ask for exactly the name approved; returns DER.

    Raises PolicyViolation CA-01 (role), CA-02 (the key is not the issuer's), CSR-… or a lint rule, FormatError,
    InputRefused, SignatureInvalid, TokenError.
    """
    if not order.profile.issued_by:
        raise PolicyViolation("CA-03", f"a {order.profile.name} certificate is self-signed, not issued on a request")
    _require_issuer(key, issuer_der, _issuers(order.profile))
    request = verify_request(request_der)
    require_same_name(request, order.name)
    return issue_certificate(_plan(order, request.public_key, now), issuer_der, _signer(key), now)


def issue_device_identity(
    key: CertificateKey, issuer_der: bytes, order: IssueOrder, identity_key: PublicKey, now: datetime
) -> bytes:
    """Issue a device's identity with its lot's CA; returns DER.

    There is no request: the device has proved possession of `identity_key` by its challenge (docs/spec/activation.md,
    section 1), which the caller has verified. Raises PolicyViolation CA-01, CA-02, CA-03 or a lint rule, FormatError,
    InputRefused, SignatureInvalid, TokenError.
    """
    if order.profile is not DEVICE_IDENTITY:
        raise PolicyViolation("CA-03", f"a {order.profile.name} certificate is issued on a request")
    _require_issuer(key, issuer_der, (LOT_CA,))
    return issue_certificate(_plan(order, identity_key, now), issuer_der, _signer(key), now)


def issue_revocation_list(
    key: CertificateKey,
    issuer_profile: CertificateProfile,
    issuer_der: bytes,
    previous_der: bytes | None,
    revoked: Sequence[Revocation],
    validity_days: int,
    now: datetime,
) -> bytes:
    """Issue the next CRL of a CA; `previous_der` is None for its first only. Returns DER.

    Raises PolicyViolation CA-01, CA-02 or a lint rule, FormatError, InputRefused, ChainInvalid, SignatureInvalid,
    TokenError.
    """
    _require_issuer(key, issuer_der, (issuer_profile,))
    plan = CrlPlan(issuer_profile, issuer_der, previous_der, revoked, validity_days)
    return issue_crl(plan, _signer(key), now)


def _plan(order: IssueOrder, public_key: PublicKey, now: datetime) -> CertificatePlan:
    return CertificatePlan(
        profile=order.profile,
        subject=order.name,
        public_key=public_key,
        serial_entropy=order.serial_entropy,
        not_before=now,
        validity_days=order.validity_days,
        hardware_type=order.hardware_type,
    )


def _signer(key: CertificateKey) -> Signer:
    return lambda digest: key.sign(digest, Scheme.ECDSA_P256_SHA256_RAW)


def _issuers(profile: CertificateProfile) -> tuple[CertificateProfile, ...]:
    return tuple(CERTIFICATE_PROFILES[name] for name in profile.issued_by)


def _require_issuer(key: CertificateKey, issuer_der: bytes, profiles: Sequence[CertificateProfile]) -> None:
    roles = frozenset(profile.key_role for profile in profiles if profile.key_role is not None and profile.is_ca)
    if not roles:
        raise PolicyViolation("CA-01", f"a {profiles[0].name} key issues nothing")
    _require_role(key, roles, "issue this")
    if certificate_public_key(parse_certificate(issuer_der)) != key.public_key:
        raise PolicyViolation(
            "CA-02", f"key {key.label!r} is not the key of the issuer's certificate; use the one that is"
        )


def _require_role(key: CertificateKey, roles: frozenset[Role], act: str) -> None:
    role = parse_key_label(key.label).role
    if role not in roles:
        wanted = " or ".join(sorted(roles))
        raise PolicyViolation(
            "CA-01", f"key {key.label!r} has the role {role}, which may not {act}; use a {wanted} key"
        )
