"""Public keys as PEM files, with openssl as the oracle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pki.errors import ConfigurationError
from signer.authority.public_key_files import public_key_to_pem, read_public_key
from tests.unit.authority.test_development_material import RFC_6979


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout


def test_openssl_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(public_key_to_pem(RFC_6979))
    assert openssl("pkey", "-pubin", "-in", path, "-outform", "DER") == RFC_6979.spki
    assert openssl("pkey", "-pubin", "-in", path) == path.read_bytes()


def test_we_read_what_openssl_writes(tmp_path: Path) -> None:
    private, public = tmp_path / "a.key", tmp_path / "a.pem"
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    assert read_public_key(public).spki == openssl("pkey", "-pubin", "-in", public, "-outform", "DER")


def test_other_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    good = public_key_to_pem(RFC_6979)
    off_the_curve = bytearray(RFC_6979.point)
    off_the_curve[-1] ^= 1
    wrong = [
        b"",
        good[:-10],
        good + good,
        b"x" + good,
        good.replace(b"PUBLIC", b"PRIVATE"),
        good.replace(b"MFkw", b"MFk!"),
        public_key_to_pem(type(RFC_6979)(bytes(off_the_curve))),
        b"\xff" * 100,
        b"A" * 5000,
    ]
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="is not the PEM file of one P-256 public key"):
            read_public_key(path)
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "e.key")
    openssl("pkey", "-in", tmp_path / "e.key", "-pubout", "-out", path)
    with pytest.raises(ConfigurationError, match="P-256"):
        read_public_key(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_public_key(tmp_path / "none.pem")
