"""A real kit, from the package registries, twice; and installed where there is no network. For the campaign."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airgap.kit import Kit, ssh_key
from tools import check_text
from tools.airgap import build, debian

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.campaign


def _copy_of_the_project(folder: Path) -> Path:
    """The files as they are now, which nobody changes meanwhile."""
    for name in check_text.project_files(ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("airgap")
    key = ssh_key(folder, "builder")
    signers = folder / "allowed_signers"
    signers.write_text(f'builder namespaces="{build.NAMESPACE}" {key.with_suffix(".pub").read_text()}')
    try:
        archive = build.build(_copy_of_the_project(folder / "project"), folder, key)
    except (build.CannotBuild, debian.PackagesNotFound) as error:
        pytest.skip(f"no kit can be built here: {error}")
    return Kit(archive.with_suffix(""), key, signers)


def test_a_second_build_is_the_same(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(kit.folder.parent / "cache")
    archive = build.build(kit.folder.parent / "project", tmp_path, kit.key)
    assert archive.read_bytes() == kit.folder.with_name(archive.name).read_bytes()


def test_it_installs_without_a_network_and_runs(kit: Kit, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a network namespace of its own needs root")
    prefix = tmp_path / "strongroom"
    install = [
        sys.executable,
        str(kit.folder / "install"),
        "--allowed-signers",
        str(kit.signers),
        "--signer",
        "builder",
    ]
    alone = ["unshare", "--net", "--"]
    without_network = subprocess.run([*alone, "ip", "-o", "link"], capture_output=True, text=True, check=False)
    assert "UP" not in without_network.stdout
    options = ["--prefix", str(prefix), "--without-debian-packages"]
    subprocess.run([*alone, *install, *options], check=True, timeout=600)
    program = [str(prefix / "bin" / "strongroom")]
    subprocess.run([*alone, *program, "init", str(tmp_path / "authority"), "--name", "Example Pumps"], check=True)
    wheels = [path.name for path in (kit.folder / "wheels").iterdir()]
    listing = [
        str(prefix / "bin" / "python"),
        "-c",
        "import importlib.metadata as m; print(len(list(m.distributions())))",
    ]
    assert int(subprocess.run(listing, check=True, capture_output=True, text=True).stdout) == len(wheels)


def test_it_installs_on_a_bare_debian_with_its_packages(kit: Kit, tmp_path: Path) -> None:
    """The base of docs/spec/airgap-kit.md, made new by debootstrap; then no network at all."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("a Debian in a folder needs root and debootstrap")
    base = debian.base_names(
        subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    )
    system = tmp_path / "debian"
    command = ["debootstrap", f"--include={','.join(base)}", "bookworm", str(system)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if made.returncode != 0:
        pytest.skip(f"no Debian can be made here: {made.stdout[-200:]}")
    shutil.copytree(kit.folder, system / "media" / "kit")
    shutil.copyfile(kit.signers, system / "media" / "allowed_signers")
    alone = ["unshare", "--net", "--", "chroot", str(system)]
    install = ["python3", "/media/kit/install", "--allowed-signers", "/media/allowed_signers", "--signer", "builder"]
    subprocess.run([*alone, *install], check=True, timeout=600)
    report = "import weasyprint, sys; sys.exit(not weasyprint.HTML(string='<p>one').write_pdf().startswith(b'%PDF'))"
    subprocess.run([*alone, "/opt/strongroom/bin/python", "-c", report], check=True, timeout=120)
    audit = subprocess.run([*alone, "dpkg", "--audit"], check=True, capture_output=True, text=True)
    assert audit.stdout == ""
    refused = subprocess.run([*alone, *install], capture_output=True, text=True, check=False, timeout=600)
    assert (refused.returncode, "[AG-07]" in refused.stderr) == (1, True)
