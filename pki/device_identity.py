"""How a device that a station made is named in its identity certificate (docs/spec/x509-profiles.md)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pki.errors import InputRefused
from pki.x509_names import DistinguishedName

if TYPE_CHECKING:
    from cryptography import x509

UID_SIZE_BYTES = 16
_COMMON_NAME = re.compile(r"uid:([0-9a-f]{32})")


def device_name(
    organization: str, uid: bytes, serial_number: str = "", country: str | None = None
) -> DistinguishedName:
    """The subject of a device's identity.

    `uid` has 16 bytes, padded; `serial_number` is what was scanned (UDI), or empty: then it is the UID. Raises
    InputRefused for another size, or a serial number that PrintableString does not have.
    """
    if len(uid) != UID_SIZE_BYTES:
        raise InputRefused(f"a padded UID has {UID_SIZE_BYTES} bytes, not {len(uid)}")
    return DistinguishedName(
        country=country,
        organization=organization,
        common_name=f"uid:{uid.hex()}",
        serial_number=serial_number or uid.hex(),
    )


def uid_of_certificate(certificate: x509.Certificate) -> bytes | None:
    """The UID (16 bytes, padded) that a device's certificate names; None if its CN is no UID."""
    names = DistinguishedName.from_x509(certificate.subject)
    match = _COMMON_NAME.fullmatch(names.common_name or "")
    return None if match is None else bytes.fromhex(match.group(1))
