"""The vectors themselves: independent of what they check, reproducible, complete, and right by published vectors."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vectors import generate
from tests.vectors.generator import p256, primitives

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
VECTORS_SIZE_BYTES_MAX = 2_500_000
ALLOWED_IMPORTS = sys.stdlib_module_names | {"cryptography", "tests"}

# Codes of things other than one package, bundle or object offered, or one journal read.
CODES_WITHOUT_VECTOR = {
    "NOT_IN_UPDATE_MODE",
    "COPY_ON_TRIAL",
    "UPLOAD_STATE",
    "STATE_FULL",
    "FLASH_WRITE",
    "REGION_LOCKED",
    "NO_APPLICATION",
    "HEAD_CHANGED",
    "BOOT_SIGNATURE",
    "BOOT_DIGEST",
    "STOPPED",
    "TRIAL_EXHAUSTED",
    "UPDATE_REQUESTED",
    "NO_BOOTLOADER",
    "RANDOM_FAILED",
    "SERVICE_PENDING",
}

TAKEN_BY_HOSTS = {"challenge", "receipt", "signed-status"}


def entries(family: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((VECTORS / f"{family}.json").read_text())
    return listed


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found.add(str(node.module))
    return found


def test_generator_imports_no_room_of_the_project() -> None:
    paths = sorted(VECTORS.rglob("*.py"))
    assert len(paths) > 10
    for path in paths:
        for module in imported_modules(path):
            assert module.split(".")[0] in ALLOWED_IMPORTS, f"{path.name} imports {module}"
            assert not module.startswith("tests.") or module.startswith("tests.vectors"), f"{path.name}: {module}"


def test_running_it_loads_no_room_of_the_project() -> None:
    rooms = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
    assert {"bootloader", "signer"} <= set(rooms)
    program = (
        "import sys, tests.vectors.generator.output as output; output.all_files();"
        f"print(sorted(set({rooms!r}) & {{name.split('.')[0] for name in sys.modules}}))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_second_run_writes_the_same_files(hash_seed: str, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "left-over.srp").write_bytes(b"from an older run")
    command = [sys.executable, "-m", "tests.vectors.generate", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, check=True)
    made = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    present = {
        path.relative_to(VECTORS).as_posix()
        for path in VECTORS.rglob("*")
        if path.is_file() and path.suffix in {".json", ".srp", ".srb", ".bin"}
    }
    assert set(made) == present
    for name, path in made.items():
        assert path.read_bytes() == (VECTORS / name).read_bytes(), name


def test_wrong_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["one", "two"]) == 2
    assert "usage:" in capsys.readouterr().err


def test_files_have_the_listed_digest_and_the_whole_stays_small() -> None:
    total_bytes = 0
    for family in ("packages", "trust_bundles", "objects"):
        for entry in entries(family):
            if "point" in entry:
                continue
            content = (VECTORS / entry["file"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["name"]
    for path in VECTORS.rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            total_bytes += path.stat().st_size
    assert total_bytes < VECTORS_SIZE_BYTES_MAX


def test_every_code_has_a_vector() -> None:
    table = (ROOT / "docs" / "spec" / "device-codes.md").read_text()
    codes = set(re.findall(r"^\| \d+ \| (\w+) \|", table, flags=re.MULTILINE))
    seen = {
        entry["expected"]["code"]
        for family in ("packages", "trust_bundles", "journals", "objects")
        for entry in entries(family)
        if entry.get("kind") not in TAKEN_BY_HOSTS
    }
    assert seen <= codes
    assert codes - seen == CODES_WITHOUT_VECTOR


def test_names_are_unique_and_described() -> None:
    for family, least in (("packages", 200), ("trust_bundles", 90), ("journals", 30), ("objects", 400)):
        listed = entries(family)
        assert len(listed) >= least
        assert len({entry["name"] for entry in listed}) == len(listed)
        assert all(entry["description"] for entry in listed)


# The generator's building blocks, by published vectors


# RFC 6979, A.2.5: P-256 with SHA-256.
RFC_6979_PRIVATE = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC_6979_PUBLIC = (
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)


@pytest.mark.parametrize(
    ("message", "nonce", "r", "s"),
    [
        (
            b"sample",
            "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            b"test",
            "d16b6ae827f17175e040871a1c7ec3500192c4c92677336ec2537acaee0008e0",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
    ],
)
def test_deterministic_ecdsa_by_rfc_6979(message: bytes, nonce: str, r: str, s: str) -> None:
    digest = hashlib.sha256(message).digest()
    assert p256.public_key(RFC_6979_PRIVATE).hex() == RFC_6979_PUBLIC
    assert p256.deterministic_nonce(RFC_6979_PRIVATE, digest) == int(nonce, 16)
    assert p256.sign(RFC_6979_PRIVATE, digest).hex() == r + s


def test_ecdh_by_rfc_5903() -> None:
    """RFC 5903, 8.1: a 256-bit random ECP group exchange."""
    i = 0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433
    r = 0xC6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53
    shared = "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"
    assert p256.ecdh(i, p256.public_key(r)).hex() == shared
    assert p256.ecdh(r, p256.public_key(i)).hex() == shared


def test_hkdf_by_rfc_5869() -> None:
    """RFC 5869, A.3: SHA-256 with zero-length salt and info."""
    assert primitives.hkdf_sha256(bytes.fromhex("0b" * 22), b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


@pytest.mark.parametrize("size_bytes", [0, 1, 16, 31, 4096, 4097])
def test_counter_mode_by_openssl(size_bytes: int) -> None:
    key = primitives.derived_bytes("counter mode key", 32)
    text = primitives.derived_bytes("counter mode text", size_bytes)
    command = ["openssl", "enc", "-aes-256-ctr", "-K", key.hex(), "-iv", "00" * 16]
    run = subprocess.run(command, input=text, capture_output=True, check=True)
    assert primitives.aes256_ctr(key, text) == run.stdout


def test_key_ids_by_openssl(tmp_path: Path) -> None:
    for entry in json.loads((VECTORS / "fake" / "test_keys.json").read_text()):
        spki = p256.subject_public_key_info(bytes.fromhex(entry["public_key"]))
        assert hashlib.sha256(spki).hexdigest()[:16] == entry["key_id"]
        assert p256.public_key(int(entry["worthless_private_key"], 16)).hex() == entry["public_key"]
    path = tmp_path / "public.der"
    path.write_bytes(spki)
    command = ["openssl", "pkey", "-pubin", "-inform", "DER", "-in", str(path), "-noout", "-text"]
    assert "prime256v1" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
