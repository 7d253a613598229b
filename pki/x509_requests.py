"""PKCS#10 certification requests (RFC 2986): made with a key in a token, and verified with proof of possession."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from pki.errors import FormatError, PolicyViolation, SignatureInvalid
from pki.values import Digest, PublicKey
from pki.x509_names import DistinguishedName
from pki.x509_parse import ECDSA_WITH_SHA256_DER, parse_request, request_public_key
from pki.x509_signing_key import CallbackPrivateKey, Signer, signature_from_der, verify_signature
from pki.x509_to_be_signed import dress_to_be_signed


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """What a verified request asks for: this name for this key, whose private half signed the request."""

    subject: DistinguishedName
    public_key: PublicKey


def make_request(subject: DistinguishedName, public_key: PublicKey, signer: Signer) -> bytes:
    """Make a request without attributes, signed by the key it names; returns DER, verified before it is returned.

    Raises SignatureInvalid when the signer's key is not `public_key`, and what the signer raises.
    """

    def inspect(to_be_signed: bytes) -> None:
        request = parse_request(dress_to_be_signed(to_be_signed))
        asked = _content(request)
        if asked != CertificationRequest(subject, public_key):
            raise PolicyViolation("CSR-05", "the request built is not the request wanted")

    builder = x509.CertificateSigningRequestBuilder().subject_name(subject.to_x509())
    request = builder.sign(CallbackPrivateKey(public_key, signer, inspect), hashes.SHA256())
    der = request.public_bytes(Encoding.DER)
    verify_request(der)
    return der


def verify_request(der: bytes) -> CertificationRequest:
    """Parse a request and verify its proof of possession.

    Raises FormatError; PolicyViolation CSR-01 (algorithm), CSR-02 (attributes: the profile decides on extensions, not
    the requester), CSR-03 (no name); SignatureInvalid; InputRefused for a name we cannot certify.
    """
    request = parse_request(der)
    if _signature_algorithm(der) != ECDSA_WITH_SHA256_DER:
        raise PolicyViolation("CSR-01", "the request is not signed with ecdsa-with-SHA256; make it with that")
    content = _content(request)
    try:
        signature = signature_from_der(request.signature)
    except ValueError:
        raise SignatureInvalid("the request's signature is not an ECDSA P-256 signature") from None
    verify_signature(content.public_key, Digest.of(request.tbs_certrequest_bytes), signature)
    return content


def require_same_name(request: CertificationRequest, approved: DistinguishedName) -> None:
    """Raise PolicyViolation CSR-04 unless the name asked for is exactly the name approved."""
    if request.subject != approved:
        raise PolicyViolation("CSR-04", f"the request asks for {request.subject}, but {approved} was approved")


def _content(request: x509.CertificateSigningRequest) -> CertificationRequest:
    if list(request.attributes) or list(request.extensions):
        raise PolicyViolation("CSR-02", "the request has attributes; make it without, the profile sets the extensions")
    subject = DistinguishedName.from_x509(request.subject)
    if not subject.attributes():
        raise PolicyViolation("CSR-03", "the request names nobody; give it a subject")
    return CertificationRequest(subject, request_public_key(request))


def _signature_algorithm(der: bytes) -> bytes:
    """The DER of the AlgorithmIdentifier beside the signature."""
    from asn1crypto.csr import CertificationRequest as RawRequest

    try:
        algorithm: bytes = RawRequest.load(der, strict=True)["signature_algorithm"].dump()
    except (ValueError, TypeError) as error:
        raise FormatError("certification request", 0, " ".join(str(error).split())) from None
    return algorithm
