"""Independent tools agree about the vectors: openssl by the recipe that stands in the specification, and imgtool."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import pytest

from tests.conformance.vectors import VECTORS, Entry, entries, name_of, named, worthless_keys
from tests.vectors.generator.p256 import subject_public_key_info

ROOT = Path(__file__).resolve().parents[2]
IMGTOOL = ROOT / ".venv-imgtool" / "bin" / "imgtool"
CONTEXTS = {1: r"SR-pkg-app-v1\0\0\0", 2: r"SR-pkg-boot-v1\0\0", 3: r"SR-pkg-test-v1\0\0"}
SIGNATURE_OFFSETS = ((448, 480), (512, 544))

VALID = [entry for entry in entries("packages") if "made_from" in entry]
FORGED = [
    entry
    for entry in entries("packages")
    if entry["expected"]["code"] == "SIGNATURE_INVALID"
    and entry["name"].startswith(("signature-", "bit-changed-", "context-boot", "context-test"))
]


def recipe() -> str:
    """The shell script of package.md, section 3."""
    text = (ROOT / "docs" / "spec" / "package.md").read_text()
    (script,) = re.findall(r"```sh\n(pkg=.*?)```", text, flags=re.DOTALL)
    return str(script)


def replaced(script: str, old: str, new: str) -> str:
    assert script.count(old) == 1, f"the recipe changed: {old}"
    return script.replace(old, new)


def pem(name: str) -> str:
    der = subject_public_key_info(bytes.fromhex(worthless_keys()[name]["public_key"]))
    body = base64.b64encode(der).decode()
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def run_recipe(entry: Entry, signer: str, number: int, folder: Path) -> str:
    """The recipe as the text says to change it for this package; what openssl prints."""
    package = VECTORS / entry["file"]
    head = package.read_bytes()[:1024]
    script = replaced(recipe(), "pkg=app-1.0.0.srp", f"pkg='{package}'")
    script = replaced(script, r"SR-pkg-app-v1\0\0\0", CONTEXTS[head[38]])
    for old, new in zip(SIGNATURE_OFFSETS[0], SIGNATURE_OFFSETS[number], strict=True):
        script = replaced(script, f"$(hex {old})", f"$(hex {new})")
    (folder / "app-release.pub.pem").write_text(pem(signer))
    run = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout.strip()


@pytest.mark.parametrize("entry", VALID, ids=name_of)
def test_openssl_verifies_by_the_recipe(entry: Entry, tmp_path: Path) -> None:
    for number, signer in enumerate(entry["made_from"]["signers"]):
        assert run_recipe(entry, signer, number, tmp_path) == "Verified OK"


@pytest.mark.parametrize("entry", FORGED, ids=name_of)
def test_openssl_refuses_by_the_recipe(entry: Entry, tmp_path: Path) -> None:
    assert run_recipe(entry, "app-release-1", 0, tmp_path) != "Verified OK"


def test_both_outcomes_of_the_recipe_were_tried() -> None:
    assert len(VALID) > 25
    assert len(FORGED) > 20


@pytest.mark.parametrize(
    "name",
    [
        "app-device-mode",
        "app-image-1-bytes",
        "app-image-8193-bytes",
        "app-version-greatest",
        "app-trailer-of-512-bytes",
        "bootloader-copy-b",
        "factory-test-plaintext",
    ],
)
def test_imgtool_verifies(name: str, tmp_path: Path) -> None:
    entry = named("packages", name)
    (tmp_path / "compat.pub.pem").write_text(pem("compat"))
    command = [str(IMGTOOL), "verify", "-k", "compat.pub.pem", str(VECTORS / entry["file"])]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Image was correctly validated" in run.stdout
    major, minor, revision, build = entry["expected"]["fields"]["image_version"]
    assert f"Image version: {major}.{minor}.{revision}+{build}" in run.stdout


def test_imgtool_refuses_a_changed_payload(tmp_path: Path) -> None:
    (tmp_path / "compat.pub.pem").write_text(pem("compat"))
    changed = bytearray((VECTORS / "packages" / "app-device-mode.srp").read_bytes())
    changed[2000] ^= 1
    (tmp_path / "changed.srp").write_bytes(changed)
    command = [str(IMGTOOL), "verify", "-k", "compat.pub.pem", "changed.srp"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode != 0
