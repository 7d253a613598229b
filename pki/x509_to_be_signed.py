"""To-be-signed bytes dressed as a signed object, so that it can be parsed and linted before signing."""

from __future__ import annotations

_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier without parameters (RFC 5758, section 3.2)."""

_MEANINGLESS_SIGNATURE = bytes.fromhex("0309003006020101020101")
"""BIT STRING of an Ecdsa-Sig-Value with r = s = 1, which verifies under no key anyone has."""


def dress_to_be_signed(to_be_signed: bytes) -> bytes:
    """SEQUENCE { to_be_signed, ecdsa-with-SHA256, meaningless signature } in DER.

    `to_be_signed` is the DER of a TBSCertificate or TBSCertList (RFC 5280, sections 4.1 and 5.1) or of a
    CertificationRequestInfo (RFC 2986, section 4).
    """
    body = to_be_signed + _ECDSA_WITH_SHA256 + _MEANINGLESS_SIGNATURE
    return b"\x30" + _der_length(len(body)) + body


def _der_length(length: int) -> bytes:
    """DER length octets (X.690, sections 8.1.3 and 10.1)."""
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
