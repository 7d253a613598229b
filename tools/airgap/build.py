"""Make build/airgap/strongroom-airgap-VERSION.tar (docs/spec/airgap-kit.md). Needs the package registries.

make airgap                        an unsigned kit: build it twice, by two people, and compare the SHA-256
make airgap KEY=~/.ssh/id_ed25519  the same, signed by that SSH key (or by the agent's, for its public half)
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.airgap.archive import manifest_of, write_archive
from tools.airgap.debian import PackagesNotFound, fetch_packages, kit_packages

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "strongroom-airgap-v1"


class CannotBuild(Exception):
    """One line that says what to do."""


def version_of(root: Path) -> str:
    """The version that pyproject.toml gives."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def fetch_wheels(root: Path, cache: Path, folder: Path) -> None:
    """The wheels of requirements.lock for this Python and system, each as its hash in the lock says."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "-r", str(root / "requirements.lock")]
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run(
        [*command, "--find-links", str(cache), "-d", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CannotBuild(f"pip download: {done.stderr.strip()[-300:]}")
    cache.mkdir(parents=True, exist_ok=True)
    for wheel in folder.iterdir():
        shutil.copyfile(wheel, cache / wheel.name)


def build_wheel(root: Path, folder: Path) -> Path:
    """Our own wheel, reproducibly."""
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("strongroom-*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise CannotBuild(f"hatchling: {done.stderr.strip()[-300:]}")
    return wheels[0]


def requirements_with(lock: str, version: str, wheel: bytes) -> str:
    """The lock, and our own wheel by its hash."""
    return f"{lock.rstrip()}\nstrongroom=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel).hexdigest()}\n"


def copy_texts(root: Path, kit: Path) -> None:
    """The installer and the runbooks."""
    shutil.copyfile(root / "tools" / "airgap" / "install.py", kit / "install")
    (kit / "runbooks").mkdir()
    for runbook in sorted((root / "docs" / "runbooks").glob("*.md")):
        shutil.copyfile(runbook, kit / "runbooks" / runbook.name)


def finish_kit(kit: Path, version: str, key: Path | None) -> Path:
    """Write the MANIFEST, sign it if there is a key, and archive. The archive's path."""
    manifest = kit / "MANIFEST"
    manifest.write_bytes(manifest_of(kit, version))
    if key is not None:
        command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(manifest)]
        if subprocess.run(command, check=False).returncode != 0:
            raise CannotBuild(f"ssh-keygen did not sign with {key}; nothing was archived")
    archive = kit.parent / f"{kit.name}.tar"
    write_archive(kit, archive)
    return archive


def build(root: Path, out: Path, key: Path | None) -> Path:
    """The whole kit under `out`; the archive's path. Raises CannotBuild, PackagesNotFound."""
    if sys.version_info[:2] != (3, 11) or platform.machine() != "x86_64":
        raise CannotBuild("a kit is built with Python 3.11 on amd64, as the machine has on which it is installed")
    version = version_of(root)
    kit = out / f"strongroom-airgap-{version}"
    shutil.rmtree(kit, ignore_errors=True)
    kit.mkdir(parents=True)
    print("airgap: wheels", flush=True)
    fetch_wheels(root, out / "cache" / "wheels", kit / "wheels")
    wheel = build_wheel(root, kit / "wheels")
    lock = (root / "requirements.lock").read_text(encoding="utf-8")
    (kit / "requirements.txt").write_text(requirements_with(lock, version, wheel.read_bytes()), encoding="utf-8")
    print("airgap: Debian packages", flush=True)
    fetch_packages(kit_packages(), out / "cache" / "debian", kit / "debian")
    copy_texts(root, kit)
    return finish_kit(kit, version, key)


def main() -> int:
    """Build, and print the archive's digest."""
    parser = argparse.ArgumentParser(prog="make airgap", description=__doc__)
    parser.add_argument("--key", type=Path, help="SSH key that signs the manifest; without it the kit is unsigned")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "airgap", help="where it is built")
    options = parser.parse_args()
    try:
        archive = build(ROOT, options.out, options.key and options.key.expanduser())
    except (CannotBuild, PackagesNotFound) as error:
        print(f"airgap: {error}", file=sys.stderr)
        return 1
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    print(f"airgap: {archive.relative_to(Path.cwd()) if archive.is_relative_to(Path.cwd()) else archive}")
    print(f"airgap: SHA-256 {digest}, {archive.stat().st_size:,} bytes")
    if options.key is None:
        print("airgap: NOT SIGNED: its installer refuses it; sign with `make airgap KEY=…`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
