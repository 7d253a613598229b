"""What is in an air-gap kit, and that the same files make the same archive."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.airgap.kit import FILES, VERSION, Kit, make_kit
from tools.airgap import archive, build, debian, install

ROOT = Path(__file__).resolve().parents[2]

AVAILABLE = """\
Package: libc6
Priority: optional

Package: dpkg
Version: 1.21
Priority: required

Package: openssh-client
Priority: standard
Description: client
 Priority: optional is said here too
"""
SIMULATED = """\
Reading package lists...
Inst libusb-1.0-0 (2:1.0.26-1 Debian:12.15/oldstable [amd64])
Inst pcscd (1.9.9-2 Debian:12.15/oldstable [amd64]) []
Conf pcscd (1.9.9-2 Debian:12.15/oldstable [amd64])
"""


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return make_kit(tmp_path)


def tar_of(kit: Kit) -> Path:
    return kit.folder.with_name(f"{kit.folder.name}.tar")


def test_the_same_files_make_the_same_archive(kit: Kit, tmp_path: Path) -> None:
    first = tar_of(kit).read_bytes()
    again = Path(shutil.copytree(kit.folder, tmp_path / "again" / kit.folder.name))
    for path in again.rglob("*"):
        path.chmod(0o700)
        path.touch()
    (again / "MANIFEST").unlink()
    (again / "MANIFEST.sig").unlink()
    assert build.finish_kit(again, VERSION, kit.key).read_bytes() == first


def test_the_archive_says_nothing_about_who_made_it(kit: Kit) -> None:
    with tarfile.open(tar_of(kit)) as reading:
        members = reading.getmembers()
    names = {member.name: member for member in members}
    files = {f"{kit.folder.name}/{name}" for name in (*FILES, "MANIFEST", "MANIFEST.sig")}
    assert {name for name, member in names.items() if member.isfile()} == files
    assert {(member.uid, member.gid, member.uname, member.gname, member.mtime) for member in members} == {
        (0, 0, "", "", archive.TIME)
    }
    programs = {name for name, member in names.items() if member.isfile() and member.mode == 0o755}
    assert programs == {f"{kit.folder.name}/install"}
    assert {member.mode for member in members if member.isfile()} == {0o755, 0o644}


def test_what_is_unpacked_from_the_archive_passes_its_own_installer(kit: Kit, tmp_path: Path) -> None:
    with tarfile.open(tar_of(kit)) as reading:
        reading.extractall(tmp_path / "medium", filter="data")
    own = tmp_path / "own"
    own.mkdir()
    manifest = install.verify_kit(tmp_path / "medium" / kit.folder.name, kit.signers, "builder", own)
    assert {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()} == manifest.digests


def test_without_a_key_the_kit_is_unsigned_and_its_installer_refuses_it(kit: Kit, tmp_path: Path) -> None:
    (kit.folder / "MANIFEST.sig").unlink()
    build.finish_kit(kit.folder, VERSION, None)
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(install.Refused, match="AG-01"):
        install.verify_kit(kit.folder, kit.signers, "builder", own)


def test_a_key_that_does_not_sign_leaves_no_archive(kit: Kit, tmp_path: Path) -> None:
    tar_of(kit).unlink()
    with pytest.raises(build.CannotBuild, match="did not sign"):
        build.finish_kit(kit.folder, VERSION, tmp_path / "nothing")
    assert not tar_of(kit).exists()


def test_the_base_is_what_has_the_priorities_of_every_installation() -> None:
    assert debian.base_names(AVAILABLE) == ["dpkg", "openssh-client"]


def test_the_packages_of_a_simulation_with_their_epochs() -> None:
    assert debian.parse_simulation(SIMULATED) == ["libusb-1.0-0=2:1.0.26-1", "pcscd=1.9.9-2"]
    assert debian.beyond_base(["b=1", "a=1"], ["a=1", "c=2", "b=1"]) == ["c=2"]


def test_a_package_is_fetched_once_and_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, kit = tmp_path / "cache", tmp_path / "debian"
    cache.mkdir()
    (cache / "libusb-1.0-0_2%3a1.0.26-1_amd64.deb").write_bytes(b"package")
    (cache / "libusb-1.0-0_2%3a1.0.25-9_amd64.deb").write_bytes(b"older")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is missing"))
    debian.fetch_packages(["libusb-1.0-0=2:1.0.26-1"], cache, kit)
    assert [path.name for path in kit.iterdir()] == ["libusb-1.0-0_2%3a1.0.26-1_amd64.deb"]
    (cache / "libusb-1.0-0_2%3a1.0.26-1_arm64.deb").write_bytes(b"other")
    with pytest.raises(debian.PackagesNotFound, match="2 files"):
        debian.fetch_packages(["libusb-1.0-0=2:1.0.26-1"], cache, tmp_path / "again")


def test_our_wheel_is_made_the_same_twice_and_stands_in_the_requirements_by_its_hash(tmp_path: Path) -> None:
    """From a copy of a few files: others may be at work in the rooms meanwhile."""
    root = tmp_path / "root"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        root.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for room in ("cli", "ceremonies", "signer", "policies", "pki", "bootloader", "verifiers"):
        (root / room).mkdir()
        (root / room / "__init__.py").touch()
    first = build.build_wheel(root, tmp_path / "one").read_bytes()
    assert build.build_wheel(root, tmp_path / "two").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "one" / f"strongroom-{build.version_of(ROOT)}-py3-none-any.whl") as wheel:
        assert "cli/__init__.py" in wheel.namelist()
    lock = (ROOT / "requirements.lock").read_text()
    requirements = build.requirements_with(lock, "0.1.0", first)
    assert requirements.startswith(lock.rstrip())
    assert requirements.endswith(f"strongroom==0.1.0 \\\n    --hash=sha256:{hashlib.sha256(first).hexdigest()}\n")


def test_make_airgap_hands_its_key_on() -> None:
    def printed(*arguments: str) -> str:
        command = ["make", "--dry-run", "--old-file=setup", "airgap", *arguments]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert printed().splitlines()[-1].rstrip() == ".venv/bin/python -m tools.airgap.build"
    assert printed("KEY=/tmp/my key").splitlines()[-1] == '.venv/bin/python -m tools.airgap.build --key "/tmp/my key"'
