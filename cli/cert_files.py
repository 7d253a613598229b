"""Files of certificates, requests and CRLs: read as PEM or DER, written as PEM (RFC 7468)."""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path

from cli.output import read_input
from pki.x509_parse import (
    MAX_CERTIFICATE_SIZE_BYTES,
    MAX_CRL_SIZE_BYTES,
    MAX_REQUEST_SIZE_BYTES,
    certificate_der,
    crl_der,
    request_der,
)

CERTIFICATE = "CERTIFICATE"
REQUEST = "CERTIFICATE REQUEST"
CRL = "X509 CRL"


def read_certificate(path: Path) -> bytes:
    """The DER of the one certificate in a file. Raises InputRefused, FormatError."""
    return certificate_der(read_input(path, "certificate", 2 * MAX_CERTIFICATE_SIZE_BYTES))


def read_request(path: Path) -> bytes:
    """The DER of the one certification request in a file. Raises InputRefused, FormatError."""
    return request_der(read_input(path, "certification request", 2 * MAX_REQUEST_SIZE_BYTES))


def read_crl(path: Path) -> bytes:
    """The DER of the one CRL in a file. Raises InputRefused, FormatError."""
    return crl_der(read_input(path, "CRL", 2 * MAX_CRL_SIZE_BYTES))


def to_pem(der: bytes, kind: str) -> bytes:
    """PEM with lines of 64 characters (RFC 7468, section 2)."""
    lines = textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""]).encode("ascii")
