"""HardwareModuleName, the name that an IEEE 802.1AR identity gives a device (RFC 4108, section 5).

HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from asn1crypto import core

from pki.errors import FormatError, InputRefused

MAX_SERIAL_NUMBER_SIZE_BYTES = 64
_MAX_HARDWARE_TYPE_LENGTH = 100
_DOTTED_OID = re.compile(r"(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9][0-9]*))(?:\.(?:0|[1-9][0-9]*))*")


class _HardwareModuleNameSequence(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 (asn1crypto's way to declare a structure)
        ("hw_type", core.ObjectIdentifier),
        ("hw_serial_num", core.OctetString),
    ]


@dataclass(frozen=True, slots=True)
class HardwareModuleName:
    """`hardware_type` is a dotted object identifier of the maker; `serial_number` the bytes of hwSerialNum, 1 to 64."""

    hardware_type: str
    serial_number: bytes

    def __post_init__(self) -> None:
        if len(self.hardware_type) > _MAX_HARDWARE_TYPE_LENGTH or not _DOTTED_OID.fullmatch(self.hardware_type):
            raise InputRefused(
                f"hardware type {self.hardware_type!r}: use a dotted object identifier, as 1.3.6.1.4.1.99999.1"
            )
        if not 1 <= len(self.serial_number) <= MAX_SERIAL_NUMBER_SIZE_BYTES:
            length = len(self.serial_number)
            raise InputRefused(
                f"the hardware serial number has {length} bytes; use 1 to {MAX_SERIAL_NUMBER_SIZE_BYTES}"
            )

    def to_der(self) -> bytes:
        """The DER of the SEQUENCE, the value of the otherName."""
        sequence = _HardwareModuleNameSequence({"hw_type": self.hardware_type, "hw_serial_num": self.serial_number})
        der: bytes = sequence.dump()
        return der

    @classmethod
    def from_der(cls, der: bytes) -> HardwareModuleName:
        """Read the SEQUENCE; raises FormatError for anything but its DER."""
        try:
            sequence = _HardwareModuleNameSequence.load(der, strict=True)
            name = cls(sequence["hw_type"].dotted, bytes(sequence["hw_serial_num"].native))
        except (ValueError, TypeError, InputRefused) as error:
            raise FormatError("HardwareModuleName", 0, " ".join(str(error).split())) from None
        if name.to_der() != der:
            raise FormatError("HardwareModuleName", 0, "not DER")
        return name
