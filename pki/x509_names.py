"""Distinguished names as values: the few attributes our certificates use, with the bounds of RFC 5280, appendix A."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from pki.errors import InputRefused

if TYPE_CHECKING:
    from cryptography import x509

_MAX_ATTRIBUTE_LENGTH = 64
"""ub-organization-name, ub-common-name and ub-serial-number (RFC 5280, appendix A.1), in characters."""

_COUNTRY = re.compile(r"[A-Z]{2}")
_PRINTABLE_STRING = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]+")
"""The PrintableString alphabet (X.680, section 41.4), which X.520 demands for serialNumber."""

_OBJECT_IDENTIFIERS = {
    "country": "2.5.4.6",
    "organization": "2.5.4.10",
    "common_name": "2.5.4.3",
    "serial_number": "2.5.4.5",
}


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """A subject or issuer; None means that the attribute is absent. Encoded in the order of the fields, one per RDN.

    `serial_number` is the X.520 attribute (a device's serial number), not a certificate's. Raises InputRefused for an
    attribute that is empty, too long or has characters that do not print.
    """

    country: str | None = None
    organization: str | None = None
    common_name: str | None = None
    serial_number: str | None = None

    def __post_init__(self) -> None:
        for field_name, text in self.attributes():
            _check_attribute(field_name, text)

    def attributes(self) -> tuple[tuple[str, str], ...]:
        """The present attributes as (field name, text), in encoding order."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return tuple((name, text) for name, text in named if text is not None)

    def __str__(self) -> str:
        return ", ".join(f"{name}={text}" for name, text in self.attributes())

    def to_x509(self) -> x509.Name:
        """Encode: UTF8String, but PrintableString for country and serialNumber (RFC 5280, section 4.1.2.4)."""
        from cryptography import x509

        return x509.Name(
            [
                x509.NameAttribute(x509.ObjectIdentifier(_OBJECT_IDENTIFIERS[name]), text)
                for name, text in self.attributes()
            ]
        )

    @classmethod
    def from_x509(cls, name: x509.Name) -> DistinguishedName:
        """Read a name in any order of RDNs; InputRefused for multi-valued RDNs, repeated or other attributes."""
        field_names = {oid: field_name for field_name, oid in _OBJECT_IDENTIFIERS.items()}
        found: dict[str, str] = {}
        for rdn in name.rdns:
            attributes = list(rdn)
            if len(attributes) != 1:
                raise InputRefused("the name has a multi-valued RDN; use one attribute per RDN")
            oid = attributes[0].oid.dotted_string
            if oid not in field_names:
                allowed = ", ".join(_OBJECT_IDENTIFIERS)
                raise InputRefused(f"the name has an attribute of type {oid}; use only {allowed}")
            if field_names[oid] in found:
                raise InputRefused(f"the name has two attributes of type {field_names[oid]}; use one")
            value = attributes[0].value
            if not isinstance(value, str):
                raise InputRefused(f"the name's attribute {field_names[oid]} is not text")
            found[field_names[oid]] = value
        return cls(**found)


def _check_attribute(name: str, text: str) -> None:
    if not 1 <= len(text) <= _MAX_ATTRIBUTE_LENGTH:
        raise InputRefused(f"{name} has {len(text)} characters; use 1 to {_MAX_ATTRIBUTE_LENGTH}")
    if not text.isprintable() or text != text.strip() or text != unicodedata.normalize("NFC", text):
        raise InputRefused(f"{name} {text!r}: use printable characters in Unicode form NFC, without spaces at the ends")
    if name == "country" and not _COUNTRY.fullmatch(text):
        raise InputRefused(f"country {text!r}: use the two capital letters of ISO 3166")
    if name == "serial_number" and not _PRINTABLE_STRING.fullmatch(text):
        raise InputRefused(f"serial_number {text!r}: use letters, digits, space and '()+,-./:=?")
