"""Strict reading of certificates, requests and CRLs: bounded, DER only, every part parsed at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from pki.errors import FormatError
from pki.values import PublicKey

MAX_CERTIFICATE_SIZE_BYTES = 16 * 1024
MAX_REQUEST_SIZE_BYTES = 16 * 1024
MAX_CRL_SIZE_BYTES = 8 * 1024 * 1024
"""At about 40 bytes per entry, some 200,000 revoked certificates."""

ECDSA_WITH_SHA256_DER = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier of ecdsa-with-SHA256 without parameters (RFC 5758, section 3.2)."""

_FAULTS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    CryptographyDeprecationWarning,
)
"""What `cryptography` raises, or warns of, on malformed input; TypeError for a few string types in names."""

_PEM_BEGIN = b"-----BEGIN "

_Item = TypeVar("_Item", x509.Certificate, x509.CertificateSigningRequest, x509.CertificateRevocationList)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def parse_certificate(der: bytes) -> x509.Certificate:
    """Parse one DER certificate (RFC 5280, section 4.1); raises FormatError, also for extensions or names that fail."""
    return _parse(der, "certificate", MAX_CERTIFICATE_SIZE_BYTES, x509.load_der_x509_certificate)


def parse_request(der: bytes) -> x509.CertificateSigningRequest:
    """Parse one DER certification request (RFC 2986, section 4); raises FormatError."""
    return _parse(der, "certification request", MAX_REQUEST_SIZE_BYTES, x509.load_der_x509_csr)


def parse_crl(der: bytes) -> x509.CertificateRevocationList:
    """Parse one DER CRL (RFC 5280, section 5.1), entries and their extensions included; raises FormatError."""
    return _parse(der, "CRL", MAX_CRL_SIZE_BYTES, x509.load_der_x509_crl)


def certificate_der(data: bytes) -> bytes:
    """The DER of the one certificate in a file's bytes, PEM or DER; raises FormatError."""
    return _one_of_file(data, "certificate", MAX_CERTIFICATE_SIZE_BYTES, x509.load_pem_x509_certificate)


def request_der(data: bytes) -> bytes:
    """The DER of the one certification request in a file's bytes, PEM or DER; raises FormatError."""
    return _one_of_file(data, "certification request", MAX_REQUEST_SIZE_BYTES, x509.load_pem_x509_csr)


def crl_der(data: bytes) -> bytes:
    """The DER of the one CRL in a file's bytes, PEM or DER; raises FormatError."""
    return _one_of_file(data, "CRL", MAX_CRL_SIZE_BYTES, x509.load_pem_x509_crl)


@lru_cache(maxsize=64)
def certificate_public_key(certificate: x509.Certificate) -> PublicKey:
    """The certified key; FormatError unless it is written as an uncompressed P-256 point that is on the curve."""
    from asn1crypto.x509 import Certificate

    def read_spki() -> bytes:
        raw = Certificate.load(certificate.public_bytes(Encoding.DER), strict=True)
        spki: bytes = raw["tbs_certificate"]["subject_public_key_info"].dump()
        return spki

    return _public_key(read_spki, certificate)


def request_public_key(request: x509.CertificateSigningRequest) -> PublicKey:
    """The key in a request; FormatError unless it is written as an uncompressed P-256 point that is on the curve."""
    from asn1crypto.csr import CertificationRequest

    def read_spki() -> bytes:
        raw = CertificationRequest.load(request.public_bytes(Encoding.DER), strict=True)
        spki: bytes = raw["certification_request_info"]["subject_pk_info"].dump()
        return spki

    return _public_key(read_spki, request)


def extension_value(
    item: x509.Certificate | x509.CertificateRevocationList, extension_type: type[_Extension]
) -> _Extension | None:
    """The value of an extension, or None when it is absent."""
    for extension in item.extensions:
        if isinstance(extension.value, extension_type):
            return extension.value
    return None


def is_ecdsa_with_sha256(item: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """Whether both algorithm fields, the signed one and the one beside the signature, are ecdsa-with-SHA256.

    Parameters must be absent (RFC 5758, section 3.2).
    """
    from asn1crypto.crl import CertificateList
    from asn1crypto.x509 import Certificate

    der = item.public_bytes(Encoding.DER)
    if isinstance(item, x509.Certificate):
        certificate = Certificate.load(der, strict=True)
        signed, beside = certificate["tbs_certificate"]["signature"], certificate["signature_algorithm"]
    else:
        crl = CertificateList.load(der, strict=True)
        signed, beside = crl["tbs_cert_list"]["signature"], crl["signature_algorithm"]
    return bool(signed.dump() == beside.dump() == ECDSA_WITH_SHA256_DER)


def _public_key(read_spki: Callable[[], bytes], item: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    try:
        # The raw bytes tell a compressed point from an uncompressed one; loading finds a point off the curve.
        public_key = PublicKey.from_spki(read_spki())
        item.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FormatError("subjectPublicKeyInfo", 0, str(error)) from None
    return public_key


def _parse(der: bytes, what: str, max_size_bytes: int, load: Callable[[bytes], _Item]) -> _Item:
    if not 0 < len(der) <= max_size_bytes:
        raise FormatError(what, 0, f"{len(der)} bytes; expected 1 to {max_size_bytes}")
    with _no_tolerance(what):
        item = load(der)
        _touch(item)
    if item.public_bytes(Encoding.DER) != der:
        raise FormatError(what, 0, "not DER")
    # The loader drops up to seven unused bits of the signature's BIT STRING; its count of them must be zero.
    if not der.endswith(b"\x00" + item.signature):
        raise FormatError(what, len(der) - len(item.signature), "the signature is not a whole number of octets")
    return item


def _touch(item: x509.Certificate | x509.CertificateSigningRequest | x509.CertificateRevocationList) -> None:
    """Have every lazily parsed part parsed, so that a fault shows now and not later."""
    for extension in item.extensions:
        _ = extension.value
    if isinstance(item, x509.CertificateRevocationList):
        for entry in item:
            _ = list(entry.extensions)
        _ = (item.issuer, item.last_update_utc, item.next_update_utc)
    elif isinstance(item, x509.Certificate):
        _ = (item.subject, item.issuer, item.not_valid_before_utc, item.not_valid_after_utc, item.serial_number)
    else:
        _ = (item.subject, list(item.attributes))


@contextmanager
def _no_tolerance(what: str) -> Iterator[None]:
    """Turn what `cryptography` raises on malformed input, and what it only warns of, into FormatError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CryptographyDeprecationWarning)
        try:
            yield
        except _FAULTS as error:
            raise FormatError(what, 0, _one_line(error)) from None


def _one_of_file(data: bytes, what: str, max_size_bytes: int, load_pem: Callable[[bytes], _Item]) -> bytes:
    if _PEM_BEGIN not in data:
        return data
    # Base64 with line ends takes 4/3 of the size and a little; twice the size bounds it.
    if len(data) > 2 * max_size_bytes:
        raise FormatError(what, 0, f"{len(data)} bytes of PEM; expected at most {2 * max_size_bytes}")
    if data.count(_PEM_BEGIN) != 1:
        raise FormatError(what, 0, f"{data.count(_PEM_BEGIN)} PEM blocks; expected one")
    with _no_tolerance(what):
        return load_pem(data).public_bytes(Encoding.DER)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
