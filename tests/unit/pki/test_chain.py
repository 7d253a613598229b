"""Chain check: what it accepts, each way in which it refuses, and `openssl verify` as an independent oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto.algos import SignedDigestAlgorithm
from asn1crypto.x509 import BasicConstraints, ExtKeyUsageSyntax, KeyUsage
from hypothesis import given
from hypothesis import strategies as st

from pki.chain import MAX_CHAIN_LENGTH, MAX_CRLS, Purpose, check_chain
from pki.errors import ChainInvalid, Expired, FormatError, NotYetValid, VerificationError
from pki.x509_crls import CrlPlan, Revocation, issue_crl
from pki.x509_parse import parse_certificate, parse_crl
from pki.x509_profiles import (
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_BASIC_CONSTRAINTS,
    OID_EXTENDED_KEY_USAGE,
    OID_KEY_USAGE,
    OID_SUBJECT_ALTERNATIVE_NAME,
    ROOT_CA,
)
from tests.unit.pki import x509_world as w
from tests.unit.pki.fake.keys import SoftwareKey


@dataclass(frozen=True)
class Case:
    """The arguments of one check."""

    end_entity: bytes = w.WORLD.code
    intermediates: tuple[bytes, ...] = (w.WORLD.production,)
    anchor: bytes = w.WORLD.root
    at: datetime = w.NOW
    purpose: Purpose = Purpose.CODE_SIGNING
    crls: tuple[bytes, ...] | None = (w.WORLD.root_crl, w.WORLD.production_crl)

    def check(self) -> None:
        check_chain(self.end_entity, self.intermediates, self.anchor, self.at, self.purpose, self.crls)

    def openssl_accepts(self, folder: Path, purpose: str | None = None) -> bool:
        crls = None if self.crls is None else list(self.crls)
        extra = [] if purpose is None else ["-purpose", purpose]
        return w.openssl_accepts(folder, self.end_entity, list(self.intermediates), self.anchor, self.at, crls, extra)


CODE = Case()
DEVICE = Case(end_entity=w.WORLD.device, purpose=Purpose.DEVICE_IDENTITY)
CA = Case(end_entity=w.WORLD.production, intermediates=(), purpose=Purpose.CERTIFICATE_AUTHORITY)

ACCEPTED = {
    "code signing": CODE,
    "device identity": DEVICE,
    "production CA": CA,
    "revocation unchecked": replace(CODE, crls=None),
    "first second": replace(CODE, crls=None, at=w.NOW),
    "last second but one": replace(CODE, crls=None, at=w.NOW + timedelta(days=3 * 365, seconds=-1)),
    "device identity near its CA's end": replace(DEVICE, crls=None, at=w.NOW + timedelta(days=25 * 365, seconds=-1)),
    "last second but one of a CRL": replace(CODE, at=w.NOW + timedelta(days=100, seconds=-1)),
    "another certificate is revoked": replace(
        CODE, crls=(w.WORLD.root_crl, w.next_crl(w.WORLD, [Revocation(w.serial_number(w.WORLD.device), w.NOW)]))
    ),
}


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(case: Case, tmp_path: Path) -> None:
    case.check()
    assert case.openssl_accepts(tmp_path)


def test_a_delta_crl_is_refused() -> None:
    """RFC 5280, section 5.2.4. Whether openssl takes it for a whole one differs between builds of 3.0.19."""
    delta = _production_crl(_crl_extension("2.5.29.27", b"\x02\x01\x01", critical=True))
    with pytest.raises(ChainInvalid, match="CH-14"):
        delta.check()


def test_the_last_second_counts() -> None:
    """RFC 5280, section 4.1.2.5: through notAfter, inclusive; openssl 3.0 ends a second earlier."""
    replace(CODE, crls=None, at=w.NOW + timedelta(days=3 * 365)).check()
    replace(CODE, at=w.NOW + timedelta(days=100)).check()


def test_what_is_returned() -> None:
    chain = check_chain(w.WORLD.device, [w.WORLD.production], w.WORLD.root, w.NOW, Purpose.DEVICE_IDENTITY, None)
    assert chain.public_key == w.DEVICE_KEY.public_key
    assert chain.certificate.serial_number == w.serial_number(w.WORLD.device)


def _leaf(mutate: w.Mutation) -> Case:
    return replace(CODE, end_entity=w.changed_certificate(w.WORLD.code, mutate, w.PRODUCTION_KEY))


def _device(mutate: w.Mutation) -> Case:
    return replace(DEVICE, end_entity=w.changed_certificate(w.WORLD.device, mutate, w.PRODUCTION_KEY))


def _production(mutate: w.Mutation) -> Case:
    return replace(CODE, intermediates=(w.changed_certificate(w.WORLD.production, mutate, w.ROOT_KEY),))


def _root(mutate: w.Mutation) -> Case:
    return replace(CODE, anchor=w.changed_certificate(w.WORLD.root, mutate, w.ROOT_KEY))


def _production_crl(mutate: w.Mutation, signer: SoftwareKey = w.PRODUCTION_KEY) -> Case:
    return replace(CODE, crls=(w.WORLD.root_crl, w.changed_crl(w.WORLD.production_crl, mutate, signer)))


def _set(oid: str, value: core.Asn1Value | bytes, critical: bool | None = None) -> w.Mutation:
    return lambda tbs: w.set_extension(tbs["extensions"], oid, value, critical)


def _sha384(tbs: Any) -> None:
    tbs["signature"] = SignedDigestAlgorithm({"algorithm": "sha384_ecdsa"})


def _resigned(der: bytes, signer: SoftwareKey) -> bytes:
    return w.changed_certificate(der, lambda _: None, signer)


def _crl_extension(oid: str, value: bytes, critical: bool) -> w.Mutation:
    return lambda tbs: w.set_extension(tbs["crl_extensions"], oid, value, critical)


def _flipped(der: bytes) -> bytes:
    """The last bit of s is another."""
    return der[:-1] + bytes([der[-1] ^ 1])


def _stranger_ca() -> bytes:
    """A production CA of the same name and key identifier's issuer, but certified by nobody we know."""
    return _resigned(w.WORLD.production, SoftwareKey("stranger"))


DEVICE_DNS_NAMES = bytes.fromhex("300ca00a30088206646576696365")
"""NameConstraints that permit the dNSName "device"."""

LEAF_IS_CA = _set(OID_BASIC_CONSTRAINTS, BasicConstraints({"ca": True}))
NOT_A_CA = _set(OID_BASIC_CONSTRAINTS, BasicConstraints({"ca": False}))
REVOKED_CODE = w.next_crl(w.WORLD, [Revocation(w.serial_number(w.WORLD.code), w.NOW, "keyCompromise")])
REVOKED_CA = issue_crl(
    CrlPlan(
        ROOT_CA,
        w.WORLD.root,
        w.WORLD.root_crl,
        [Revocation(w.serial_number(w.WORLD.production), w.NOW, "cACompromise")],
        400,
    ),
    w.ROOT_KEY.sign,
    w.NOW,
)

# Refused here, and by openssl too.
REFUSED = {
    "CH-02 anchor is not self-signed": (replace(CODE, anchor=w.WORLD.production, intermediates=()), ChainInvalid),
    "CH-05 issuer missing": (replace(CODE, intermediates=()), ChainInvalid),
    "CH-05 wrong issuer": (replace(CODE, intermediates=(w.WORLD.device,)), ChainInvalid),
    "CH-06 other key identifier": (
        _leaf(_set(OID_AUTHORITY_KEY_IDENTIFIER, bytes.fromhex("3003800101"))),
        ChainInvalid,
    ),
    "CH-07 flipped bit": (replace(CODE, end_entity=_flipped(w.WORLD.code)), ChainInvalid),
    "CH-07 leaf signed by a stranger": (
        replace(CODE, end_entity=_resigned(w.WORLD.code, SoftwareKey("stranger"))),
        ChainInvalid,
    ),
    "CH-07 CA signed by a stranger": (replace(CODE, intermediates=(_stranger_ca(),)), ChainInvalid),
    "CH-08 issuer is not a CA": (_production(NOT_A_CA), ChainInvalid),
    "CH-08 issuer without keyCertSign": (_production(_set(OID_KEY_USAGE, KeyUsage({"crl_sign"}))), ChainInvalid),
    "CH-09 path length of the root": (
        _root(_set(OID_BASIC_CONSTRAINTS, BasicConstraints({"ca": True, "path_len_constraint": 0}))),
        ChainInvalid,
    ),
    "CH-04 unknown critical extension": (_leaf(_set("1.2.3.4", b"\x05\x00", critical=True)), ChainInvalid),
    "CH-10 leaf": (replace(CODE, at=w.NOW - timedelta(seconds=1), crls=None), NotYetValid),
    "CH-11 leaf": (replace(CODE, at=w.NOW + timedelta(days=3 * 365, seconds=1), crls=None), Expired),
    "CH-11 CA above a device identity": (
        replace(DEVICE, at=w.NOW + timedelta(days=25 * 365, seconds=1), crls=None),
        Expired,
    ),
    "CH-12 no CRL of the CA": (replace(CODE, crls=(w.WORLD.root_crl,)), ChainInvalid),
    "CH-12 no CRL of the root": (replace(CODE, crls=(w.WORLD.production_crl,)), ChainInvalid),
    "CH-13 CRL is over": (replace(CODE, at=w.NOW + timedelta(days=100, seconds=1)), Expired),
    "CH-13 CRL is not yet": (
        replace(CODE, crls=(w.WORLD.root_crl, w.next_crl(w.WORLD, [], at=w.NOW + timedelta(days=1)))),
        NotYetValid,
    ),
    "CH-14 CRL signed by a stranger": (_production_crl(lambda _: None, SoftwareKey("stranger")), ChainInvalid),
    "CH-14 unknown critical CRL extension": (
        _production_crl(_crl_extension("1.2.3.4", b"\x05\x00", critical=True)),
        ChainInvalid,
    ),
    "CH-15 leaf revoked": (replace(CODE, crls=(w.WORLD.root_crl, REVOKED_CODE)), ChainInvalid),
    "CH-03 another signature algorithm": (_leaf(_sha384), ChainInvalid),
    "CH-06 no key identifier": (
        _leaf(lambda tbs: w.drop_extension(tbs["extensions"], OID_AUTHORITY_KEY_IDENTIFIER)),
        ChainInvalid,
    ),
    "CH-15 revoked on an older CRL": (
        replace(CODE, crls=(w.WORLD.root_crl, REVOKED_CODE, w.WORLD.production_crl)),
        ChainInvalid,
    ),
    "CH-15 CA revoked": (replace(CODE, crls=(REVOKED_CA, w.WORLD.production_crl)), ChainInvalid),
}

# Strictness of ours: openssl 3.0.19, which is asked for no purpose, lets each of these pass.
STRICTER = {
    "CH-04 name constraints": (
        _production(_set("2.5.29.30", DEVICE_DNS_NAMES, critical=True)),
        ChainInvalid,
    ),
    "CH-04 name constraints, not critical": (
        _production(_set("2.5.29.30", DEVICE_DNS_NAMES, critical=False)),
        ChainInvalid,
    ),
    "CH-04 extended key usage in a CA": (
        _production(_set(OID_EXTENDED_KEY_USAGE, ExtKeyUsageSyntax(["server_auth"]))),
        ChainInvalid,
    ),
    "CH-16 the leaf is a CA": (_device(LEAF_IS_CA), ChainInvalid),
    "CH-14 CRL with an extension of no consequence": (
        _production_crl(_crl_extension("1.2.3.4", b"\x05\x00", critical=False)),
        ChainInvalid,
    ),
    "CH-16 device identity as code signing": (replace(DEVICE, purpose=Purpose.CODE_SIGNING), ChainInvalid),
    "CH-16 code signing as device identity": (replace(CODE, purpose=Purpose.DEVICE_IDENTITY), ChainInvalid),
    "CH-16 leaf as CA": (replace(CODE, purpose=Purpose.CERTIFICATE_AUTHORITY), ChainInvalid),
    "CH-16 CA as code signing": (replace(CA, purpose=Purpose.CODE_SIGNING), ChainInvalid),
    "CH-16 second extended key usage": (
        _leaf(_set(OID_EXTENDED_KEY_USAGE, ExtKeyUsageSyntax(["code_signing", "server_auth"]))),
        ChainInvalid,
    ),
    "CH-16 two names of a device": (
        _device(_set(OID_SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("30088202612e8202622e"))),
        ChainInvalid,
    ),
    "CH-16 device without a name": (
        _device(lambda tbs: w.drop_extension(tbs["extensions"], OID_SUBJECT_ALTERNATIVE_NAME)),
        ChainInvalid,
    ),
}


@pytest.mark.parametrize(("rule", "case"), REFUSED.items(), ids=REFUSED.keys())
def test_refused_here_and_by_openssl(rule: str, case: tuple[Case, type[VerificationError]], tmp_path: Path) -> None:
    arguments, error = case
    with pytest.raises(error, match=rule[:5]):
        arguments.check()
    assert not arguments.openssl_accepts(tmp_path)


@pytest.mark.parametrize(("rule", "case"), STRICTER.items(), ids=STRICTER.keys())
def test_refused_here(rule: str, case: tuple[Case, type[VerificationError]]) -> None:
    arguments, error = case
    with pytest.raises(error, match=rule[:5]):
        arguments.check()


def test_ch_01_bounds() -> None:
    with pytest.raises(ChainInvalid, match="CH-01"):
        replace(CODE, intermediates=(w.WORLD.production,) * (MAX_CHAIN_LENGTH - 1)).check()
    with pytest.raises(ChainInvalid, match="CH-01"):
        replace(CODE, crls=(w.WORLD.root_crl,) * (MAX_CRLS + 1)).check()


def test_every_rule_has_a_test_in_which_it_refuses() -> None:
    named = {name[:5] for name in (*REFUSED, *STRICTER)} | {"CH-01"}
    assert named == {f"CH-{number:02}" for number in range(1, 17)}


def test_no_crls_given_is_not_the_same_as_revocation_unchecked() -> None:
    with pytest.raises(ChainInvalid, match="CH-12"):
        replace(CODE, crls=()).check()


def test_a_naive_time_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        replace(CODE, at=datetime(2026, 11, 22, tzinfo=UTC).replace(tzinfo=None)).check()


@pytest.mark.parametrize("damage", [b"", b"\x30", b"\x30\x03\x02\x01\x01", w.WORLD.code + b"\x00", w.WORLD.code[:-1]])
def test_malformed_certificates(damage: bytes) -> None:
    for case in (
        replace(CODE, end_entity=damage),
        replace(CODE, anchor=damage),
        replace(CODE, intermediates=(damage,)),
    ):
        with pytest.raises(FormatError):
            case.check()


UNUSED_BIT: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
    "certificate": (lambda: _resigned(w.WORLD.code, w.PRODUCTION_KEY), parse_certificate),
    "CRL": (lambda: w.changed_crl(w.WORLD.production_crl, lambda _: None, w.PRODUCTION_KEY), parse_crl),
}


@pytest.mark.parametrize(("sign_again", "parse"), UNUSED_BIT.values(), ids=UNUSED_BIT.keys())
def test_a_signature_with_an_unused_bit_is_refused(
    sign_again: Callable[[], bytes], parse: Callable[[bytes], Any]
) -> None:
    """The last bit declared unused: the loader would drop it, and take two encodings for one object."""
    # Only a 0 can be declared unused, and every second signature ends in one.
    der = next(der for der in (sign_again() for _ in range(64)) if der[-1] & 1 == 0)
    position = len(der) - len(parse(der).signature) - 1
    with pytest.raises(FormatError, match="octets"):
        parse(der[:position] + b"\x01" + der[position + 1 :])


def test_a_bit_string_in_a_name_is_refused_without_a_crash() -> None:
    damaged = w.WORLD.device.replace(b"\x13\x09SN-000123", b"\x03\x09SN-000123")
    assert damaged != w.WORLD.device
    with pytest.raises(FormatError):
        replace(DEVICE, end_entity=damaged).check()


FLIPPED: dict[str, tuple[bytes, Callable[[bytes], Case]]] = {
    "leaf": (w.WORLD.code, lambda der: replace(CODE, end_entity=der)),
    "device": (w.WORLD.device, lambda der: replace(DEVICE, end_entity=der)),
    "CA": (w.WORLD.production, lambda der: replace(CODE, intermediates=(der,))),
    "anchor": (w.WORLD.root, lambda der: replace(CODE, anchor=der)),
    "CRL": (w.WORLD.production_crl, lambda der: replace(CODE, crls=(w.WORLD.root_crl, der))),
    "revoking CRL": (REVOKED_CODE, lambda der: replace(CODE, crls=(w.WORLD.root_crl, der))),
}


@pytest.mark.campaign
@pytest.mark.parametrize(("der", "case_of"), FLIPPED.values(), ids=FLIPPED.keys())
def test_every_flipped_bit_is_refused(der: bytes, case_of: Callable[[bytes], Case]) -> None:
    for position in range(len(der)):
        for bit in range(8):
            damaged = der[:position] + bytes([der[position] ^ 1 << bit]) + der[position + 1 :]
            with pytest.raises((VerificationError, FormatError)):
                case_of(damaged).check()


@given(position=st.integers(0, len(w.WORLD.code) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_certificate_is_refused(position: int, bit: int) -> None:
    der = bytearray(w.WORLD.code)
    der[position] ^= 1 << bit
    with pytest.raises((VerificationError, FormatError)):
        replace(CODE, end_entity=bytes(der)).check()


@given(position=st.integers(0, len(REVOKED_CODE) - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_crl_unrevokes(position: int, bit: int) -> None:
    der = bytearray(REVOKED_CODE)
    der[position] ^= 1 << bit
    with pytest.raises((VerificationError, FormatError)):
        replace(CODE, crls=(w.WORLD.root_crl, bytes(der))).check()


@pytest.mark.parametrize(
    ("purpose", "code", "device"), [("any", True, True), ("sslclient", False, True), ("sslserver", False, True)]
)
def test_purposes_as_openssl_sees_them(purpose: str, code: bool, device: bool, tmp_path: Path) -> None:
    """extKeyUsage keeps a code-signing certificate out of TLS; an identity without one is for what its user decides."""
    assert CODE.openssl_accepts(tmp_path, purpose) is code
    assert DEVICE.openssl_accepts(tmp_path, purpose) is device
