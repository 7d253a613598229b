"""Packages in the hands of programs that are not ours: openssl by the recipe of the specification, and imgtool."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from signer.packages.terms import PackageType, RecipientMode, Target
from tests.unit.packages.builders import APP_KEY, BOOT_KEYS, COMPAT_KEY, UID, build, request

ROOT = Path(__file__).parents[3]
IMGTOOL = ROOT / ".venv-imgtool" / "bin" / "imgtool"


def recipe() -> str:
    """The shell script of docs/spec/package.md, section 3, exactly as it is printed there."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/spec/package.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def run_recipe(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def make(folder: Path, **changes: object) -> Path:
    build(folder, os.urandom(10_000), request(**changes), name="app-1.0.0.srp")
    (folder / "app-release.pub.pem").write_bytes(APP_KEY.public_pem)
    return folder / "app-1.0.0.srp"


def test_the_recipe_verifies_a_package_with_openssl_alone(tmp_path: Path) -> None:
    make(tmp_path)
    done = run_recipe(tmp_path, recipe())
    assert done.stdout.strip() == "Verified OK", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("offset", [0, 68, 447, 448, 511])
def test_the_recipe_refuses_a_changed_head(tmp_path: Path, offset: int) -> None:
    package = make(tmp_path)
    changed = bytearray(package.read_bytes())
    changed[offset] ^= 1
    package.write_bytes(changed)
    done = run_recipe(tmp_path, recipe())
    assert done.returncode != 0
    assert "Verified OK" not in done.stdout


def test_the_recipe_verifies_a_package_bound_to_one_device_for_that_device_only(tmp_path: Path) -> None:
    make(tmp_path, target=Target.ONE_UID, target_uid=UID, recipient_mode=RecipientMode.DEVICE)
    from_head = 'dd if="$pkg" bs=1 skip=96 count=16 status=none;'
    script = recipe()
    assert script.count(from_head) == 1
    assert run_recipe(tmp_path, script).stdout.strip() == "Verified OK"
    other = run_recipe(tmp_path, script.replace(from_head, "head -c 16 /dev/zero;"))
    assert other.returncode != 0
    assert "Verified OK" not in other.stdout


def test_the_recipe_for_both_signatures_of_a_bootloader_package(tmp_path: Path) -> None:
    make(tmp_path, package_type=PackageType.BOOTLOADER)
    ordered = sorted(BOOT_KEYS[:2], key=lambda key: key.public_key.key_id)
    for key, (r, s) in zip(ordered, ((448, 480), (512, 544)), strict=True):
        (tmp_path / "app-release.pub.pem").write_bytes(key.public_pem)
        script = (
            recipe().replace("hex 448", f"hex {r}").replace("hex 480", f"hex {s}").replace("-app-v1\\0", "-boot-v1")
        )
        assert run_recipe(tmp_path, script).stdout.strip() == "Verified OK"


def imgtool_verify(package: Path, key: Path) -> subprocess.CompletedProcess[str]:
    assert IMGTOOL.exists(), "run make setup: it installs imgtool into an environment of its own"
    command = [str(IMGTOOL), "verify", "-k", str(key), str(package)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"package_type": PackageType.BOOTLOADER},
        {"package_type": PackageType.FACTORY_TEST, "recipient_mode": RecipientMode.NONE},
    ],
)
def test_imgtool_takes_the_package(tmp_path: Path, changes: dict[str, object]) -> None:
    package = make(tmp_path, **changes)
    key = tmp_path / "compat.pub.pem"
    key.write_bytes(COMPAT_KEY.public_pem)
    done = imgtool_verify(package, key)
    assert done.returncode == 0, done.stderr
    assert "Image was correctly validated" in done.stdout
    assert "1.2.772+84281096" in done.stdout


def test_imgtool_refuses_another_key_and_a_changed_payload(tmp_path: Path) -> None:
    package = make(tmp_path)
    key, other = tmp_path / "compat.pub.pem", tmp_path / "other.pub.pem"
    key.write_bytes(COMPAT_KEY.public_pem)
    other.write_bytes(APP_KEY.public_pem)
    assert imgtool_verify(package, other).returncode != 0
    changed = bytearray(package.read_bytes())
    changed[2000] ^= 1
    package.write_bytes(changed)
    assert imgtool_verify(package, key).returncode != 0
