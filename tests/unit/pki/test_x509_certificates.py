"""Issuing: what is asked for is what openssl reads, a wrong signature is never released, bad orders sign nothing."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import ConfigurationError, FormatError, InputRefused, PolicyViolation, SignatureInvalid
from pki.hardware_module_name import HardwareModuleName
from pki.values import Digest, PublicKey, Signature
from pki.x509_certificates import CertificatePlan, issue_certificate, issue_root_certificate, serial_number_from_entropy
from pki.x509_names import DistinguishedName
from pki.x509_parse import certificate_der, certificate_public_key, parse_certificate
from pki.x509_profiles import CERTIFICATE_PROFILES, CODE_SIGNING, certificate_profile
from pki.x509_signing_key import (
    CallbackPrivateKey,
    load_public_key,
    signature_from_der,
    signature_to_der,
    verify_signature,
)
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey, WrongKey


def openssl_text(der: bytes, folder: Path) -> str:
    (folder / "certificate.der").write_bytes(der)
    shown = w.openssl(
        "x509", "-inform", "DER", "-in", folder / "certificate.der", "-noout", "-text", "-nameopt", "utf8"
    )
    assert shown.returncode == 0, shown.stderr
    return re.sub(r"\s+", " ", shown.stdout)


EXPECTED_TEXT = {
    "root": (
        w.WORLD.root,
        [
            "Version: 3 (0x2)",
            "Signature Algorithm: ecdsa-with-SHA256",
            "Issuer: O=Größe Medical AG, CN=Root CA",
            "Subject: O=Größe Medical AG, CN=Root CA",
            "Not Before: Nov 22 12:00:00 2026 GMT Not After : Nov 14 12:00:00 2056 GMT",
            "Basic Constraints: critical CA:TRUE, pathlen:2",
            "Key Usage: critical Certificate Sign, CRL Sign",
        ],
    ),
    "production": (
        w.WORLD.production,
        [
            "Issuer: O=Größe Medical AG, CN=Root CA",
            "Subject: O=Größe Medical AG, CN=Production CA 1",
            "Basic Constraints: critical CA:TRUE, pathlen:1",
            "Key Usage: critical Certificate Sign, CRL Sign",
        ],
    ),
    "code": (
        w.WORLD.code,
        [
            "Issuer: O=Größe Medical AG, CN=Production CA 1",
            "Basic Constraints: critical CA:FALSE",
            "Key Usage: critical Digital Signature",
            "Extended Key Usage: critical Code Signing",
        ],
    ),
    "device": (
        w.WORLD.device,
        [
            "Not After : Dec 31 23:59:59 9999 GMT",
            "Subject: O=Größe Medical AG, serialNumber=SN-000123",
            "Basic Constraints: critical CA:FALSE",
            "Key Usage: critical Digital Signature",
            "Subject Alternative Name: othername: 1.3.6.1.5.5.7.8.4:",
        ],
    ),
}


@pytest.mark.parametrize(("der", "texts"), EXPECTED_TEXT.values(), ids=EXPECTED_TEXT.keys())
def test_openssl_reads_what_was_asked_for(der: bytes, texts: list[str], tmp_path: Path) -> None:
    shown = openssl_text(der, tmp_path)
    for text in texts:
        assert text in shown


def test_key_identifiers_are_the_cka_ids(tmp_path: Path) -> None:
    """A certificate's key is found on a token by its subjectKeyIdentifier."""
    shown = openssl_text(w.WORLD.production, tmp_path)
    subject, authority = (key.public_key.cka_id.hex(":").upper() for key in (w.PRODUCTION_KEY, w.ROOT_KEY))
    assert f"X509v3 Subject Key Identifier: {subject}" in shown
    assert f"X509v3 Authority Key Identifier: {authority}" in shown


def test_hardware_module_name_as_openssl_parses_it(tmp_path: Path) -> None:
    (tmp_path / "device.der").write_bytes(w.WORLD.device)
    # The subjectAltName is dumped by finding its OCTET STRING, which follows the extension's OID.
    lines = w.openssl("asn1parse", "-inform", "DER", "-in", tmp_path / "device.der").stdout.splitlines()
    position = next(i for i, line in enumerate(lines) if "X509v3 Subject Alternative Name" in line)
    offset = re.match(r"\s*(\d+):", lines[position + 1])
    assert offset is not None
    inner = w.openssl(
        "asn1parse", "-inform", "DER", "-in", tmp_path / "device.der", "-strparse", offset.group(1)
    ).stdout
    assert "1.3.6.1.5.5.7.8.4" in inner
    assert f"OBJECT            :{w.HARDWARE_TYPE}" in inner
    assert "OCTET STRING      :SN-000123" in inner


def test_two_certificates_of_one_plan_differ_only_by_their_entropy() -> None:
    first = parse_certificate(w.WORLD.code)
    second = parse_certificate(
        issue_certificate(
            replace(w.CODE_PLAN, serial_entropy=w.entropy("another")), w.WORLD.production, w.PRODUCTION_KEY.sign, w.NOW
        )
    )
    assert first.serial_number != second.serial_number
    assert (first.subject, first.public_key()) == (second.subject, second.public_key())


def test_fractions_of_a_second_and_other_time_zones() -> None:
    moment = w.NOW.replace(microsecond=999_999).astimezone(timezone(timedelta(hours=5)))
    der = issue_root_certificate(replace(w.ROOT_PLAN, not_before=moment), w.ROOT_KEY.sign, moment)
    assert parse_certificate(der).not_valid_before_utc == w.NOW


@given(st.binary(min_size=20, max_size=20))
def test_serial_numbers_are_positive_and_have_20_octets(entropy: bytes) -> None:
    number = serial_number_from_entropy(entropy)
    octets = number.to_bytes(20, "big")
    assert octets[0] & 0xC0 == 0x40
    assert (octets[0] & 0x3F, octets[1:]) == (entropy[0] & 0x3F, entropy[1:])


@pytest.mark.parametrize("length", [0, 19, 21])
def test_entropy_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(InputRefused, match="20 random bytes"):
        serial_number_from_entropy(b"\x01" * length)


def test_a_stuck_random_generator_is_noticed() -> None:
    key = SoftwareKey("root")
    with pytest.raises(PolicyViolation, match="X509-02"):
        issue_root_certificate(replace(w.ROOT_PLAN, serial_entropy=bytes(20)), key.sign, w.NOW)
    assert key.signature_count == 0


def test_a_wrong_signature_is_not_released() -> None:
    wrong = WrongKey("root")
    with pytest.raises(SignatureInvalid):
        issue_root_certificate(w.ROOT_PLAN, wrong.sign, w.NOW)
    assert wrong.signature_count == 1


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32])
def test_nonsense_for_a_signature_is_not_released(signature: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        issue_root_certificate(w.ROOT_PLAN, lambda _: Signature(signature), w.NOW)


class TokenOnFire(Exception):
    pass


def test_what_the_signer_raises_comes_through() -> None:
    def burn(_: Digest) -> Signature:
        raise TokenOnFire

    with pytest.raises(TokenOnFire):
        issue_root_certificate(w.ROOT_PLAN, burn, w.NOW)


BAD_PLANS: dict[str, tuple[CertificatePlan, type[Exception]]] = {
    "no validity": (replace(w.CODE_PLAN, validity_days=None), InputRefused),
    "validity of nothing": (replace(w.CODE_PLAN, validity_days=0), InputRefused),
    "validity too long": (replace(w.CODE_PLAN, validity_days=3 * 365 + 1), InputRefused),
    "device with an end": (replace(w.DEVICE_PLAN, validity_days=365), InputRefused),
    "device without hardware type": (replace(w.DEVICE_PLAN, hardware_type=None), InputRefused),
    "device with a bad hardware type": (replace(w.DEVICE_PLAN, hardware_type="1.3.6.x"), InputRefused),
    "device without serial number": (replace(w.DEVICE_PLAN, subject=w.name("x")), InputRefused),
    "code signing with a hardware type": (replace(w.CODE_PLAN, hardware_type=w.HARDWARE_TYPE), InputRefused),
    "another organization": (replace(w.CODE_PLAN, subject=DistinguishedName(None, "Other", "x")), PolicyViolation),
    "no organization": (replace(w.CODE_PLAN, subject=DistinguishedName(common_name="x")), PolicyViolation),
    "the issuer's own key": (replace(w.CODE_PLAN, public_key=w.PRODUCTION_KEY.public_key), PolicyViolation),
    "begins too early": (replace(w.CODE_PLAN, not_before=w.NOW - timedelta(minutes=6)), PolicyViolation),
    "a point off the curve": (replace(w.CODE_PLAN, public_key=PublicKey(b"\x01" * 64)), ValueError),
    "no time zone": (replace(w.CODE_PLAN, not_before=w.NOW.replace(tzinfo=None)), ValueError),
}


@pytest.mark.parametrize(("plan", "error"), BAD_PLANS.values(), ids=BAD_PLANS.keys())
def test_bad_plans_sign_nothing(plan: CertificatePlan, error: type[Exception]) -> None:
    key = SoftwareKey("production")
    with pytest.raises(error):
        issue_certificate(plan, w.WORLD.production, key.sign, w.NOW)
    assert key.signature_count == 0


@pytest.mark.parametrize("issuer", [w.WORLD.root, w.WORLD.code, w.WORLD.device])
def test_only_a_production_ca_issues_code_signing_certificates(issuer: bytes) -> None:
    key = SoftwareKey("whoever")
    with pytest.raises(PolicyViolation, match="X509-17"):
        issue_certificate(w.CODE_PLAN, issuer, key.sign, w.NOW)
    assert key.signature_count == 0


def test_an_issuer_that_is_over_issues_nothing() -> None:
    key = SoftwareKey("production")
    late = w.NOW + timedelta(days=25 * 365, seconds=1)
    with pytest.raises(PolicyViolation, match="X509-19"):
        issue_certificate(replace(w.DEVICE_PLAN, not_before=late), w.WORLD.production, key.sign, late)
    assert key.signature_count == 0


def test_profiles_by_name() -> None:
    assert certificate_profile("code-signing") is CODE_SIGNING
    with pytest.raises(ConfigurationError, match="root-ca, production-ca, lot-ca, code-signing, device-identity"):
        certificate_profile("web-server")
    for profile in CERTIFICATE_PROFILES.values():
        assert all(CERTIFICATE_PROFILES[issuer].is_ca for issuer in profile.issued_by)


class TestReading:
    def test_pem_and_der(self) -> None:
        assert certificate_der(w.WORLD.code) == w.WORLD.code
        assert certificate_der(w.pem(w.WORLD.code)) == w.WORLD.code
        assert certificate_der(b"explanatory text\n" + w.pem(w.WORLD.code)) == w.WORLD.code

    @pytest.mark.parametrize(
        "data",
        [
            w.pem(w.WORLD.code) + w.pem(w.WORLD.device),
            w.pem(w.WORLD.code, "CERTIFICATE REQUEST"),
            w.pem(w.WORLD.code)[:-40],
            w.pem(w.WORLD.code) + b" " * 40_000,
        ],
        ids=["two", "another kind", "cut", "too long"],
    )
    def test_pem_that_is_refused(self, data: bytes) -> None:
        with pytest.raises(FormatError) as caught:
            certificate_der(data)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "damage",
        [b"", b"hello", w.WORLD.code + b"\x00", w.WORLD.code[:-1], b"\x30\x84" + w.WORLD.code[2:], b"\x30" * 20_000],
        ids=["empty", "text", "trailing", "cut", "length", "too long"],
    )
    def test_der_that_is_refused(self, damage: bytes) -> None:
        with pytest.raises(FormatError):
            parse_certificate(damage)

    def test_key_of_another_curve(self) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, w.NOW, w.NOW + timedelta(1))
        with pytest.raises(FormatError, match="P-256"):
            certificate_public_key(builder.sign(key, hashes.SHA256()))


class TestCallbackKey:
    def test_it_is_a_signing_key_and_nothing_else(self) -> None:
        key = CallbackPrivateKey(w.CODE_KEY.public_key, w.CODE_KEY.sign, lambda _: None)
        refused: list[Callable[[], object]] = [
            key.private_numbers,
            key.private_bytes,
            key.exchange,
            lambda: key.sign(b"data", ec.ECDSA(hashes.SHA384())),
            lambda: key.sign(bytearray(b"data"), ec.ECDSA(hashes.SHA256())),
        ]
        for use in refused:
            with pytest.raises(TypeError):
                use()
        assert copy.copy(key) is copy.deepcopy(key) is key
        assert (key.curve.name, key.key_size) == ("secp256r1", 256)

    def test_its_signature_verifies(self) -> None:
        key = CallbackPrivateKey(w.CODE_KEY.public_key, w.CODE_KEY.sign, lambda _: None)
        load_public_key(w.CODE_KEY.public_key).verify(
            key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256())
        )

    def test_nothing_is_signed_that_inspection_refuses(self) -> None:
        seen: list[bytes] = []

        def refuse(data: bytes) -> None:
            seen.append(data)
            raise PolicyViolation("T-01", "no")

        signer = SoftwareKey("code")
        key = CallbackPrivateKey(signer.public_key, signer.sign, refuse)
        with pytest.raises(PolicyViolation):
            key.sign(b"data", ec.ECDSA(hashes.SHA256()))
        assert (seen, signer.signature_count) == ([b"data"], 0)

    @given(st.binary(min_size=64, max_size=64))
    def test_signatures_survive_der(self, value: bytes) -> None:
        r, s = int.from_bytes(value[:32], "big"), int.from_bytes(value[32:], "big")
        if r and s:
            assert signature_from_der(signature_to_der(Signature(value))) == Signature(value)

    @pytest.mark.parametrize(
        "der",
        ["", "3006020100020101", "3006020101020100", "30060201ff020101", "300602010102010100", "3005020101020102"],
    )
    def test_der_that_is_no_signature(self, der: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            signature_from_der(bytes.fromhex(der))

    def test_verification_raises(self) -> None:
        digest = Digest.of(b"data")
        verify_signature(w.CODE_KEY.public_key, digest, w.CODE_KEY.sign(digest))
        with pytest.raises(SignatureInvalid):
            verify_signature(w.CODE_KEY.public_key, Digest.of(b"date"), w.CODE_KEY.sign(digest))


class TestNames:
    def test_round_trip(self) -> None:
        name = DistinguishedName("DE", "Größe Medical AG", "Unit 7", "SN 1")
        assert DistinguishedName.from_x509(name.to_x509()) == name
        assert str(name) == "country=DE, organization=Größe Medical AG, common_name=Unit 7, serial_number=SN 1"

    @pytest.mark.parametrize(
        "attributes",
        [
            {"country": "de"},
            {"country": "DEU"},
            {"organization": ""},
            {"organization": "x" * 65},
            {"organization": " x"},
            {"organization": "x\n"},
            {"organization": "x\x00y"},
            {"organization": "A\u0308"},
            {"organization": "x\u202ey"},
            {"serial_number": "SN_1"},
            {"serial_number": "SÜ1"},
        ],
    )
    def test_attributes_that_are_refused(self, attributes: dict[str, str]) -> None:
        with pytest.raises(InputRefused):
            DistinguishedName(**attributes)

    @pytest.mark.parametrize(
        "rdns",
        [
            [[("2.5.4.3", "a"), ("2.5.4.10", "b")]],
            [[("2.5.4.3", "a")], [("2.5.4.3", "b")]],
            [[("2.5.4.7", "Bern")]],
        ],
        ids=["multi-valued", "repeated", "locality"],
    )
    def test_x509_names_that_are_refused(self, rdns: list[list[tuple[str, str]]]) -> None:
        name = x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [x509.NameAttribute(x509.ObjectIdentifier(oid), text) for oid, text in rdn]
                )
                for rdn in rdns
            ]
        )
        with pytest.raises(InputRefused):
            DistinguishedName.from_x509(name)


class TestHardwareModuleName:
    def test_der_written_by_hand(self) -> None:
        """SEQUENCE { OID 1.3.6.1.4.1.99999.1.7, OCTET STRING "SN" }, encoded by hand from X.690."""
        der = bytes.fromhex("3010060a2b06010401868d1f01070402534e")
        name = HardwareModuleName("1.3.6.1.4.1.99999.1.7", b"SN")
        assert name.to_der() == der
        assert HardwareModuleName.from_der(der) == name

    @pytest.mark.parametrize(
        "der",
        [
            "",
            "0500",
            "3010060a2b06010401868d1f01070402534e00",
            "3012060a2b06010401868d1f01070402534e0500",
            "308110060a2b06010401868d1f01070402534e",
            "300e060a2b06010401868d1f01070400",
            "3006040101040102",
        ],
        ids=["empty", "null", "trailing", "extra element", "long length", "no serial", "not an OID"],
    )
    def test_what_is_refused(self, der: str) -> None:
        with pytest.raises(FormatError):
            HardwareModuleName.from_der(bytes.fromhex(der))

    @pytest.mark.parametrize("oid", ["", "1", "3.1", "1.40", "1.02", "1.2.", "1.2.03", "1.2.x", "1." + "2." * 60 + "1"])
    def test_hardware_types_that_are_no_oids(self, oid: str) -> None:
        with pytest.raises(InputRefused):
            HardwareModuleName(oid, b"1")

    @given(arcs=st.lists(st.integers(0, 2**40), min_size=1, max_size=6), serial=st.binary(min_size=1, max_size=64))
    def test_every_name_is_read_back(self, arcs: list[int], serial: bytes) -> None:
        name = HardwareModuleName("1.3." + ".".join(map(str, arcs)), serial)
        assert HardwareModuleName.from_der(name.to_der()) == name


def test_naive_now_is_a_mistake_of_the_caller() -> None:
    naive: datetime = w.NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        issue_root_certificate(w.ROOT_PLAN, w.ROOT_KEY.sign, naive)
