"""The lot's issuing CA, on the station's token: one certificate for each device's identity key, linted and verified."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from pki.device_identity import device_name
from pki.errors import FormatError
from pki.values import PublicKey
from pki.x509_parse import certificate_public_key, parse_certificate
from pki.x509_profiles import DEVICE_IDENTITY
from provisioning.station.rules import Rule, refused
from signer.certificates import CertificateKey, IssueOrder, issue_device_identity

SERIAL_ENTROPY_SIZE_BYTES = 20


class Certifier(Protocol):
    """Makes a device's certificate."""

    def certify(self, identity_key: PublicKey, uid: bytes, serial: str, now: datetime) -> bytes:
        """DER, of the key that the device has proved to hold."""


class LotCa:
    """The lot's CA: its key on the token, its certificate, and what the product says of names."""

    def __init__(
        self,
        key: CertificateKey,
        certificate: bytes,
        organization: str,
        hardware_type: str,
        random: Callable[[int], bytes],
    ) -> None:
        """`random` is the token's generator. Raises PolicyViolation ST-06 when key and certificate do not fit."""
        try:
            fits = certificate_public_key(parse_certificate(certificate)) == key.public_key
        except FormatError as error:
            raise refused(Rule.ISSUING_CA, f"the issuing CA's certificate: {error}") from None
        if not fits:
            raise refused(Rule.ISSUING_CA, "the issuing CA's key on the token is not that of its certificate")
        self._key = key
        self._certificate = certificate
        self._organization = organization
        self._hardware_type = hardware_type
        self._random = random

    def certify(self, identity_key: PublicKey, uid: bytes, serial: str, now: datetime) -> bytes:
        """Raises PolicyViolation (a lint rule), SignatureInvalid, TokenError."""
        order = IssueOrder(
            profile=DEVICE_IDENTITY,
            name=device_name(self._organization, uid, serial),
            serial_entropy=self._random(SERIAL_ENTROPY_SIZE_BYTES),
            validity_days=None,
            hardware_type=self._hardware_type,
        )
        return issue_device_identity(self._key, self._certificate, order, identity_key, now)
