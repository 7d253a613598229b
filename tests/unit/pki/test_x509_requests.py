"""Certification requests: openssl verifies ours, ours verifies openssl's, and everything else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto.csr import CertificationRequest as RawRequest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import FormatError, InputRefused, PolicyViolation, SignatureInvalid, StrongroomError
from pki.values import Digest
from pki.x509_names import DistinguishedName
from pki.x509_parse import MAX_REQUEST_SIZE_BYTES, request_der
from pki.x509_requests import CertificationRequest, make_request, require_same_name, verify_request
from pki.x509_signing_key import signature_to_der
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import WrongKey

NAME = w.name("Release tools")
REQUEST = make_request(NAME, w.CODE_KEY.public_key, w.CODE_KEY.sign)


def test_openssl_verifies_ours(tmp_path: Path) -> None:
    (tmp_path / "request.pem").write_bytes(w.pem(REQUEST, "CERTIFICATE REQUEST"))
    shown = w.openssl("req", "-in", tmp_path / "request.pem", "-verify", "-noout", "-subject", "-nameopt", "utf8")
    assert shown.returncode == 0
    assert "verify OK" in shown.stderr
    assert "O=Größe Medical AG, CN=Release tools" in shown.stdout


def test_we_verify_openssls(tmp_path: Path) -> None:
    made = w.openssl(
        *(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-sha256",
            "-nodes",
            "-batch",
            "-utf8",
        ),
        *("-keyout", tmp_path / "key.pem", "-out", tmp_path / "request.pem", "-subj", "/CN=Unit 7/O=Größe AG"),
    )
    assert made.returncode == 0, made.stderr
    request = verify_request(request_der((tmp_path / "request.pem").read_bytes()))
    assert request.subject == DistinguishedName(organization="Größe AG", common_name="Unit 7")


def test_what_is_returned() -> None:
    assert verify_request(REQUEST) == CertificationRequest(NAME, w.CODE_KEY.public_key)


def test_a_key_that_is_not_possessed_makes_no_request() -> None:
    with pytest.raises(SignatureInvalid):
        make_request(NAME, w.DEVICE_KEY.public_key, w.CODE_KEY.sign)
    wrong = WrongKey("code")
    with pytest.raises(SignatureInvalid):
        make_request(NAME, wrong.public_key, wrong.sign)


def _changed(mutate: w.Mutation, resign: bool = True) -> bytes:
    request = RawRequest.load(REQUEST)
    _ = request.native
    mutate(request["certification_request_info"])
    to_be_signed = request["certification_request_info"].dump(force=True)
    if resign:
        request["signature"] = core.OctetBitString(signature_to_der(w.CODE_KEY.sign(Digest.of(to_be_signed))))
    der: bytes = request.dump(force=True)
    return der


def _other_key(info: Any) -> None:
    request = RawRequest.load(make_request(NAME, w.DEVICE_KEY.public_key, w.DEVICE_KEY.sign))
    info["subject_pk_info"] = request["certification_request_info"]["subject_pk_info"]


def test_proof_of_possession_of_another_key() -> None:
    with pytest.raises(SignatureInvalid):
        verify_request(_changed(_other_key))


def _built(
    key: Any, *, algorithm: Any = None, extensions: list[x509.ExtensionType] | None = None, name: str = "x"
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    )
    for extension in extensions or []:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


SOFTWARE = w.CODE_KEY.private_key


def test_csr_01_another_algorithm() -> None:
    with pytest.raises(PolicyViolation, match="CSR-01"):
        verify_request(_built(SOFTWARE, algorithm=hashes.SHA384()))


def test_csr_02_extensions_are_not_the_requesters_to_choose() -> None:
    with pytest.raises(PolicyViolation, match="CSR-02"):
        verify_request(_built(SOFTWARE, extensions=[x509.BasicConstraints(True, None)]))


def test_csr_02_challenge_password() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(NAME.to_x509())
    builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret")
    with pytest.raises(PolicyViolation, match="CSR-02") as caught:
        verify_request(builder.sign(SOFTWARE, hashes.SHA256()).public_bytes(Encoding.DER))
    assert "secret" not in str(caught.value)


def test_csr_03_no_name() -> None:
    with pytest.raises(PolicyViolation, match="CSR-03"):
        verify_request(_built(SOFTWARE, name=""))


def test_csr_04_another_name_than_approved() -> None:
    require_same_name(verify_request(REQUEST), NAME)
    with pytest.raises(PolicyViolation, match="CSR-04"):
        require_same_name(verify_request(REQUEST), w.name("Release tool"))


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["RSA", "P-384"],
)
def test_keys_of_other_kinds(key: Any) -> None:
    with pytest.raises((FormatError, PolicyViolation)):
        verify_request(_built(key))


def test_a_name_that_we_cannot_certify() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.LOCALITY_NAME, "Bern")])
    )
    with pytest.raises(InputRefused):
        verify_request(builder.sign(SOFTWARE, hashes.SHA256()).public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x30", REQUEST + b"\x00", REQUEST[:-1], w.WORLD.code, REQUEST + bytes(MAX_REQUEST_SIZE_BYTES)],
    ids=["empty", "header", "trailing", "cut", "certificate", "too long"],
)
def test_malformed(damage: bytes) -> None:
    with pytest.raises(FormatError):
        verify_request(damage)


@given(position=st.integers(0, len(REQUEST) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(position: int, bit: int) -> None:
    der = bytearray(REQUEST)
    der[position] ^= 1 << bit
    with pytest.raises(StrongroomError):
        verify_request(bytes(der))
